/** Makes a tree of the pieces of a template. */
import { lexTemplate, type Piece, TemplateError, type Token } from "./lexer.ts";

/** An operand with the fields that follow it: `$x.a.b`, `(index . 0).name`. */
export interface Operand {
  readonly base:
    | { readonly kind: "dot" }
    | { readonly kind: "variable"; readonly name: string }
    | { readonly kind: "literal"; readonly value: string | number | boolean | null }
    | { readonly kind: "function"; readonly name: string }
    | { readonly kind: "pipe"; readonly pipe: Pipe };
  readonly fields: readonly string[];
}

/** Operands separated by spaces: a value, or a function with arguments. */
export type Command = readonly [Operand, ...Operand[]];

/** Commands separated by `|`; the last result is assigned to the variables, if any. */
export interface Pipe {
  readonly variables: readonly string[];
  /** `=` sets an existing variable, `:=` makes one. */
  readonly assign: boolean;
  readonly commands: readonly Command[];
  readonly line: number;
}

export type Node =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "action"; readonly pipe: Pipe }
  | {
      readonly kind: "if" | "with" | "range";
      readonly pipe: Pipe;
      readonly body: readonly Node[];
      readonly otherwise: readonly Node[];
    }
  | { readonly kind: "break" | "continue" };

const CONTROL = new Set(["if", "with", "range"]);

/**
 * Parses a template.
 * @param functions names that may be called
 * @throws TemplateError
 */
export function parseTemplate(source: string, functions: ReadonlySet<string>): readonly Node[] {
  return new Parser(lexTemplate(source), functions).template();
}

class Parser {
  readonly #pieces: readonly Piece[];
  readonly #functions: ReadonlySet<string>;
  #at = 0;
  #loops = 0;
  /** Variables in scope, innermost last. */
  readonly #variables: string[] = [""];

  constructor(pieces: readonly Piece[], functions: ReadonlySet<string>) {
    this.#pieces = pieces;
    this.#functions = functions;
  }

  template(): readonly Node[] {
    const { nodes, end } = this.#list();
    if (end !== undefined) throw fail(end.line, `unexpected {{${end.word}}}`);
    return nodes;
  }

