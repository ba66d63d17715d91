/** Splits a template into text and the tokens of its actions, as Go's text/template does. */

/** What is wrong with a template, or with using it. */
export class TemplateError extends Error {
  override readonly name = "TemplateError";
}

/** One token of an action. `space` tells whether white space came before it: `.a .b` is two operands, `.a.b` one. */
export interface Token {
  readonly kind: "word" | "field" | "variable" | "string" | "number" | "symbol";
  /** The word; the name of a field or variable without its mark; the value of a string or number; the symbol. */
  readonly text: string;
  readonly space: boolean;
  readonly line: number;
}

/** Literal text, or the tokens between `{{` and `}}`. */
export type Piece =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "action"; readonly tokens: readonly Token[]; readonly line: number };

/** @throws TemplateError */
export function lexTemplate(source: string): Piece[] {
  const pieces: Piece[] = [];
  let at = 0;
  let line = 1;
  let trimStart = false;
  const text = (end: number, trimEnd: boolean): void => {
    let part = source.slice(at, end);
    line += newlines(part);
    if (trimStart) part = part.replace(/^[ \t\r\n]+/, "");
    if (trimEnd) part = part.replace(/[ \t\r\n]+$/, "");
    if (part !== "") pieces.push({ kind: "text", text: part });
  };
  for (;;) {
    const open = source.indexOf("{{", at);
    if (open < 0) {
      text(source.length, false);
      return pieces;
    }
    const trimBefore = /^\{\{-[ \t\r\n]/.test(source.slice(open, open + 4));
    text(open, trimBefore);
    const start = open + (trimBefore ? 3 : 2);
    const comment = /^\s*\/\*[\s\S]*?\*\/\s*(-?)\}\}/.exec(source.slice(start));
    if (comment !== null) {
      line += newlines(comment[0]);
      at = start + comment[0].length;
      trimStart = comment[1] === "-";
      continue;
    }
    const action = lexAction(source, start, line);
    pieces.push({ kind: "action", tokens: action.tokens, line });
    line += newlines(source.slice(start, action.end));
    at = action.end;
    trimStart = action.trim;
  }
}

const newlines = (text: string): number => text.split("\n").length - 1;

const WORD = /[\p{L}_][\p{L}\p{Nd}_]*/uy;
const NUMBER =
  /[+-]?(?:0[xX][0-9a-fA-F_]+|0[bB][01_]+|0[oO][0-7_]+|[0-9][0-9_]*(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?|\.[0-9]+)/y;

function lexAction(
  source: string,
  start: number,
  firstLine: number,
): { tokens: Token[]; end: number; trim: boolean } {
  const tokens: Token[] = [];
  let at = start;
  let line = firstLine;
  const match = (pattern: RegExp): string | undefined => {
    pattern.lastIndex = at;
    return pattern.exec(source)?.[0];
  };
  for (;;) {
    const before = at;
    while (at < source.length && /[ \t\r\n]/.test(source[at] ?? "")) at++;
    line += newlines(source.slice(before, at));
    const space = at > before;
    const push = (kind: Token["kind"], text: string, length: number): void => {
      tokens.push({ kind, text, space, line });
      at += length;
    };
    if (source.startsWith("}}", at)) return { tokens, end: at + 2, trim: false };
    if (space && source.startsWith("-}}", at)) return { tokens, end: at + 3, trim: true };
    const char = source[at];
    if (char === undefined) throw new TemplateError(`template: line ${firstLine}: unclosed action`);
    if (char === '"' || char === "`" || char === "'") {
      const { value, length } = quoted(source, at, char, line);
      if (char === "'") push("number", String(value.codePointAt(0) ?? 0), length);
      else push("string", value, length);
    } else if (char === "$") {
      at++;
      const name = match(WORD) ?? "";
      at--;
      push("variable", name, 1 + name.length);
    } else if (/[0-9]/.test(char) || /^[+-.][0-9]/.test(source.slice(at, at + 2))) {
      const number = match(NUMBER) ?? char;
      push("number", number.replace(/_/g, ""), number.length);
    } else if (char === ".") {
      at++;
      const name = match(WORD);
      at--;
      if (name === undefined) push("symbol", ".", 1);
      else push("field", name, 1 + name.length);
    } else if (source.startsWith(":=", at)) push("symbol", ":=", 2);
    else if ("|(),=".includes(char)) push("symbol", char, 1);
    else {
      const word = match(WORD);
      if (word === undefined)
        throw new TemplateError(`template: line ${line}: unexpected ${JSON.stringify(char)} in action`);
      push("word", word, word.length);
    }
  }
}

const ESCAPES: Readonly<Record<string, string>> = {
  a: "\x07",
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
  v: "\v",
  "\\": "\\",
  "'": "'",
  '"': '"',
};

/** Reads a Go string (quotes, back quotes) or character starting at `at`. */
function quoted(source: string, at: number, quote: string, line: number): { value: string; length: number } {
  const unterminated = (): TemplateError => new TemplateError(`template: line ${line}: unterminated string`);
  if (quote === "`") {
    const end = source.indexOf("`", at + 1);
    if (end < 0) throw unterminated();
    return { value: source.slice(at + 1, end), length: end + 1 - at };
  }
  let value = "";
  for (let i = at + 1; i < source.length; i++) {
    const char = source[i] ?? "";
    if (char === quote) return { value, length: i + 1 - at };
    if (char === "\n") break;
    if (char !== "\\") {
      value += char;
      continue;
    }
    const next = source[++i] ?? "";
    const coded = /^(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3}))/.exec(
      source.slice(i, i + 9),
    );
    if (coded !== null) {
      const [all, x, u, long, octal] = coded;
      value += String.fromCodePoint(
        Number.parseInt(x ?? u ?? long ?? octal ?? "0", octal === undefined ? 16 : 8),
      );
      i += all.length - 1;
      continue;
    }
    const known = ESCAPES[next];
    if (known === undefined) throw new TemplateError(`template: line ${line}: unknown escape "\\${next}"`);
    value += known;
  }
  throw unterminated();
}
