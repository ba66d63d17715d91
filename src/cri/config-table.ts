/** A table of the configuration file, read key by key with checks that name the key. */
import { invalidArgument } from "../core/errors.ts";

type Values = Readonly<Record<string, unknown>>;

/** See the file's comment. */
export class Table {
  /** The table with its defaults. */
  readonly merged: Values;
  readonly #prefix: string;

  /** @param prefix said before a key in errors */
  constructor(given: Values, defaults: unknown, prefix = "") {
    this.merged = { ...(isTable(defaults) ? defaults : {}), ...given };
    this.#prefix = prefix;
  }

  text(key: string): string {
    const value = this.merged[key];
    if (typeof value !== "string") throw this.#wrong(key, "a string");
    return value;
  }

  flag(key: string): boolean {
    const value = this.merged[key];
    if (typeof value !== "boolean") throw this.#wrong(key, "true or false");
    return value;
  }

  /** A whole number of at least `least`. */
  whole(key: string, least = 0): number {
    const value = Number(this.merged[key]);
    if (!Number.isSafeInteger(value) || value < least) throw this.#wrong(key, "a whole number");
    return value;
  }

  texts(key: string): string[] {
    const value = this.merged[key];
    if (!Array.isArray(value) || value.some((v) => typeof v !== "string"))
      throw this.#wrong(key, "a list of strings");
    return value as string[];
  }

  oneOf<const T extends readonly string[]>(key: string, values: T): T[number] {
    const value = this.text(key);
    if (!values.includes(value)) throw this.#wrong(key, `one of ${values.map((v) => `"${v}"`).join(", ")}`);
    return value;
  }

  /** A table inside. */
  table(key: string, defaults: unknown): Table {
    const value = this.merged[key] ?? {};
    if (!isTable(value)) throw this.#wrong(key, "a table");
    return new Table(value, defaults, `${this.#prefix}${key}.`);
  }

  /** A table of tables, by name. */
  tables(key: string): Map<string, Values> {
    const value = this.merged[key] ?? {};
    if (!isTable(value)) throw this.#wrong(key, "a table");
    const out = new Map<string, Values>();
    for (const [name, inner] of Object.entries(value)) {
      if (!isTable(inner)) throw this.#wrong(`${key}.${name}`, "a table");
      out.set(name, inner);
    }
    return out;
  }

  #wrong(key: string, want: string): Error {
    const shown = JSON.stringify(this.merged[key], (_k, v: unknown) => (typeof v === "bigint" ? `${v}` : v));
    return invalidArgument(`${this.#prefix}${key} ${shown ?? "(missing)"}: want ${want}`);
  }
}

function isTable(value: unknown): value is Values {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
