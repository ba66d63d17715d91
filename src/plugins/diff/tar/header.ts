/** One 512-byte tar header block: ustar, pax, star, GNU and old v7 layouts (POSIX.1-2017 pax; GNU tar manual, "Basic Tar Format"). */
import { invalidArgument } from "../../../core/errors.ts";
import { type ByteString, fromBytes } from "./byte-string.ts";

/** Size of a tar block in bytes. */
export const BLOCK = 512;

/** Type flags as character codes. */
export const TYPE = {
  oldRegular: 0,
  regular: 0x30,
  hardLink: 0x31,
  symlink: 0x32,
  char: 0x33,
  block: 0x34,
  directory: 0x35,
  fifo: 0x36,
  contiguous: 0x37,
  paxGlobal: 0x67,
  pax: 0x78,
  solarisPax: 0x58,
  gnuLongName: 0x4c,
  gnuLongLink: 0x4b,
  gnuSparse: 0x53,
} as const;

/** What one header block says, before pax and GNU records are applied. */
export interface RawHeader {
  readonly type: number;
  readonly name: ByteString;
  readonly linkname: ByteString;
  /** Permission bits, set-id and sticky: 12 bits. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Bytes of data after the header. */
  readonly size: number;
  /** Seconds since the epoch. */
  readonly mtime: number;
  readonly devmajor: number;
  readonly devminor: number;
  readonly format: "v7" | "ustar" | "star" | "gnu";
}

/**
 * A number field: octal digits between spaces and NULs, or base-256 when the first bit is set.
 * @throws invalid-argument when it is neither, or does not fit into a safe integer
 */
export function parseNumber(block: Uint8Array, at: number, length: number, what: string): number {
  const first = block[at] ?? 0;
  if ((first & 0x80) !== 0) return parseBase256(block, at, length, what);
  let i = at;
  const end = at + length;
  while (i < end && (block[i] === 0x20 || block[i] === 0)) i++;
  let value = 0;
  for (; i < end; i++) {
    const c = block[i] ?? 0;
    if (c === 0 || c === 0x20) break;
    if (c < 0x30 || c > 0x37) throw invalidArgument(`read tar header: ${what} is not a number`);
    value = value * 8 + (c - 0x30);
  }
  for (; i < end; i++) {
    const c = block[i] ?? 0;
    if (c !== 0 && c !== 0x20) throw invalidArgument(`read tar header: ${what} is not a number`);
  }
  return value;
}

/** Two's complement, big endian; the top bit is the marker and not part of the value. */
function parseBase256(block: Uint8Array, at: number, length: number, what: string): number {
  const first = block[at] ?? 0;
  const negative = (first & 0x40) !== 0;
  let value = negative ? BigInt((first & 0x7f) - 0x80) : BigInt(first & 0x7f);
  for (let i = at + 1; i < at + length; i++) value = value * 256n + BigInt(block[i] ?? 0);
  const number = Number(value);
  if (!Number.isSafeInteger(number)) throw invalidArgument(`read tar header: ${what} is out of range`);
  return number;
}

/** Text up to the first NUL. */
function field(block: Uint8Array, at: number, length: number): ByteString {
  let end = at;
  while (end < at + length && block[end] !== 0) end++;
  return fromBytes(block, at, end);
}

/** True when every byte is zero. */
export function isZeroBlock(block: Uint8Array, at: number): boolean {
  for (let i = at; i < at + BLOCK; i++) if (block[i] !== 0) return false;
  return true;
}

/** Checks the sum; both the standard unsigned and the historic signed form are taken. */
function checkSum(block: Uint8Array, at: number): void {
  let unsigned = 0;
  let signed = 0;
  for (let i = 0; i < BLOCK; i++) {
    const byte = i >= 148 && i < 156 ? 0x20 : (block[at + i] ?? 0);
    unsigned += byte;
    signed += byte > 127 ? byte - 256 : byte;
  }
  const want = parseNumber(block, at + 148, 8, "checksum");
  if (want !== unsigned && want !== signed) throw invalidArgument("read tar header: checksum does not match");
}

const MAGIC_USTAR = "ustar\0";
const MAGIC_GNU = "ustar  \0";

/** The layout a block uses. */
function formatOf(block: Uint8Array, at: number): RawHeader["format"] {
  if (block[at + 257] !== 0x75) return "v7";
  const magic = fromBytes(block, at + 257, at + 265);
  if (magic === MAGIC_GNU) return "gnu";
  if (!magic.startsWith(MAGIC_USTAR)) return "v7";
  return fromBytes(block, at + 508, at + 512) === "tar\0" ? "star" : "ustar";
}

/**
 * Parses the block at `at`, which is not a zero block.
 * @throws invalid-argument on a wrong checksum or a field that is not a number
 */
export function parseHeader(block: Uint8Array, at: number): RawHeader {
  checkSum(block, at);
  const format = formatOf(block, at);
  let name = field(block, at, 100);
  if (format === "ustar" || format === "star") {
    const prefix = field(block, at + 345, format === "star" ? 131 : 155);
    if (prefix !== "") name = `${prefix}/${name}`;
  }
  const size = parseNumber(block, at + 124, 12, "size");
  if (size < 0) throw invalidArgument("read tar header: size is negative");
  const old = format === "v7";
  return {
    type: block[at + 156] ?? 0,
    name,
    linkname: field(block, at + 157, 100),
    mode: parseNumber(block, at + 100, 8, "mode") & 0o7777,
    uid: parseNumber(block, at + 108, 8, "uid"),
    gid: parseNumber(block, at + 116, 8, "gid"),
    size,
    mtime: parseNumber(block, at + 136, 12, "mtime"),
    devmajor: old ? 0 : parseNumber(block, at + 329, 8, "devmajor"),
    devminor: old ? 0 : parseNumber(block, at + 337, 8, "devminor"),
    format,
  };
}
