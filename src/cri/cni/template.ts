/**
 * The part of Go's text/template that CNI configuration templates use: `{{.Field}}`, `{{$x}}`, `{{.}}`,
 * `{{range .List}}`, `{{range $i, $x := .List}}`, `{{if ...}}`, `{{else}}`, `{{end}}`, `{{index .List 0}}`, and the
 * trimming dashes.
 */
import { invalidArgument } from "../../core/errors.ts";

/** What a template can name. */
export type TemplateData = Readonly<Record<string, string | readonly string[]>>;

interface Scope {
  readonly root: TemplateData;
  readonly dot: unknown;
  readonly names: ReadonlyMap<string, unknown>;
}

type Node =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "value"; readonly expression: string }
  | {
      readonly kind: "if" | "range";
      readonly expression: string;
      readonly names: readonly string[];
      readonly body: Node[];
      readonly otherwise: Node[];
    };

/** Fills a template. @throws invalid-argument for what it does not understand */
export function renderTemplate(template: string, data: TemplateData): string {
  const tokens = tokenize(template);
  const nodes = parse(tokens, true);
  return nodes.map((node) => render(node, { root: data, dot: data, names: new Map() })).join("");
}

type Token = { readonly text: string } | { readonly action: string };

function tokenize(template: string): Token[] {
  const tokens: Token[] = [];
  let rest = template;
  for (;;) {
    const open = rest.indexOf("{{");
    if (open < 0) {
      tokens.push({ text: rest });
      return tokens;
    }
    const close = rest.indexOf("}}", open);
    if (close < 0) throw invalidArgument("network template: an action is not closed");
    let before = rest.slice(0, open);
    let action = rest.slice(open + 2, close);
    rest = rest.slice(close + 2);
    if (/^-\s/.test(action)) {
      before = before.trimEnd();
      action = action.slice(1);
    }
    if (/\s-$/.test(action)) {
      rest = rest.trimStart();
      action = action.slice(0, -1);
    }
    tokens.push({ text: before });
    if (!action.trim().startsWith("/*")) tokens.push({ action: action.trim() });
  }
}

/** Consumes tokens up to the end of the block; the ending word stays in front. */
function parse(tokens: Token[], top: boolean): Node[] {
  const nodes: Node[] = [];
  for (let token = tokens[0]; token !== undefined; token = tokens[0]) {
    if ("action" in token && (token.action === "end" || token.action === "else")) {
      if (top) throw invalidArgument(`network template: "${token.action}" without a beginning`);
      return nodes;
    }
    tokens.shift();
    if ("text" in token) {
      if (token.text !== "") nodes.push({ kind: "text", text: token.text });
      continue;
    }
    const block = /^(if|range)\s+(?:((?:\$\w+\s*,\s*)?\$\w+)\s*:=\s*)?(.+)$/s.exec(token.action);
    if (block === null) {
      nodes.push({ kind: "value", expression: token.action });
      continue;
    }
    const body = parse(tokens, false);
    let ending = tokens.shift();
    let otherwise: Node[] = [];
    if (ending !== undefined && "action" in ending && ending.action === "else") {
      otherwise = parse(tokens, false);
      ending = tokens.shift();
    }
    if (ending === undefined || !("action" in ending) || ending.action !== "end")
      throw invalidArgument(`network template: "${block[1]}" has no end`);
    nodes.push({
      kind: block[1] === "if" ? "if" : "range",
      names: (block[2] ?? "").split(",").flatMap((n) => (n.trim() === "" ? [] : [n.trim()])),
      expression: block[3] ?? "",
      body,
      otherwise,
    });
  }
  if (!top) throw invalidArgument("network template: a block has no end");
  return nodes;
}

function render(node: Node, scope: Scope): string {
  if (node.kind === "text") return node.text;
  const value = evaluate(node.expression, scope);
  if (node.kind === "value") return Array.isArray(value) ? `[${value.join(" ")}]` : String(value);
  const all = (nodes: readonly Node[], inner: Scope): string => nodes.map((n) => render(n, inner)).join("");
  const empty =
    value === undefined || value === "" || value === 0 || (Array.isArray(value) && value.length === 0);
  if (node.kind === "if") return all(empty ? node.otherwise : node.body, scope);
  if (!Array.isArray(value) || empty) return all(node.otherwise, scope);
  return value
    .map((item: unknown, index) => {
      const names = new Map(scope.names);
      const [first, second] = node.names;
      if (first !== undefined) names.set(first, second === undefined ? item : index);
      if (second !== undefined) names.set(second, item);
      return all(node.body, { ...scope, dot: item, names });
    })
    .join("");
}

function evaluate(expression: string, scope: Scope): unknown {
  const index = /^index\s+(\S+)\s+(\d+)$/.exec(expression);
  if (index !== null) {
    const list = evaluate(index[1] ?? "", scope);
    return Array.isArray(list) ? (list[Number(index[2])] as unknown) : undefined;
  }
  if (expression === ".") return scope.dot;
  const field = /^(\$?)\.(\w+)$/.exec(expression);
  if (field !== null) {
    const from = field[1] === "$" ? scope.root : scope.dot;
    const name = field[2] ?? "";
    if (typeof from === "object" && from !== null && Object.hasOwn(from, name))
      return (from as Readonly<Record<string, unknown>>)[name];
    throw invalidArgument(`network template: there is no field "${name}"`);
  }
  if (scope.names.has(expression)) return scope.names.get(expression);
  throw invalidArgument(`network template: "${expression}" is not understood`);
}
