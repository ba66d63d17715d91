/** Small conversions between rows and values. A value of the wrong type throws: the row is damaged. */

import type { SQLOutputValue } from "node:sqlite";
import type { AnyValue, Labels } from "../../core/any.ts";
import { keptLabels } from "../../core/labels.ts";

/** A row as SQLite gives it; integers are bigint. */
export type Row = Readonly<Record<string, SQLOutputValue>>;

/** A text column. */
export function text(row: Row, column: string): string {
  const value = row[column];
  if (typeof value !== "string") throw new TypeError(`column "${column}": want text, is ${typeof value}`);
  return value;
}

/** An integer column. */
export function int(row: Row, column: string): bigint {
  const value = row[column];
  if (typeof value !== "bigint")
    throw new TypeError(`column "${column}": want an integer, is ${typeof value}`);
  return value;
}

/** A column that may be NULL. */
export function maybe<T>(row: Row, column: string, read: (row: Row, column: string) => T): T | undefined {
  return row[column] === null || row[column] === undefined ? undefined : read(row, column);
}

/** A bytes column. */
function bytes(row: Row, column: string): Uint8Array {
  const value = row[column];
  if (!(value instanceof Uint8Array)) throw new TypeError(`column "${column}": want bytes`);
  return value;
}

/** Labels as JSON. */
export function encodeLabels(labels: ReadonlyMap<string, string>): string {
  return labels.size === 0 ? "{}" : JSON.stringify(Object.fromEntries(keptLabels(labels)));
}

/** Labels from a JSON column. */
export function labels(row: Row, column = "labels"): Labels {
  const json = text(row, column);
  if (json === "{}") return new Map();
  const map = new Map<string, string>();
  for (const [key, value] of Object.entries(JSON.parse(json) as Record<string, unknown>)) {
    if (typeof value !== "string") throw new TypeError(`column "${column}": value of "${key}" is no text`);
    map.set(key, value);
  }
  return map;
}

/** Extensions as JSON: type and base64. */
export function encodeAnyMap(map: ReadonlyMap<string, AnyValue>): string {
  return JSON.stringify(
    Object.fromEntries([...map].map(([k, v]) => [k, [v.typeUrl, Buffer.from(v.value).toString("base64")]])),
  );
}

/** Extensions from a JSON column. */
export function anyMap(row: Row, column: string): ReadonlyMap<string, AnyValue> {
  const json = text(row, column);
  if (json === "{}") return new Map();
  const map = new Map<string, AnyValue>();
  for (const [key, value] of Object.entries(JSON.parse(json) as Record<string, unknown>)) {
    const [typeUrl, base64] = value as [unknown, unknown];
    if (typeof typeUrl !== "string" || typeof base64 !== "string")
      throw new TypeError(`column "${column}": entry "${key}" is damaged`);
    map.set(key, { typeUrl, value: new Uint8Array(Buffer.from(base64, "base64")) });
  }
  return map;
}

/** A typed blob from two columns. */
export function anyValue(row: Row, url: string, value: string): AnyValue | undefined {
  const typeUrl = maybe(row, url, text);
  return typeUrl === undefined ? undefined : { typeUrl, value: maybe(row, value, bytes) ?? new Uint8Array() };
}
