/** Pax extended header records (POSIX.1-2017 pax, "pax Extended Header") with the vendor keys that matter. */
import { invalidArgument } from "../../../core/errors.ts";
import { type ByteString, fromBytes } from "./byte-string.ts";

/** Longest extended header or GNU long name in bytes; Go's archive/tar and so containerd stop at the same. */
export const MAX_META = 1 << 20;
/** Most extents of a sparse file: bounds the memory a header can claim (S7). */
export const MAX_EXTENTS = 1 << 17;

/** A point in time, as seconds and nanoseconds since the epoch. */
export interface TarTime {
  readonly sec: number;
  /** 0 to 999999999. */
  readonly nsec: number;
}

/** What the records of one extended header change. */
export interface PaxRecords {
  path?: ByteString;
  linkpath?: ByteString;
  size?: number;
  uid?: number;
  gid?: number;
  mtime?: TarTime;
  atime?: TarTime;
  /** `SCHILY.xattr.*`: attribute name to value, both bytes. */
  xattrs?: Map<ByteString, ByteString>;
  sparse?: PaxSparse;
}

/** The `GNU.sparse.*` records. */
export interface PaxSparse {
  major: number;
  minor: number;
  name?: ByteString;
  realSize?: number;
  /** Offsets and lengths in turn (formats 0.0 and 0.1). */
  map: number[];
}

const XATTR = "SCHILY.xattr.";

/** A non-negative decimal. */
function decimal(text: ByteString, key: string): number {
  const value = /^-?\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
  if (!Number.isSafeInteger(value)) throw invalidArgument(`read pax record "${key}": not a number`);
  return value;
}

/** A size or id: may not be negative. */
function positive(text: ByteString, key: string): number {
  const value = decimal(text, key);
  if (value < 0) throw invalidArgument(`read pax record "${key}": is negative`);
  return value;
}

/** `[-]seconds[.fraction]`. */
export function parsePaxTime(text: ByteString, key = "mtime"): TarTime {
  const match = /^(-?)(\d{1,16})(?:\.(\d*))?$/.exec(text);
  if (match === null) throw invalidArgument(`read pax record "${key}": not a time`);
  const sec = Number(match[2]);
  const nsec = Number((match[3] ?? "").slice(0, 9).padEnd(9, "0"));
  if (!Number.isSafeInteger(sec)) throw invalidArgument(`read pax record "${key}": out of range`);
  if (match[1] !== "-") return { sec, nsec };
  return nsec === 0 ? { sec: sec === 0 ? 0 : -sec, nsec } : { sec: -sec - 1, nsec: 1_000_000_000 - nsec };
}

/** Path-like values end at no NUL. */
function noNul(value: ByteString, key: string): ByteString {
  if (value.includes("\0")) throw invalidArgument(`read pax record "${key}": contains a NUL byte`);
  return value;
}

/**
 * Parses the data of an extended header.
 * @throws invalid-argument on a broken record
 */
export function parsePax(data: Uint8Array): PaxRecords {
  const records: PaxRecords = {};
  let pos = 0;
  while (pos < data.length) {
    let length = 0;
    let i = pos;
    for (; i < data.length && i < pos + 10; i++) {
      const c = data[i] ?? 0;
      if (c < 0x30 || c > 0x39) break;
      length = length * 10 + (c - 0x30);
    }
    if (i === pos || data[i] !== 0x20 || pos + length > data.length || length < i - pos + 4)
      throw invalidArgument("read pax header: broken record length");
    const end = pos + length - 1;
    if (data[end] !== 0x0a) throw invalidArgument("read pax header: record does not end with a newline");
    const eq = data.indexOf(0x3d, i + 1);
    if (eq < 0 || eq >= end || eq === i + 1) throw invalidArgument("read pax header: record without a key");
    apply(records, fromBytes(data, i + 1, eq), fromBytes(data, eq + 1, end));
    pos += length;
  }
  return records;
}

/** Applies one record. An empty value deletes an earlier one (POSIX). */
function apply(to: PaxRecords, key: ByteString, value: ByteString): void {
  if (key.startsWith(XATTR)) {
    const name = key.slice(XATTR.length);
    if (name === "" || name.includes("\0")) throw invalidArgument("read pax record: broken xattr name");
    to.xattrs ??= new Map();
    to.xattrs.set(name, value);
    return;
  }
  if (key.startsWith("GNU.sparse.")) {
    to.sparse ??= { major: 0, minor: 0, map: [] };
    sparse(to.sparse, key.slice(11), value);
    return;
  }
  switch (key) {
    case "path":
      if (value !== "") to.path = noNul(value, key);
      return;
    case "linkpath":
      if (value !== "") to.linkpath = noNul(value, key);
      return;
    case "size":
      if (value !== "") to.size = positive(value, key);
      return;
    case "uid":
      if (value !== "") to.uid = decimal(value, key);
      return;
    case "gid":
      if (value !== "") to.gid = decimal(value, key);
      return;
    case "mtime":
      if (value !== "") to.mtime = parsePaxTime(value, key);
      return;
    case "atime":
      if (value !== "") to.atime = parsePaxTime(value, key);
      return;
    default: // comment, ctime, uname, gname, hdrcharset (names are bytes to us whatever it says) and unknown vendors
  }
}

/** One `GNU.sparse.*` record (GNU tar manual, "Storing Sparse Files"). */
function sparse(to: PaxSparse, key: string, value: ByteString): void {
  switch (key) {
    case "major":
      to.major = positive(value, key);
      return;
    case "minor":
      to.minor = positive(value, key);
      return;
    case "name":
      to.name = noNul(value, key);
      return;
    case "size":
    case "realsize":
      to.realSize = positive(value, key);
      return;
    case "offset":
    case "numbytes":
      if (to.map.length % 2 !== (key === "offset" ? 0 : 1))
        throw invalidArgument("read pax header: sparse offsets and lengths do not alternate");
      push(to.map, positive(value, key));
      return;
    case "map":
      for (const part of value.split(",")) push(to.map, positive(part, key));
      return;
    default: // numblocks: the map itself tells
  }
}

/** Adds to a map within {@link MAX_EXTENTS}. */
function push(map: number[], value: number): void {
  if (map.length >= MAX_EXTENTS * 2) throw invalidArgument("read tar: sparse map has too many entries");
  map.push(value);
}

/**
 * Checks a sparse map: ascending, not overlapping, inside the file, and as long as the stored data.
 * @throws invalid-argument
 */
export function checkSparse(map: readonly number[], realSize: number, stored: number): void {
  let end = 0;
  let total = 0;
  if (map.length % 2 !== 0) throw invalidArgument("read tar: sparse map is incomplete");
  for (let i = 0; i < map.length; i += 2) {
    const offset = map[i] ?? 0;
    const length = map[i + 1] ?? 0;
    if (offset < end || offset + length > realSize)
      throw invalidArgument("read tar: sparse map does not fit the file");
    end = offset + length;
    total += length;
  }
  if (total !== stored) throw invalidArgument("read tar: sparse map does not match the stored size");
}