  /** Nodes up to `end`, `else`, or the end of the template. */
  #list(): { nodes: Node[]; end: { word: string; rest: readonly Token[]; line: number } | undefined } {
    const nodes: Node[] = [];
    while (this.#at < this.#pieces.length) {
      const piece = this.#pieces[this.#at++];
      if (piece === undefined) break;
      if (piece.kind === "text") {
        nodes.push(piece);
        continue;
      }
      const { tokens, line } = piece;
      const [first, ...rest] = tokens;
      if (first === undefined) throw fail(line, "missing value for command");
      const word = first.kind === "word" ? first.text : "";
      if (word === "end" || word === "else") return { nodes, end: { word, rest, line } };
      if (CONTROL.has(word)) nodes.push(this.#control(word as "if", rest, line));
      else if (word === "break" || word === "continue") {
        if (this.#loops === 0) throw fail(line, `{{${word}}} outside {{range}}`);
        nodes.push({ kind: word });
      } else if (word === "define" || word === "template" || word === "block")
        throw fail(line, `{{${word}}} is not supported here`);
      else nodes.push({ kind: "action", pipe: this.#wholePipe(tokens, line) });
    }
    return { nodes, end: undefined };
  }

  #control(kind: "if" | "with" | "range", tokens: readonly Token[], line: number): Node {
    const scope = this.#variables.length;
    const pipe = this.#wholePipe(tokens, line, kind === "range");
    if (kind === "range") this.#loops++;
    const { nodes: body, end } = this.#list();
    if (kind === "range") this.#loops--;
    let otherwise: readonly Node[] = [];
    if (end?.word === "else") {
      const [next, ...rest] = end.rest;
      if (next?.kind === "word" && (next.text === "if" || next.text === "with") && kind !== "range") {
        // {{else if}}: one {{end}} closes all
        otherwise = [this.#control(next.text, rest, end.line)];
        this.#variables.length = scope;
        return { kind, pipe, body, otherwise };
      }
      if (next !== undefined) throw fail(end.line, `unexpected ${JSON.stringify(next.text)} in {{else}}`);
      const second = this.#list();
      otherwise = second.nodes;
      if (second.end?.word !== "end") throw fail(line, `{{${kind}}} without {{end}}`);
    } else if (end === undefined) throw fail(line, `{{${kind}}} without {{end}}`);
    this.#variables.length = scope;
    return { kind, pipe, body, otherwise };
  }

  #wholePipe(tokens: readonly Token[], line: number, range = false): Pipe {
    const cursor = new Cursor(tokens, line);
    const pipe = this.#pipe(cursor, range);
    if (cursor.peek() !== undefined) throw cursor.unexpected();
    return pipe;
  }

  #pipe(cursor: Cursor, range: boolean): Pipe {
    const variables: string[] = [];
    let assign = false;
    if (cursor.peek()?.kind === "variable") {
      const next = cursor.peek(1);
      if (next?.text === ":=" || next?.text === "=") {
        variables.push(cursor.take().text);
        assign = cursor.take().text === "=";
      } else if (range && next?.text === "," && cursor.peek(2)?.kind === "variable") {
        variables.push(cursor.take().text);
        cursor.take();
        variables.push(cursor.take().text);
        const sign = cursor.take().text;
        if (sign !== ":=" && sign !== "=") throw fail(cursor.line, "range can only be over two variables");
        assign = sign === "=";
      }
    }
    const commands: Command[] = [];
    for (;;) {
      commands.push(this.#command(cursor));
      if (cursor.peek()?.text !== "|" || cursor.peek()?.kind !== "symbol") break;
      cursor.take();
    }
    for (const [index, command] of commands.entries())
      if (index > 0 && command[0].base.kind !== "function")
        throw fail(cursor.line, "only a function can stand after a pipe");
    if (assign) for (const name of variables) this.#known(name, cursor.line);
    else this.#variables.push(...variables);
    return { variables, assign, commands, line: cursor.line };
  }

  #command(cursor: Cursor): Command {
    const operands: Operand[] = [];
    for (;;) {
      const next = cursor.peek();
      if (next === undefined || (next.kind === "symbol" && (next.text === "|" || next.text === ")"))) break;
      operands.push(this.#operand(cursor));
    }
    const [first, ...rest] = operands;
    if (first === undefined) throw fail(cursor.line, "missing value for command");
    if (rest.length > 0 && first.base.kind !== "function")
      throw fail(cursor.line, "can't give argument to non-function");
    return [first, ...rest];
  }

  #operand(cursor: Cursor): Operand {
    const token = cursor.take();
    const fields: string[] = [];
    const base = this.#base(token, cursor, fields);
    for (let next = cursor.peek(); next?.kind === "field" && !next.space; next = cursor.peek()) {
      if (base.kind === "literal") throw cursor.unexpected();
      fields.push(cursor.take().text);
    }
    return { base, fields };
  }

  #base(token: Token, cursor: Cursor, fields: string[]): Operand["base"] {
    switch (token.kind) {
      case "string":
        return { kind: "literal", value: token.text };
      case "number":
        return { kind: "literal", value: Number(token.text) };
      case "variable":
        this.#known(token.text, token.line);
        return { kind: "variable", name: token.text };
      case "field":
        fields.push(token.text);
        return { kind: "dot" };
      case "word":
        if (token.text === "true" || token.text === "false")
          return { kind: "literal", value: token.text === "true" };
        if (token.text === "nil") return { kind: "literal", value: null };
        if (!this.#functions.has(token.text)) throw fail(token.line, `function "${token.text}" not defined`);
        return { kind: "function", name: token.text };
      case "symbol": {
        if (token.text === ".") return { kind: "dot" };
        if (token.text !== "(") throw fail(token.line, `unexpected ${JSON.stringify(token.text)} in command`);
        const pipe = this.#pipe(cursor, false);
        if (cursor.peek()?.text !== ")") throw fail(token.line, "unclosed left paren");
        cursor.take();
        return { kind: "pipe", pipe };
      }
    }
  }

  #known(name: string, line: number): void {
    if (!this.#variables.includes(name)) throw fail(line, `undefined variable "$${name}"`);
  }
}

class Cursor {
  readonly line: number;
  readonly #tokens: readonly Token[];
  #at = 0;

  constructor(tokens: readonly Token[], line: number) {
    this.#tokens = tokens;
    this.line = line;
  }

  peek(ahead = 0): Token | undefined {
    return this.#tokens[this.#at + ahead];
  }

  take(): Token {
    const token = this.#tokens[this.#at++];
    if (token === undefined) throw fail(this.line, "action ends too early");
    return token;
  }

  unexpected(): TemplateError {
    return fail(this.line, `unexpected ${JSON.stringify(this.peek()?.text ?? "")} in operand`);
  }
}

function fail(line: number, what: string): TemplateError {
  return new TemplateError(`template: line ${line}: ${what}`);
}
