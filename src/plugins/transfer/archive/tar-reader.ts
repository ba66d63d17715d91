/**
 * The outer archive of an image, read as a stream. Not tar-stream: that package holds whatever length an extended header
 * claims (S7), and its types do not resolve.
 */
import { invalidArgument } from "../../../core/errors.ts";
import type { ByteReader } from "./byte-reader.ts";

/** One entry. Its body must be read before the next entry is asked for; what is left is skipped. */
export interface TarEntry {
  /** Path without leading `./` and `/`, never with `..` parts. */
  readonly name: string;
  readonly kind: "file" | "directory" | "symlink" | "hardlink" | "other";
  readonly size: number;
  readonly linkname: string;
  body(): AsyncIterable<Uint8Array>;
}

const BLOCK = 512;
/** Longest extended header or long name. */
const MAX_EXTENDED = 256 * 1024;
/** Most entries. */
const MAX_ENTRIES = 200_000;

const text = new TextDecoder();

/** Entries in their order. @throws invalid-argument on what is no tar, failed-precondition on a cut-off one */
export async function* readTar(input: ByteReader): AsyncGenerator<TarEntry, void, undefined> {
  let pax = new Map<string, string>();
  let longName = "";
  let longLink = "";
  let entries = 0;
  for (;;) {
    const block = await input.exact(BLOCK);
    if (block === undefined || block.every((b) => b === 0)) return;
    checkSum(block);
    const type = String.fromCharCode(block[156] ?? 0);
    const size = number(block, 124, 12);
    if (type === "x" || type === "g" || type === "L" || type === "K") {
      const data = await extended(input, size);
      if (type === "x") pax = parsePax(data);
      else if (type === "L") longName = field(data, 0, data.byteLength);
      else if (type === "K") longLink = field(data, 0, data.byteLength);
      continue;
    }
    if (++entries > MAX_ENTRIES) throw invalidArgument(`read archive: more than ${MAX_ENTRIES} entries`);
    const prefix = text.decode(block.subarray(257, 262)) === "ustar" ? field(block, 345, 155) : "";
    const short = field(block, 0, 100);
    const paxSize = pax.get("size");
    const real = paxSize === undefined ? size : Number(paxSize);
    if (!Number.isSafeInteger(real) || real < 0) throw invalidArgument("read archive: invalid entry size");
    const name = pax.get("path") ?? (longName || (prefix === "" ? short : `${prefix}/${short}`));
    const linkname = pax.get("linkpath") ?? (longLink || field(block, 157, 100));
    const kind = kindOf(type, name);
    let left = kind === "file" ? real : 0;
    const padding = (BLOCK - (left % BLOCK)) % BLOCK;
    yield {
      name: cleanPath(name),
      kind,
      size: left,
      linkname,
      async *body() {
        while (left > 0) {
          const part = await input.some(left);
          if (part.byteLength === 0) throw invalidArgument("read archive: unexpected end");
          left -= part.byteLength;
          yield part;
        }
      },
    };
    await input.skip(left + padding);
    pax = new Map();
    longName = "";
    longLink = "";
  }
}

function kindOf(type: string, name: string): TarEntry["kind"] {
  if (type === "1") return "hardlink";
  if (type === "2") return "symlink";
  if (type === "5" || name.endsWith("/")) return "directory";
  return type === "0" || type === "\0" || type === "7" ? "file" : "other";
}

/** A relative path without `.`, `..` and empty parts; `..` at the front is dropped as under a root. */
export function cleanPath(path: string): string {
  const out: string[] = [];
  for (const part of path.split("/")) {
    if (part === "" || part === ".") continue;
    if (part === "..") out.pop();
    else out.push(part);
  }
  return out.join("/");
}

async function extended(input: ByteReader, size: number): Promise<Uint8Array> {
  if (size > MAX_EXTENDED)
    throw invalidArgument(`read archive: extended header of ${size} bytes, larger than ${MAX_EXTENDED}`);
  const data = size === 0 ? new Uint8Array() : await input.exact(size);
  if (data === undefined) throw invalidArgument("read archive: unexpected end");
  await input.skip((BLOCK - (size % BLOCK)) % BLOCK);
  return data;
}

function parsePax(data: Uint8Array): Map<string, string> {
  const out = new Map<string, string>();
  for (let at = 0; at < data.byteLength; ) {
    const space = data.indexOf(0x20, at);
    const length = space < 0 ? 0 : Number(text.decode(data.subarray(at, space)));
    // without a space the length is 0, and no step would be made
    if (space < 0 || !Number.isSafeInteger(length) || length <= space - at || at + length > data.byteLength)
      throw invalidArgument("read archive: broken extended header");
    const record = text.decode(data.subarray(space + 1, at + length - 1));
    const equals = record.indexOf("=");
    if (equals > 0) out.set(record.slice(0, equals), record.slice(equals + 1));
    at += length;
  }
  return out;
}

function field(block: Uint8Array, at: number, length: number): string {
  const raw = block.subarray(at, at + length);
  const end = raw.indexOf(0);
  return text.decode(end < 0 ? raw : raw.subarray(0, end));
}

function number(block: Uint8Array, at: number, length: number): number {
  const first = block[at] ?? 0;
  if ((first & 0x80) !== 0) {
    let value = BigInt(first & 0x7f);
    for (let i = 1; i < length; i++) value = (value << 8n) | BigInt(block[at + i] ?? 0);
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw invalidArgument("read archive: invalid entry size");
    return Number(value);
  }
  const digits = field(block, at, length).trim();
  if (!/^[0-7]*$/.test(digits)) throw invalidArgument("read archive: invalid tar header");
  return digits === "" ? 0 : Number.parseInt(digits, 8);
}

function checkSum(block: Uint8Array): void {
  let sum = 0;
  for (let i = 0; i < BLOCK; i++) sum += i >= 148 && i < 156 ? 0x20 : (block[i] ?? 0);
  if (number(block, 148, 8) !== sum)
    throw invalidArgument("read archive: invalid tar header", {
      hint: "want a tar archive, plain or compressed with gzip, zstd, xz or bzip2, of an OCI layout or from docker save",
    });
}
