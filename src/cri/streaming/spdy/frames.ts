import { Buffer } from "node:buffer";
import { concatBytes } from "../../../lib/bytes.ts";

/**
 * SPDY/3.1 frames. Eight bytes, then the payload:
 *
 *     control  1 | version 15 | type 16 | flags 8 | length 24
 *     data     0 | stream id 31         | flags 8 | length 24
 */
export const HEADER_BYTES = 8;
export const FLAG_FIN = 1;

export const SYN_STREAM = 1;
export const SYN_REPLY = 2;
export const RST_STREAM = 3;
export const PING = 6;
export const GOAWAY = 7;
export const HEADERS = 8;

/** Status codes of RST_STREAM. */
export const PROTOCOL_ERROR = 1;
export const REFUSED_STREAM = 3;
export const CANCEL = 5;

const VERSION = 3;

/** The first eight bytes of a frame. */
export type FrameHeader =
  | { readonly kind: "data"; readonly stream: number; readonly flags: number; readonly length: number }
  | {
      readonly kind: "control";
      readonly version: number;
      readonly type: number;
      readonly flags: number;
      readonly length: number;
    };

/** Reads a frame header of exactly {@link HEADER_BYTES}. */
export function parseFrameHeader(bytes: Uint8Array): FrameHeader {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, HEADER_BYTES);
  const first = view.readUInt32BE(0);
  const flags = view.readUInt8(4);
  const length = view.readUIntBE(5, 3);
  if (first < 0x8000_0000) return { kind: "data", stream: first, flags, length };
  return { kind: "control", version: (first >>> 16) & 0x7fff, type: first & 0xffff, flags, length };
}

/** True for the one version we speak. */
export const isSupportedVersion = (version: number): boolean => version === VERSION;

/** A 31-bit stream id, or any 32-bit number, at `at`. */
export function readId(payload: Uint8Array, at = 0): number {
  return Buffer.from(payload.buffer, payload.byteOffset, payload.length).readUInt32BE(at);
}

/** A data frame; at most 16 MiB - 1. */
export function dataFrame(stream: number, payload: Uint8Array, fin: boolean): Uint8Array {
  const frame = Buffer.allocUnsafe(HEADER_BYTES + payload.length);
  frame.writeUInt32BE(stream, 0);
  frame.writeUInt8(fin ? FLAG_FIN : 0, 4);
  frame.writeUIntBE(payload.length, 5, 3);
  frame.set(payload, HEADER_BYTES);
  return frame;
}

/** A control frame. */
export function controlFrame(type: number, flags: number, ...parts: readonly Uint8Array[]): Uint8Array {
  const payload = concatBytes(parts);
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt16BE(0x8000 | VERSION, 0);
  header.writeUInt16BE(type, 2);
  header.writeUInt8(flags, 4);
  header.writeUIntBE(payload.length, 5, 3);
  return concatBytes([header, payload]);
}

/** Four bytes, big endian. */
export function word(n: number): Uint8Array {
  return Uint8Array.of(n >>> 24, (n >>> 16) & 255, (n >>> 8) & 255, n & 255);
}
