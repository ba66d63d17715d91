/** Field masks of update calls: `labels`, `labels.KEY` (KEY is everything after the first dot), other fixed names. */

import type { Labels } from "./any.ts";
import { invalidArgument } from "./errors.ts";
import { keptLabels } from "./labels.ts";

/**
 * Applies the label part of a mask. No label path in a non-empty mask keeps the old labels. A `labels.KEY` path sets the
 * key to the new value, or removes it when the new labels lack it or hold "".
 */
export function maskLabels(old: Labels, next: Labels, fields: readonly string[]): Labels {
  if (fields.length === 0 || fields.includes("labels")) return keptLabels(next);
  return maskMap(old, next, fields, "labels.");
}

/** The same for any map field with prefix `name.`. */
export function maskMap<V>(
  old: ReadonlyMap<string, V>,
  next: ReadonlyMap<string, V>,
  fields: readonly string[],
  prefix: string,
): ReadonlyMap<string, V> {
  const out = new Map(old);
  for (const path of fields) {
    if (!path.startsWith(prefix)) continue;
    const key = path.slice(prefix.length);
    const value = next.get(key);
    if (value === undefined || value === "") out.delete(key);
    else out.set(key, value);
  }
  return out;
}

/**
 * Checks that every path is one of `names` or starts with one of `prefixes`.
 * @throws invalid-argument naming the path
 */
export function checkFields(
  fields: readonly string[],
  names: readonly string[],
  prefixes: readonly string[],
  what: string,
): void {
  for (const path of fields) {
    if (names.includes(path) || prefixes.some((p) => path.startsWith(p) && path.length > p.length)) continue;
    throw invalidArgument(`cannot update "${path}" field on ${what}`);
  }
}
