import { libc } from "../ffi/libc.ts";
import { alloc, view } from "../ffi/memory.ts";
import { check } from "./errors.ts";
import { lseek } from "./files.ts";

const cGetdents = libc("getdents64", ["i32", "buf", "i64"], "i64");

/** One name in a directory. `type` is a DT_* value; 0 when the file system does not tell. */
export interface Dirent {
  readonly name: Uint8Array;
  readonly type: number;
  readonly ino: bigint;
}

export const DT_UNKNOWN = 0;
export const DT_DIR = 4;

/** The next batch of names of a directory fd, without "." and ".."; undefined at the end. */
function readDirBatch(fd: number, buffer: Uint8Array = alloc(65_536)): Dirent[] | undefined {
  const length = check("getdents64", cGetdents(fd, buffer, buffer.length));
  if (length === 0) return undefined;
  const fields = view(buffer);
  const entries: Dirent[] = [];
  for (let at = 0; at < length; at += fields.getUint16(at + 16, true)) {
    const start = at + 19;
    const end = buffer.indexOf(0, start);
    const size = end - start;
    if (buffer[start] === 0x2e && (size === 1 || (size === 2 && buffer[start + 1] === 0x2e))) continue;
    entries.push({
      name: buffer.slice(start, end),
      type: fields.getUint8(at + 18),
      ino: fields.getBigUint64(at, true),
    });
  }
  return entries;
}

/** All names of a directory fd from its start, without "." and "..". `buffer` is for the kernel, for those who read many. */
export function readDir(fd: number, buffer: Uint8Array = alloc(65_536)): Dirent[] {
  lseek(fd, 0, 0);
  const all: Dirent[] = [];
  for (let batch = readDirBatch(fd, buffer); batch !== undefined; batch = readDirBatch(fd, buffer)) {
    for (const entry of batch) all.push(entry);
  }
  return all;
}
