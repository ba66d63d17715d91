/** Values of templates (what JSON can hold) as Go shows and compares them. */
import { TemplateError } from "./lexer.ts";

/** JSON, and undefined: what `index` gives for a missing key. */
export type Value =
  | undefined
  | null
  | boolean
  | number
  | string
  | readonly Value[]
  | { readonly [key: string]: Value };

export type Dict = { readonly [key: string]: Value };

export function isDict(value: Value): value is Dict {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export function isList(value: Value): value is readonly Value[] {
  return Array.isArray(value);
}

/** Go's name of a type that JSON decodes to. */
export function typeName(value: Value): string {
  if (value === null || value === undefined) return "<nil>";
  if (isList(value)) return "[]interface {}";
  if (isDict(value)) return "map[string]interface {}";
  return typeof value === "boolean" ? "bool" : typeof value === "string" ? "string" : "number";
}

/** Whether a value counts as true: not false, 0, "", nil or empty. */
export function truth(value: Value): boolean {
  if (isList(value)) return value.length > 0;
  if (isDict(value)) return Object.keys(value).length > 0;
  return value !== null && value !== undefined && value !== false && value !== 0 && value !== "";
}

/** Keys in the order Go visits them. */
export function sortedKeys(dict: Dict): string[] {
  return Object.keys(dict).sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
}

/** A value as `{{.}}` prints it. */
export function show(value: Value): string {
  if (value === undefined) return "<no value>";
  if (value === null) return "<nil>";
  if (isList(value)) return `[${value.map(show).join(" ")}]`;
  if (isDict(value)) {
    return `map[${sortedKeys(value)
      .map((key) => `${key}:${show(value[key])}`)
      .join(" ")}]`;
  }
  return String(value);
}

/** JSON with sorted keys, as Go's encoder writes it (and the escapes it makes for HTML). */
export function toJsonText(value: Value): string {
  const sort = (v: Value): Value => {
    if (isList(v)) return v.map(sort);
    if (!isDict(v)) return v;
    return Object.fromEntries(sortedKeys(v).map((key) => [key, sort(v[key] ?? null)]));
  };
  return JSON.stringify(sort(value ?? null)).replace(
    /[<>&\u2028\u2029]/g,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** Less than zero, zero, greater: for `lt` and the like. @throws TemplateError */
export function compare(a: Value, b: Value): number {
  if (typeof a === "number" && typeof b === "number") return a - b;
  if (typeof a === "string" && typeof b === "string") return a < b ? -1 : a > b ? 1 : 0;
  throw new TemplateError(
    typeName(a) === typeName(b) ? "invalid type for comparison" : "incompatible types for comparison",
  );
}

/** For `eq`. @throws TemplateError for values of different or uncomparable types */
export function equal(a: Value, b: Value): boolean {
  if ((a ?? null) === null || (b ?? null) === null) return (a ?? null) === (b ?? null);
  if (typeof a === "object" || typeof b === "object") throw new TemplateError("non-comparable type");
  if (typeof a !== typeof b) throw new TemplateError("incompatible types for comparison");
  return a === b;
}
