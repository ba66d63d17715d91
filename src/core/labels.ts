import type { Labels } from "./any.ts";
import { invalidArgument } from "./errors.ts";

/** Longest key plus value in bytes (containerd's rule). */
const MAX = 4096;
/** How much of a too-long key the error shows. */
const SHOWN = 64;

/** Checks labels. @throws invalid-argument when key and value together exceed 4096 bytes */
export function checkLabels(labels: Labels): void {
  for (const [key, value] of labels) {
    const total = Buffer.byteLength(key) + Buffer.byteLength(value);
    if (total <= MAX) continue;
    const shown = key.length > SHOWN ? `${key.slice(0, SHOWN)}` : key;
    throw invalidArgument(
      `label key and value length (${total} bytes) greater than maximum size (${MAX} bytes), key: ${shown}`,
    );
  }
}

/** What a store keeps of labels: one with an empty value is as good as none (containerd never stores those). */
export function keptLabels(labels: Labels): Labels {
  return new Map([...labels].filter(([, value]) => value !== ""));
}

/** The empty label set. */
export const noLabels: Labels = new Map();
