/**
 * Filters of list and subscribe calls, in containerd's grammar:
 *
 *   filter   := selector ("," selector)*            all must match
 *   selector := path [operator value]               without operator: the field is present
 *   path     := field ("." field)*
 *   field    := quoted | [A-Za-z0-9_]+
 *   operator := "==" | "!=" | "~="                  "~=" takes a regular expression of Go's, unanchored
 *   value    := quoted | any run without space or ","
 *
 * Several filters are alternatives; no filter and the empty filter match everything.
 */
import { invalidArgument, messageOf } from "../errors.ts";
import { compileRegexp, type Regexp } from "./regexp.ts";
import { Scanner, type Token } from "./scan.ts";

/** What an object answers for a field. `present` false means the field is not set. */
export interface FieldValue {
  readonly value: string;
  readonly present: boolean;
}

/** Gives access to the fields of one object. */
export type Adaptor = (path: readonly string[]) => FieldValue;

/** A compiled filter. */
export type Matcher = (adaptor: Adaptor) => boolean;

/** The answer for a field that is not set. */
export const absent: FieldValue = { value: "", present: false };

/**
 * Compiles alternatives into one matcher.
 * @throws invalid-argument that shows the position
 */
export function compileFilters(filters: readonly string[]): Matcher {
  if (filters.length === 0) return always;
  const alternatives = filters.map(parseFilter);
  if (alternatives.includes(always)) return always;
  const only = alternatives.length === 1 ? alternatives[0] : undefined;
  return only ?? ((adaptor) => alternatives.some((match) => match(adaptor)));
}

/** Compiles one filter. @throws invalid-argument that shows the position */
export function parseFilter(input: string): Matcher {
  return input === "" ? always : new Parser(input).parse();
}

const always: Matcher = () => true;

class Parser {
  readonly #input: string;
  readonly #scanner: Scanner;

  constructor(input: string) {
    this.#input = input;
    this.#scanner = new Scanner(input);
  }

  parse(): Matcher {
    const selectors = [this.#selector()];
    for (;;) {
      const next = this.#scanner.peek();
      if (next === "") break;
      if (next !== ",") throw this.#error(this.#scanner.at, `unexpected input: ${next}`);
      this.#scanner.scan();
      selectors.push(this.#selector());
    }
    return (adaptor) => selectors.every((match) => match(adaptor));
  }

  #selector(): Matcher {
    const path = [this.#field()];
    while (this.#scanner.peek() === ".") {
      this.#scanner.scan();
      path.push(this.#field());
    }
    const next = this.#scanner.peek();
    if (next === "" || next === ",") return (adaptor) => adaptor(path).present;
    const operator = this.#scanner.scan();
    if (operator.kind === "illegal") throw this.#error(operator.at, operator.reason);
    if (operator.kind !== "operator") throw this.#error(operator.at, 'expected an operator ("=="|"!="|"~=")');
    switch (operator.text) {
      case "==": {
        const want = this.#value(false);
        return (adaptor) => {
          const field = adaptor(path);
          return field.present && field.value === want;
        };
      }
      case "!=": {
        const want = this.#value(false);
        return (adaptor) => adaptor(path).value !== want;
      }
      case "~=": {
        const pattern = this.#regexp(this.#value(true));
        return (adaptor) => pattern.test(adaptor(path).value);
      }
      default:
        throw this.#error(operator.at, `unsupported operator "${operator.text}"`);
    }
  }

  /** containerd logs a bad expression and matches nothing; here who asks is told. */
  #regexp(source: string): Regexp {
    try {
      return compileRegexp(source);
    } catch (err) {
      throw invalidArgument(`filters: parse error: [${this.#input}]: ${messageOf(err)}`);
    }
  }

  #field(): string {
    const token = this.#scanner.scan();
    if (token.kind === "field") return token.text;
    return this.#text(token, false, "expected field or quoted");
  }

  #value(alternativeQuotes: boolean): string {
    const token = this.#scanner.scan();
    if (token.kind === "value" || token.kind === "field") return token.text;
    return this.#text(token, alternativeQuotes, "expected value or quoted");
  }

  #text(token: Token, alternativeQuotes: boolean, expected: string): string {
    if (token.kind === "illegal") throw this.#error(token.at, token.reason);
    if (token.kind !== "quoted") throw this.#error(token.at, expected);
    if (token.quote !== '"' && !alternativeQuotes) throw this.#error(token.at, "invalid quote encountered");
    return token.text;
  }

  #error(at: number, message: string): Error {
    const input = this.#input;
    const shown =
      at < input.length
        ? `${input.slice(0, at)} >|${input.slice(at, at + 1)}|< ${input.slice(at + 1)}`
        : input;
    return invalidArgument(`filters: parse error: [${shown}]: ${message}`);
  }
}
