import { libc } from "../ffi/libc.ts";
import { alloc, cstr, fixed, type Path, text } from "../ffi/memory.ts";
import { check } from "./errors.ts";

const cLsetxattr = libc("lsetxattr", ["buf", "buf", "buf", "i64", "i32"]);
const cLgetxattr = libc("lgetxattr", ["buf", "buf", "buf", "i64"], "i64");
const cLlistxattr = libc("llistxattr", ["buf", "buf", "i64"], "i64");

const ENODATA = -61;
const ERANGE = -34;

/** lsetxattr(2): of the symlink itself. */
export function lsetxattr(path: Path, name: string, value: Uint8Array, flags = 0): void {
  check("lsetxattr", cLsetxattr(cstr(path), cstr(name), fixed(value), value.length, flags), path);
}

/** Value of an attribute of `path` (the symlink itself), or undefined when it has none of that name. */
export function lgetxattr(path: Path, name: string): Uint8Array | undefined {
  const file = cstr(path);
  const key = cstr(name);
  return grow("lgetxattr", (buffer) => cLgetxattr(file, key, buffer, buffer.length), path);
}

/** Names of the attributes of `path` (the symlink itself). */
export function llistxattr(path: Path): string[] {
  const file = cstr(path);
  return names(grow("llistxattr", (buffer) => cLlistxattr(file, buffer, buffer.length), path));
}

function grow(
  syscall: string,
  call: (buffer: Uint8Array) => number,
  path?: Path,
): Uint8Array<ArrayBuffer> | undefined {
  for (let size = 1024; ; size = 65_536) {
    const buffer = alloc(size);
    const length = call(buffer);
    if (length === ENODATA) return undefined;
    if (length === ERANGE && size < 65_536) continue;
    return buffer.slice(0, check(syscall, length, path));
  }
}

function names(list: Uint8Array | undefined): string[] {
  return list === undefined
    ? []
    : text(list)
        .split("\0")
        .filter((name) => name !== "");
}
