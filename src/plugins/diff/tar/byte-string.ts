import { Buffer } from "node:buffer";

/**
 * A byte sequence as a string: each character is one byte (code 0-255). File names, link targets and extended
 * attributes of a tar are bytes, not text (T4): as byte strings they can be compared, split and used as map keys without
 * losing anything, at half the cost of arrays.
 */
export type ByteString = string;

/** The byte string of `bytes[start, end)`. */
export function fromBytes(bytes: Uint8Array, start = 0, end = bytes.length): ByteString {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("latin1", start, end);
}

/** The byte string of a text's UTF-8 form, e.g. of a path from a mount. */
export function fromText(text: string): ByteString {
  return Buffer.from(text, "utf8").toString("latin1");
}

/** For messages: the bytes read as UTF-8; what is not UTF-8 shows as U+FFFD. */
export function show(value: ByteString): string {
  return Buffer.from(value, "latin1").toString("utf8");
}
