/** Typed access to a snapshotter's config table. */
import { invalidArgument } from "../../core/errors.ts";

type Table = Readonly<Record<string, unknown>>;

/** @throws invalid-argument naming the key */
export function stringKey(table: Table, key: string): string {
  const value = table[key] ?? "";
  if (typeof value !== "string") throw invalidArgument(`config key "${key}": must be a string`);
  return value;
}

/** @throws invalid-argument naming the key */
export function booleanKey(table: Table, key: string): boolean {
  const value = table[key] ?? false;
  if (typeof value !== "boolean") throw invalidArgument(`config key "${key}": must be true or false`);
  return value;
}

/** @throws invalid-argument naming the key */
export function stringListKey(table: Table, key: string): readonly string[] {
  const value = table[key] ?? [];
  if (!Array.isArray(value) || !value.every((item) => typeof item === "string"))
    throw invalidArgument(`config key "${key}": must be a list of strings`);
  return value as string[];
}
