import { Buffer } from "node:buffer";

/** Opcodes of RFC 6455, 5.2. */
export const CONTINUATION = 0;
export const TEXT = 1;
export const BINARY = 2;
export const CLOSE = 8;
export const PING = 9;
export const PONG = 10;

/** Close codes of RFC 6455, 7.4.1. */
export const NORMAL_CLOSURE = 1000;
export const PROTOCOL_ERROR = 1002;
export const TOO_BIG = 1009;

/** Longest payload of a control frame. */
export const MAX_CONTROL = 125;
/** Longest frame header: 2 + 8 length + 4 mask. */
export const MAX_HEADER = 14;

/** The start of a client's frame. */
export interface FrameStart {
  readonly fin: boolean;
  /** The three reserved bits; no extension is ever agreed, so they must be 0. */
  readonly reserved: number;
  readonly opcode: number;
  /** Undefined when the frame is not masked, which a client's must be. */
  readonly mask: Uint8Array | undefined;
  /** Exact up to 2^53; larger values are only known to be too large. */
  readonly length: number;
}

/** Bytes of the frame header that starts with these two bytes. */
export function headerLength(second: number): number {
  const size = second & 0x7f;
  return 2 + (size === 126 ? 2 : size === 127 ? 8 : 0) + (second >= 0x80 ? 4 : 0);
}

/** Reads a whole frame header. */
export function parseFrameStart(header: Uint8Array): FrameStart {
  const view = Buffer.from(header.buffer, header.byteOffset, header.length);
  const first = view.readUInt8(0);
  const second = view.readUInt8(1);
  let length = second & 0x7f;
  let at = 2;
  if (length === 126) {
    length = view.readUInt16BE(2);
    at = 4;
  } else if (length === 127) {
    length = Number(view.readBigUInt64BE(2));
    at = 10;
  }
  return {
    fin: first >= 0x80,
    reserved: first & 0x70,
    opcode: first & 0x0f,
    mask: second >= 0x80 ? header.slice(at, at + 4) : undefined,
    length,
  };
}

/**
 * Takes the mask off in place.
 * @param from position of the first byte in the frame's payload
 */
export function unmask(bytes: Uint8Array, mask: Uint8Array, from: number): void {
  let at = 0;
  // Words where the memory allows it: some 8 times faster.
  for (; at < bytes.length && (bytes.byteOffset + at) % 4 !== 0; at++) {
    bytes[at] = (bytes[at] ?? 0) ^ (mask[(from + at) & 3] ?? 0);
  }
  const count = (bytes.length - at) >> 2;
  // No view of no words: its start need not be aligned.
  const words =
    count === 0 ? new Uint32Array(0) : new Uint32Array(bytes.buffer, bytes.byteOffset + at, count);
  const turned = new Uint8Array(4);
  for (let i = 0; i < 4; i++) turned[i] = mask[(from + at + i) & 3] ?? 0;
  const key = new Uint32Array(turned.buffer)[0] ?? 0;
  for (let i = 0; i < words.length; i++) words[i] = (words[i] ?? 0) ^ key;
  for (at += words.length * 4; at < bytes.length; at++) {
    bytes[at] = (bytes[at] ?? 0) ^ (mask[(from + at) & 3] ?? 0);
  }
}

/** A server's frame, never masked. The payload is `parts` one after the other. */
export function frame(opcode: number, ...parts: readonly Uint8Array[]): Uint8Array {
  let length = 0;
  for (const part of parts) length += part.length;
  const extra = length < 126 ? 0 : length < 65_536 ? 2 : 8;
  const bytes = Buffer.allocUnsafe(2 + extra + length);
  bytes.writeUInt8(0x80 | opcode, 0);
  bytes.writeUInt8(extra === 0 ? length : extra === 2 ? 126 : 127, 1);
  if (extra === 2) bytes.writeUInt16BE(length, 2);
  if (extra === 8) bytes.writeBigUInt64BE(BigInt(length), 2);
  let at = 2 + extra;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** A close frame with a code and no text. */
export function closeFrame(code: number): Uint8Array {
  return frame(CLOSE, Uint8Array.of(code >> 8, code & 255));
}
