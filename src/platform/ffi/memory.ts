/**
 * Memory for C calls. V8 keeps typed arrays of up to 64 bytes on its moving heap, where a pointer goes stale, so every
 * buffer has at least 128 bytes behind it (stack.md 0).
 */
export function alloc(size: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(new ArrayBuffer(Math.max(size, 128)));
}

/** A view for reading and writing numbers in `buffer`. */
export function view(buffer: Uint8Array): DataView {
  return new DataView(buffer.buffer, buffer.byteOffset, buffer.byteLength);
}

/** A file name as text or as the bytes the kernel has. */
export type Path = string | Uint8Array;

const encoder = new TextEncoder();

/**
 * `text` with a terminating zero byte.
 * @throws TypeError when it holds a zero byte, which C would cut at
 */
export function cstr(text: Path): Uint8Array<ArrayBuffer> {
  if (typeof text !== "string") {
    if (text.includes(0)) throw new TypeError("path: holds a zero byte");
    const buffer = alloc(text.length + 1);
    buffer.set(text);
    return buffer;
  }
  if (text.includes("\0")) throw new TypeError(`path ${JSON.stringify(text)}: holds a zero byte`);
  const buffer = alloc(text.length * 3 + 1);
  encoder.encodeInto(text, buffer);
  return buffer;
}

/** Bytes that C may touch: `bytes` itself when its memory is large enough to be fixed, else a copy. */
export function fixed(bytes: Uint8Array): Uint8Array {
  if (bytes.buffer.byteLength >= 128) return bytes;
  const copy = alloc(bytes.length);
  copy.set(bytes);
  return copy;
}

const decoder = new TextDecoder();

/** Text of bytes up to `length`. */
export function text(buffer: Uint8Array, length = buffer.length): string {
  return decoder.decode(buffer.subarray(0, length));
}
