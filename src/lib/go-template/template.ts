/**
 * Go's text/template for JSON values, as clients of Kubernetes use it with `-o go-template`. Fields, variables, pipelines,
 * if, with, range, break, continue, comments, trimming and the standard functions; no `define`, `template`, `block`, no
 * methods. A missing key is an error (`missingkey=error`). Numbers compare with numbers.
 */
import { FUNCTIONS } from "./functions.ts";
import { TemplateError } from "./lexer.ts";
import { type Command, type Node, type Operand, type Pipe, parseTemplate } from "./parser.ts";
import { isDict, isList, show, sortedKeys, truth, typeName, type Value } from "./values.ts";

/** A parsed template. */
export interface Template {
  /** @throws TemplateError */
  execute(data: Value): string;
}

const NAMES = new Set(Object.keys(FUNCTIONS));

/** @throws TemplateError when it is not a template */
export function compileTemplate(source: string): Template {
  const nodes = parseTemplate(source, NAMES);
  return {
    execute(data) {
      const run = new Run(data);
      run.nodes(nodes, data);
      return run.out;
    },
  };
}

interface Variable {
  readonly name: string;
  value: Value;
}

/** How a list of nodes ended. */
type Flow = "next" | "break" | "continue";

class Run {
  out = "";
  readonly #variables: Variable[];

  constructor(data: Value) {
    this.#variables = [{ name: "", value: data }];
  }

  nodes(nodes: readonly Node[], dot: Value): Flow {
    for (const node of nodes) {
      const flow = this.#node(node, dot);
      if (flow !== "next") return flow;
    }
    return "next";
  }

  #node(node: Node, dot: Value): Flow {
    switch (node.kind) {
      case "text":
        this.out += node.text;
        return "next";
      case "break":
      case "continue":
        return node.kind;
      case "action": {
        const value = this.#assigned(node.pipe, dot);
        if (node.pipe.variables.length === 0) this.out += show(value);
        return "next";
      }
      default: {
        const scope = this.#variables.length;
        const flow = node.kind === "range" ? this.#range(node, dot) : this.#choose(node, dot);
        this.#variables.length = scope;
        return flow;
      }
    }
  }

  #choose(node: Extract<Node, { body: unknown }>, dot: Value): Flow {
    const value = this.#assigned(node.pipe, dot);
    if (!truth(value)) return this.nodes(node.otherwise, dot);
    return this.nodes(node.body, node.kind === "with" ? value : dot);
  }

  #range(node: Extract<Node, { body: unknown }>, dot: Value): Flow {
    const value = this.#evaluate(node.pipe, dot);
    const entries = entriesOf(value, node.pipe.line);
    if (entries.length === 0) return this.nodes(node.otherwise, dot);
    const names = node.pipe.variables;
    if (typeof value === "number" && names.length > 1)
      throw new TemplateError(
        `template: line ${node.pipe.line}: can't use ${value} to iterate over more than one variable`,
      );
    const scope = this.#variables.length;
    for (const [key, item] of entries) {
      const values = names.length === 2 ? [key, item] : [item];
      for (const [i, name] of names.entries()) this.#set(name, values[i] ?? null, node.pipe.assign);
      const flow = this.nodes(node.body, item);
      this.#variables.length = scope;
      if (flow === "break") break;
    }
    return "next";
  }

  #assigned(pipe: Pipe, dot: Value): Value {
    const value = this.#evaluate(pipe, dot);
    for (const name of pipe.variables) this.#set(name, value, pipe.assign);
    return value;
  }

  #set(name: string, value: Value, assign: boolean): void {
    const known = assign ? this.#variables.findLast((variable) => variable.name === name) : undefined;
    if (known === undefined) this.#variables.push({ name, value });
    else known.value = value;
  }

  #evaluate(pipe: Pipe, dot: Value): Value {
    let value: Value;
    for (const command of pipe.commands) {
      try {
        value = this.#command(command, dot, value);
      } catch (err) {
        if (!(err instanceof TemplateError) || err.message.startsWith("template: ")) throw err;
        throw new TemplateError(`template: line ${pipe.line}: at <${textOf(command)}>: ${err.message}`, {
          cause: err,
        });
      }
    }
    return value;
  }

  #command([first, ...rest]: Command, dot: Value, last: Value | undefined): Value {
    if (first.base.kind === "literal" && first.base.value === null)
      throw new TemplateError("nil is not a command");
    if (first.base.kind !== "function") return this.#operand(first, dot);
    const { name } = first.base;
    if (name === "and" || name === "or") return this.#logical(name, rest, dot, last);
    const args = rest.map((operand) => this.#operand(operand, dot));
    if (last !== undefined) args.push(last);
    return fields(call(name, args), first.fields);
  }

  /** Stops at the first argument that decides. */
  #logical(name: "and" | "or", operands: readonly Operand[], dot: Value, last: Value | undefined): Value {
    if (operands.length === 0 && last === undefined)
      throw new TemplateError(`wrong number of args for ${name}: want at least 1 got 0`);
    let value: Value = null;
    for (const operand of operands) {
      value = this.#operand(operand, dot);
      if (truth(value) === (name === "or")) return value;
    }
    return last ?? value;
  }

  #operand({ base, fields: names }: Operand, dot: Value): Value {
    switch (base.kind) {
      case "dot":
        return fields(dot, names);
      case "literal":
        return base.value;
      case "variable":
        return fields(this.#variables.findLast(({ name }) => name === base.name)?.value ?? null, names);
      case "pipe":
        return fields(this.#evaluate(base.pipe, dot), names);
      case "function":
        return fields(call(base.name, []), names);
    }
  }
}

function call(name: string, args: readonly Value[]): Value {
  const found = FUNCTIONS[name];
  if (found === undefined) throw new TemplateError(`function "${name}" not defined`);
  return found(...args);
}

function fields(from: Value, names: readonly string[]): Value {
  let value = from;
  for (const name of names) {
    if (value === null) throw new TemplateError(`nil data; no entry for key "${name}"`);
    if (!isDict(value)) throw new TemplateError(`can't evaluate field ${name} in type ${typeName(value)}`);
    if (!Object.hasOwn(value, name)) throw new TemplateError(`map has no entry for key "${name}"`);
    value = value[name] ?? null;
  }
  return value;
}

function entriesOf(value: Value, line: number): readonly (readonly [Value, Value])[] {
  if (value === null) return [];
  if (isList(value)) return value.map((item, i) => [i, item] as const);
  if (isDict(value)) return sortedKeys(value).map((key) => [key, value[key] ?? null] as const);
  if (typeof value === "number" && Number.isInteger(value))
    return Array.from({ length: Math.max(0, value) }, (_, i) => [i, i] as const);
  throw new TemplateError(`template: line ${line}: range can't iterate over ${show(value)}`);
}

/** A command as it was written, for errors. */
function textOf(command: Command): string {
  return command
    .map(({ base, fields: names }) => {
      const tail = names.map((name) => `.${name}`).join("");
      if (base.kind === "dot") return tail === "" ? "." : tail;
      if (base.kind === "variable") return `$${base.name}${tail}`;
      if (base.kind === "function") return `${base.name}${tail}`;
      return base.kind === "pipe" ? `(...)${tail}` : JSON.stringify(base.value);
    })
    .join(" ");
}
