import { Buffer } from "node:buffer";
import { STATIC_INDEX } from "./hpack-static.ts";

/**
 * Encodes header fields as HPACK without a dynamic table and without Huffman: the static table for what is in it,
 * plain literals for the rest. Blocks therefore do not depend on the connection and can be cached.
 *
 * Values are latin1 (one byte per character); callers percent-encode or base64 anything else.
 */
export function hpackEncode(fields: Iterable<readonly [name: string, value: string]>): Buffer {
  const parts: Buffer[] = [];
  for (const [name, value] of fields) parts.push(field(name, value));
  return parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts);
}

/** Table size update to 0: tells the peer that no dynamic table is used. Belongs in front of the first block. */
export const TABLE_SIZE_ZERO: Uint8Array = Uint8Array.of(0x20);

function field(name: string, value: string): Buffer {
  const whole = value === "" ? undefined : STATIC_INDEX.get(`${name}\0${value}`);
  if (whole !== undefined) return integer(0x80, 7, whole);
  const index = STATIC_INDEX.get(name);
  const text = string(value);
  if (index !== undefined) return Buffer.concat([integer(0, 4, index), text]);
  return Buffer.concat([integer(0, 4, 0), string(name), text]);
}

function string(text: string): Buffer {
  const bytes = Buffer.from(text, "latin1");
  return Buffer.concat([integer(0, 7, bytes.length), bytes]);
}

function integer(pattern: number, prefix: number, value: number): Buffer {
  const max = (1 << prefix) - 1;
  if (value < max) return Buffer.from([pattern | value]);
  const bytes = [pattern | max];
  let rest = value - max;
  while (rest >= 128) {
    bytes.push((rest & 0x7f) | 0x80);
    rest = Math.floor(rest / 128);
  }
  bytes.push(rest);
  return Buffer.from(bytes);
}
