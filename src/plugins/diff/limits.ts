import { invalidArgument } from "../../core/errors.ts";
import type { LayerLimits } from "./apply.ts";

/** Entries a layer may have unless configured; about ten times the largest layers seen. */
const MAX_ENTRIES = 5_000_000;

/**
 * Bounds of hostile layers: `max_layer_entries`, `max_layer_bytes`. containerd's differs have no such keys, so none is
 * written by default.
 * @throws invalid-argument naming the key
 */
export function layerLimits(table: Readonly<Record<string, unknown>>): LayerLimits {
  return {
    entries: limit(table, "max_layer_entries", MAX_ENTRIES),
    bytes: limit(table, "max_layer_bytes", 0),
  };
}

/** A non-negative whole number of the table. */
function limit(table: Readonly<Record<string, unknown>>, key: string, fallback: number): number {
  const value = table[key] ?? fallback;
  if (typeof value === "bigint" && value >= 0n) return Number(value);
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0) return value;
  throw invalidArgument(`config key "${key}": must be a non-negative integer`);
}
