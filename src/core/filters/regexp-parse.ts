/**
 * Go's regular expressions (RE2's syntax), which containerd's filters take: parsed into a tree. What JavaScript has beyond
 * them, looking ahead and referring back, is refused: nothing here can make matching slow.
 */
import { invalidArgument } from "../errors.ts";

/** Tells whether a code point is in a set. */
export type CharTest = (codePoint: number) => boolean;

/** Places without width. */
export type Place = "text-start" | "text-end" | "line-start" | "line-end" | "word" | "no-word";

/** A parsed expression. */
export type Node =
  | { readonly kind: "empty" }
  | { readonly kind: "char"; readonly test: CharTest }
  | { readonly kind: "place"; readonly place: Place }
  | { readonly kind: "all"; readonly parts: readonly Node[] }
  | { readonly kind: "any"; readonly parts: readonly Node[] }
  | { readonly kind: "repeat"; readonly node: Node; readonly min: number; readonly max: number };

/** Most repetitions, nested ones multiplied: Go's bound. */
const MAX_REPEAT = 1000;
/** Deepest nesting of groups: Go's bound. */
const MAX_DEPTH = 1000;
const MAX_LENGTH = 4096;

interface Flags {
  readonly fold: boolean;
  readonly dotAll: boolean;
  readonly multiline: boolean;
}

const between =
  (low: number, high: number): CharTest =>
  (c) =>
    c >= low && c <= high;
const either =
  (tests: readonly CharTest[]): CharTest =>
  (c) =>
    tests.some((test) => test(c));
const not =
  (test: CharTest): CharTest =>
  (c) =>
    !test(c);
const code = (char: string): number => char.codePointAt(0) ?? 0;
const oneOf =
  (chars: string): CharTest =>
  (c) =>
    chars.includes(String.fromCodePoint(c));

const digit = between(0x30, 0x39);
const lower = between(0x61, 0x7a);
const upper = between(0x41, 0x5a);
/** Letters, digits and "_" of ASCII: what `\w` and `\b` mean. */
export const wordChar = either([digit, lower, upper, (c) => c === 0x5f]);
const space = oneOf("\t\n\f\r ");

const PERL: Readonly<Record<string, CharTest>> = { d: digit, s: space, w: wordChar };
const POSIX: Readonly<Record<string, CharTest>> = {
  alnum: either([digit, lower, upper]),
  alpha: either([lower, upper]),
  ascii: between(0, 0x7f),
  blank: oneOf("\t "),
  cntrl: either([between(0, 0x1f), (c) => c === 0x7f]),
  digit,
  graph: between(0x21, 0x7e),
  lower,
  print: between(0x20, 0x7e),
  punct: (c) => c > 0x20 && c < 0x7f && !digit(c) && !lower(c) && !upper(c),
  space: oneOf("\t\n\v\f\r "),
  upper,
  word: wordChar,
  xdigit: either([digit, between(0x41, 0x46), between(0x61, 0x66)]),
};
const ESCAPES: Readonly<Record<string, number>> = { a: 7, f: 12, t: 9, n: 10, r: 13, v: 11 };

/** @throws invalid-argument in Go's words */
export function parseRegexp(source: string): Node {
  if (source.length > MAX_LENGTH) throw bad("expression too large", `${source.slice(0, 40)}...`);
  return new Parser(source).parse();
}

function bad(what: string, where: string): Error {
  return invalidArgument(`error parsing regexp: ${what}: \`${where}\``);
}

class Parser {
  readonly #chars: readonly string[];
  #at = 0;
  #depth = 0;
  readonly #names = new Set<string>();

  constructor(source: string) {
    this.#chars = [...source];
  }

  parse(): Node {
    const node = this.#alternatives({ fold: false, dotAll: false, multiline: false });
    if (this.#at < this.#chars.length) throw bad("unexpected )", this.#from(0));
    return node;
  }

  #peek(ahead = 0): string {
    return this.#chars[this.#at + ahead] ?? "";
  }

