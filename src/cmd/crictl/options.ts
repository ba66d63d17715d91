/** Typed access to the flags of a command. */
import { type GantryError, invalidArgument } from "../../core/errors.ts";
import { wholeNumber } from "./settings.ts";

export type Options = Readonly<Record<string, unknown>>;

/** A flag that is text; empty when it was not given. */
export function text(options: Options, name: string): string {
  const value = options[name];
  return typeof value === "string" ? value : "";
}

/** A flag that is there or not. */
export function on(options: Options, name: string): boolean {
  return options[name] === true;
}

/** Whether --no-trunc was given: the argument library takes it for the opposite of --trunc. */
export function untruncated(options: Options): boolean {
  return options["trunc"] === false;
}

/** A flag given any number of times. */
export function list(options: Options, name: string): string[] {
  const value = options[name];
  return Array.isArray(value) ? value.map(String) : [];
}

/** A whole number; undefined when it was not given. @throws invalid-argument */
export function integer(options: Options, name: string, flag: string): number | undefined {
  const value = text(options, name);
  return value === "" ? undefined : wholeNumber(flag, value);
}

/** The same for 64-bit fields. @throws invalid-argument */
export function int64(options: Options, name: string, flag: string): bigint {
  const value = text(options, name);
  if (value === "") return 0n;
  if (!/^[-+]?\d+$/.test(value)) throw invalidArgument(`parse ${flag} value "${value}": want a whole number`);
  return BigInt(value);
}

/** `key=value` pairs. @throws invalid-argument */
export function labels(pairs: readonly string[]): Record<string, string> {
  const found: Record<string, string> = {};
  for (const pair of pairs) {
    const parts = pair.split("=");
    if (parts.length !== 2)
      throw invalidArgument(`incorrectly specified label: ${pair}`, { hint: "use KEY=VALUE" });
    found[parts[0] ?? ""] = parts[1] ?? "";
  }
  return found;
}

/** The format to write in. @throws invalid-argument */
export function format<F extends string>(options: Options, known: readonly F[], fallback: F): F {
  const given = text(options, "output");
  const found = given === "" ? fallback : known.find((name) => name === given);
  if (found === undefined)
    throw invalidArgument(`unsupported output format "${given}"`, { hint: `use one of ${known.join(", ")}` });
  return found;
}

/** @throws invalid-argument when there is no id */
export function needIds(ids: readonly string[], what: string): readonly string[] {
  if (ids.length > 0 && ids.every((id) => id !== "")) return ids;
  throw invalidArgument("ID cannot be empty", { hint: `name at least one ${what}` });
}

/** Neither ids nor filters found anything. */
export function nothing(what: string): GantryError {
  return invalidArgument("no IDs provided or nothing found per filter", {
    hint: `name at least one ${what}, or use other filters`,
  });
}
