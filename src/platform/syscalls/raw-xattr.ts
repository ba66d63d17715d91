/**
 * Extended attributes for tree work, in the manner of raw-fs.ts: results are values or negative errno values, names and
 * values are byte strings.
 */
import { Buffer } from "node:buffer";
import { c, pathA, pathB, put, ret, tooLong } from "./raw-call.ts";

const ENAMETOOLONG = 36;

/** Scratch for a value or a list of names; 64 KiB is the most the kernel gives. */
let value = Buffer.from(new ArrayBuffer(65536 + 64));

/** Attributes by descriptor. */
export function fsetxattr(fd: number, name: string, data: string): number {
  const n = putValue(data);
  return ret(c.fsetxattr(fd, put(pathB, name), value, n, 0));
}
/** Attributes of the path itself. */
export function lsetxattr(path: string, name: string, data: string): number {
  if (tooLong(path)) return -ENAMETOOLONG;
  const n = putValue(data);
  return ret(c.lsetxattr(put(pathA, path), put(pathB, name), value, n, 0));
}

function putValue(data: string): number {
  if (data.length > value.length) value = Buffer.from(new ArrayBuffer(data.length + 64));
  value.write(data, 0, data.length, "latin1");
  return data.length;
}

/** Names of the attributes; a negative errno on failure. */
export function flistxattr(fd: number): string[] | number {
  return names(ret(Number(c.flistxattr(fd, value, value.length))));
}
export function llistxattr(path: string): string[] | number {
  if (tooLong(path)) return -ENAMETOOLONG;
  return names(ret(Number(c.llistxattr(put(pathA, path), value, value.length))));
}
function names(n: number): string[] | number {
  if (n <= 0) return n === 0 ? [] : n;
  return value.toString("latin1", 0, n - 1).split("\0");
}
/** Value of an attribute; a negative errno on failure (ENODATA: it has none). */
export function fgetxattr(fd: number, name: string): string | number {
  const n = ret(Number(c.fgetxattr(fd, put(pathB, name), value, value.length)));
  return n < 0 ? n : value.toString("latin1", 0, n);
}
export function lgetxattr(path: string, name: string): string | number {
  if (tooLong(path)) return -ENAMETOOLONG;
  const n = ret(Number(c.lgetxattr(put(pathA, path), put(pathB, name), value, value.length)));
  return n < 0 ? n : value.toString("latin1", 0, n);
}