  #take(): string {
    return this.#chars[this.#at++] ?? "";
  }

  #from(start: number, end = this.#chars.length): string {
    return this.#chars.slice(start, end).join("");
  }

  #alternatives(given: Flags): Node {
    const choices: Node[] = [];
    let parts: Node[] = [];
    let flags = given;
    const close = (): void => {
      const [only] = parts;
      choices.push(parts.length === 1 && only !== undefined ? only : { kind: "all", parts });
      parts = [];
    };
    for (let next = this.#peek(); next !== "" && next !== ")"; next = this.#peek()) {
      if (next === "|") {
        this.#take();
        close();
      } else if (next === "(" && this.#peek(1) === "?" && this.#isFlags()) {
        // flags for the rest of the group
        flags = this.#flags(flags).flags;
      } else {
        const start = this.#at;
        const literal = this.#quoted(flags);
        if (literal !== undefined) parts.push(...literal.slice(0, -1));
        const last = literal === undefined ? this.#atom(flags) : literal.at(-1);
        if (last !== undefined) parts.push(this.#repeats(last, start));
      }
    }
    close();
    const [only] = choices;
    return choices.length === 1 && only !== undefined ? only : { kind: "any", parts: choices };
  }

  /** `\Q...\E`. */
  #quoted(flags: Flags): Node[] | undefined {
    if (this.#peek() !== "\\" || this.#peek(1) !== "Q") return undefined;
    this.#at += 2;
    const parts: Node[] = [];
    while (this.#peek() !== "" && !(this.#peek() === "\\" && this.#peek(1) === "E"))
      parts.push(literal(code(this.#take()), flags));
    this.#at += 2;
    return parts;
  }

  #atom(flags: Flags): Node {
    const start = this.#at;
    const char = this.#take();
    switch (char) {
      case "(":
        return this.#group(flags, start);
      case "[":
        return { kind: "char", test: this.#set(flags, start) };
      case ".":
        return { kind: "char", test: flags.dotAll ? () => true : (c) => c !== 0x0a };
      case "^":
        return { kind: "place", place: flags.multiline ? "line-start" : "text-start" };
      case "$":
        return { kind: "place", place: flags.multiline ? "line-end" : "text-end" };
      case "*":
      case "+":
      case "?":
        throw bad("missing argument to repetition operator", char);
      case "\\":
        return this.#escape(flags, start);
      default:
        return literal(code(char), flags);
    }
  }

  #group(flags: Flags, start: number): Node {
    if (++this.#depth > MAX_DEPTH) throw bad("expression nests too deeply", this.#from(0));
    let inner = flags;
    if (this.#peek() === "?") {
      this.#at = start;
      inner = this.#opening(flags);
    }
    const node = this.#alternatives(inner);
    if (this.#take() !== ")") throw bad("missing closing )", this.#from(0));
    this.#depth--;
    return node;
  }

  /** After "(?": a name, or flags and ":". */
  #opening(flags: Flags): Flags {
    const named = /^\(\?P?<(\w+)>/.exec(this.#from(this.#at, this.#at + 200));
    if (named === null) return this.#flags(flags).flags;
    const [text, name = ""] = named;
    if (this.#names.has(name)) throw bad("duplicate capture group name", name);
    this.#names.add(name);
    this.#at += text.length;
    return flags;
  }

  #isFlags(): boolean {
    return /^\(\?[imsU-]*\)/.test(this.#from(this.#at, this.#at + 20));
  }

  /** `(?flags)` or `(?flags:`. */
  #flags(flags: Flags): { readonly flags: Flags } {
    const rest = this.#from(this.#at, this.#at + 20);
    const match = /^\(\?([imsU]*)(?:-([imsU]+))?([):])/.exec(rest);
    if (match === null || match[0] === "(?)")
      throw bad("invalid or unsupported Perl syntax", /^\(\?(?:P?<[=!]?|.)?/su.exec(rest)?.[0] ?? rest);
    const [text, on = "", off = ""] = match;
    this.#at += text.length;
    const now = (letter: string, before: boolean): boolean =>
      off.includes(letter) ? false : before || on.includes(letter);
    return {
      flags: {
        fold: now("i", flags.fold),
        dotAll: now("s", flags.dotAll),
        multiline: now("m", flags.multiline),
      },
    };
  }

  #repeats(given: Node, start: number): Node {
    let node = given;
    let before = -1;
    for (;;) {
      const at = this.#at;
      const bounds = this.#bounds();
      if (bounds === undefined) return node;
      if (before >= 0) throw bad("invalid nested repetition operator", this.#from(before, this.#at));
      const [min, max] = bounds;
      if (min > MAX_REPEAT || max > MAX_REPEAT || (max >= 0 && min > max))
        throw bad("invalid repeat count", this.#from(at, this.#at));
      if (this.#peek() === "?") this.#take(); // lazy: the same texts match
      node = { kind: "repeat", node, min, max };
      if (product(node) > MAX_REPEAT) throw bad("invalid repeat count", this.#from(start, this.#at));
      before = at;
    }
  }

  /** Repetition at the position, -1 for no upper bound. A brace that is none is a literal. */
  #bounds(): readonly [min: number, max: number] | undefined {
    const next = this.#peek();
    if (next === "*" || next === "+" || next === "?") {
      this.#take();
      return next === "*" ? [0, -1] : next === "+" ? [1, -1] : [0, 1];
    }
    const match =
      next === "{" ? /^\{(\d{1,9})(,(\d{1,9})?)?\}/.exec(this.#from(this.#at, this.#at + 24)) : null;
    if (match === null) return undefined;
    const [text, min = "", comma, max] = match;
    this.#at += text.length;
    return [Number(min), comma === undefined ? Number(min) : max === undefined ? -1 : Number(max)];
  }

  #escape(flags: Flags, start: number): Node {
    const char = this.#peek();
    if (char === "") throw bad("trailing backslash at end of expression", "");
    const places: Readonly<Record<string, Place>> = {
      A: "text-start",
      z: "text-end",
      b: "word",
      B: "no-word",
    };
    const place = Object.hasOwn(places, char) ? places[char] : undefined;
    if (place !== undefined) {
      this.#take();
      return { kind: "place", place };
    }
    const set = this.#classEscape(start);
    if (set !== undefined) return { kind: "char", test: flags.fold ? folded(set) : set };
    return literal(this.#charEscape(start), flags);
  }

  /** `\d`, `\pL` and the like, the backslash taken. */
  #classEscape(start: number): CharTest | undefined {
    const char = this.#peek();
    const perl = Object.hasOwn(PERL, char.toLowerCase()) ? PERL[char.toLowerCase()] : undefined;
    if (perl !== undefined) {
      this.#take();
      return char === char.toLowerCase() ? perl : not(perl);
    }
    if (char !== "p" && char !== "P") return undefined;
    this.#take();
    const match = /^(?:\{(\^?)(\w+)\}|(\w))/.exec(this.#from(this.#at, this.#at + 64));
    const test = match === null ? undefined : unicodeClass(match[2] ?? match[3] ?? "");
    if (match === null || test === undefined)
      throw bad("invalid character class range", this.#from(start, this.#at + (match?.[0].length ?? 0)));
    this.#at += match[0].length;
    return (char === "P") === (match[1] === "^") ? test : not(test);
  }

  /** One character, the backslash taken. */
  #charEscape(start: number): number {
    const char = this.#take();
    if (Object.hasOwn(ESCAPES, char)) return ESCAPES[char] ?? 0;
    const rest = this.#from(this.#at - 1, this.#at + 12);
    // a single digit would refer back
    const match = /^(?:0([0-7]{0,2})|([1-7][0-7]{1,2})|x([0-9A-Fa-f]{2})|x\{([0-9A-Fa-f]{1,8})\})/.exec(rest);
    if (match !== null) {
      this.#at += match[0].length - 1;
      const [, zero, octal, hex, long] = match;
      const value = Number.parseInt(
        octal ?? hex ?? long ?? `0${zero}`,
        octal !== undefined || zero !== undefined ? 8 : 16,
      );
      if (value <= 0x10ffff) return value;
    } else if (char !== "" && code(char) < 0x80 && !/[0-9A-Za-z]/.test(char)) return code(char);
    throw bad("invalid escape sequence", this.#from(start, this.#at));
  }

  #set(flags: Flags, start: number): CharTest {
    const tests: CharTest[] = [];
    const negated = this.#peek() === "^";
    if (negated) this.#take();
    for (let first = true; first || this.#peek() !== "]"; first = false) {
      if (this.#peek() === "") throw bad("missing closing ]", this.#from(start));
      tests.push(this.#range());
    }
    this.#take();
    const listed = either(tests);
    const test = flags.fold ? folded(listed) : listed;
    return negated ? not(test) : test;
  }

  #range(): CharTest {
    const start = this.#at;
    const posix = /^\[:(\^?)(\w+):\]/.exec(this.#from(start, start + 16));
    if (posix !== null) {
      const [text, hat, name = ""] = posix;
      const test = Object.hasOwn(POSIX, name) ? POSIX[name] : undefined;
      if (test === undefined) throw bad("invalid character class range", text);
      this.#at += text.length;
      return hat === "^" ? not(test) : test;
    }
    const low = this.#setChar();
    if (typeof low !== "number") return low;
    if (this.#peek() !== "-" || this.#peek(1) === "]" || this.#peek(1) === "") return (c) => c === low;
    this.#take();
    const high = this.#setChar();
    if (typeof high !== "number" || high < low)
      throw bad("invalid character class range", this.#from(start, this.#at));
    return between(low, high);
  }

  #setChar(): number | CharTest {
    const start = this.#at;
    const char = this.#take();
    if (char !== "\\") return code(char);
    return this.#classEscape(start) ?? this.#charEscape(start);
  }
}

function literal(char: number, flags: Flags): Node {
  const same: CharTest = (c) => c === char;
  return { kind: "char", test: flags.fold ? folded(same) : same };
}

/** Upper and lower case are the same. */
function folded(test: CharTest): CharTest {
  return (c) => {
    if (test(c)) return true;
    const text = String.fromCodePoint(c);
    const [down, up] = [text.toLowerCase(), text.toUpperCase()];
    return test(code(down)) || ([...up].length === 1 && test(code(up)));
  };
}

/** A category (`L`, `Lu`) or script (`Greek`) of Unicode. */
function unicodeClass(name: string): CharTest | undefined {
  if (name === "Any") return () => true;
  for (const property of ["gc", "Script"]) {
    try {
      // one character at a time: takes no time to match
      const pattern = new RegExp(`^\\p{${property}=${name}}$`, "u");
      return (c) => pattern.test(String.fromCodePoint(c));
    } catch {
      // no such property: the other one, or nothing
    }
  }
  return undefined;
}

/** How often the innermost part may be repeated in all. */
function product(node: Node): number {
  if (node.kind === "repeat") return Math.max(1, node.max, node.min) * product(node.node);
  if (node.kind === "all" || node.kind === "any") return Math.max(1, ...node.parts.map(product));
  return 1;
}
