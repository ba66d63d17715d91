/** Splits a filter into tokens. Quoted text follows Go's string syntax, with `"`, `/` or `|` around it. */

/** One token. `text` of a quoted token is the decoded text, without its quotes. */
export type Token =
  | {
      readonly kind: "field" | "value" | "operator" | "separator";
      readonly at: number;
      readonly text: string;
    }
  | { readonly kind: "quoted"; readonly at: number; readonly text: string; readonly quote: string }
  | { readonly kind: "illegal"; readonly at: number; readonly reason: string }
  | { readonly kind: "other"; readonly at: number }
  | { readonly kind: "end"; readonly at: number };

const QUOTES = `"/|`;
const SPACE = /[\s\u0085]/u;
const FIELD = /[A-Za-z0-9_]/;
const OPERATOR = /[=!~]/;
const GRAPHIC = /[\p{L}\p{M}\p{N}\p{P}\p{S}\p{Zs}]/u;

/** Reads tokens from left to right. After an operator the next bare word is a value, which may hold nearly anything. */
export class Scanner {
  readonly #input: string;
  #at = 0;
  #wantsValue = false;

  constructor(input: string) {
    this.#input = input;
  }

  /** Position of the next unread character. */
  get at(): number {
    return this.#at;
  }

  /** The next character without reading it, "" at the end. Spaces are not skipped. */
  peek(): string {
    const code = this.#input.codePointAt(this.#at);
    return code === undefined ? "" : String.fromCodePoint(code);
  }

  /** Reads one token. */
  scan(): Token {
    while (this.peek() !== "" && SPACE.test(this.peek())) this.#next();
    const at = this.#at;
    const char = this.#next();
    if (char === "") return { kind: "end", at };
    if (char === "\0") return { kind: "illegal", at, reason: "unexpected null" };
    if (QUOTES.includes(char)) return this.#quoted(at, char);
    if (char === "," || char === ".") {
      this.#wantsValue = false;
      return { kind: "separator", at, text: char };
    }
    if (OPERATOR.test(char)) {
      this.#while((c) => OPERATOR.test(c));
      this.#wantsValue = true;
      return { kind: "operator", at, text: this.#input.slice(at, this.#at) };
    }
    if (this.#wantsValue) {
      this.#while((c) => c !== "," && !SPACE.test(c) && GRAPHIC.test(c));
      this.#wantsValue = false;
      return { kind: "value", at, text: this.#input.slice(at, this.#at) };
    }
    if (!FIELD.test(char)) return { kind: "other", at };
    this.#while((c) => FIELD.test(c));
    return { kind: "field", at, text: this.#input.slice(at, this.#at) };
  }

  #next(): string {
    const char = this.peek();
    this.#at += char.length;
    return char;
  }

  #while(accept: (char: string) => boolean): void {
    for (let char = this.peek(); char !== "" && accept(char); char = this.peek()) this.#next();
  }

  #quoted(at: number, quote: string): Token {
    // bytes, not characters: \x and octal escapes name bytes of UTF-8
    const bytes: number[] = [];
    for (;;) {
      const char = this.#next();
      if (char === quote) break;
      if (char === "" || char === "\n")
        return { kind: "illegal", at, reason: "quoted literal not terminated" };
      if (char !== "\\") {
        bytes.push(...Buffer.from(char));
        continue;
      }
      const decoded = this.#escape(quote);
      if (typeof decoded === "string") return { kind: "illegal", at, reason: decoded };
      bytes.push(...decoded);
    }
    return { kind: "quoted", at, text: Buffer.from(bytes).toString("utf8"), quote };
  }

  /** Bytes of an escape sequence, or why it is illegal. */
  #escape(quote: string): number[] | string {
    const char = this.#next();
    if (char === quote) return [quote.charCodeAt(0)];
    const simple = SIMPLE.get(char);
    if (simple !== undefined) return [simple];
    if (/[0-7]/.test(char)) {
      const digits = char + this.#take(2);
      const value = Number.parseInt(digits, 8);
      return /^[0-7]{3}$/.test(digits) && value < 256 ? [value] : "illegal numeric escape sequence";
    }
    const length = LENGTH.get(char);
    if (length === undefined) return "illegal escape sequence";
    const digits = this.#take(length);
    if (digits.length !== length || !/^[0-9a-fA-F]+$/.test(digits)) return "illegal numeric escape sequence";
    const value = Number.parseInt(digits, 16);
    if (char === "x") return [value];
    if (value > 0x10ffff || (value >= 0xd800 && value < 0xe000)) return "illegal numeric escape sequence";
    return [...Buffer.from(String.fromCodePoint(value))];
  }

  #take(count: number): string {
    const text = this.#input.slice(this.#at, this.#at + count);
    this.#at += text.length;
    return text;
  }
}

const SIMPLE: ReadonlyMap<string, number> = new Map([
  ["a", 7],
  ["b", 8],
  ["t", 9],
  ["n", 10],
  ["v", 11],
  ["f", 12],
  ["r", 13],
  ["\\", 92],
]);
const LENGTH: ReadonlyMap<string, number> = new Map([
  ["x", 2],
  ["u", 4],
  ["U", 8],
]);
