import { libc } from "../ffi/libc.ts";
import { cstr, type Path } from "../ffi/memory.ts";
import { AT_FDCWD, AT_REMOVEDIR, AT_SYMLINK_NOFOLLOW, S_IFIFO } from "./constants.ts";
import { check } from "./errors.ts";

const cMkdirat = libc("mkdirat", ["i32", "buf", "u32"]);
const cMknodat = libc("mknodat", ["i32", "buf", "u32", "i64"]);
const cUnlinkat = libc("unlinkat", ["i32", "buf", "i32"]);
const cRenameat2 = libc("renameat2", ["i32", "buf", "i32", "buf", "u32"]);
const cFchownat = libc("fchownat", ["i32", "buf", "u32", "u32", "i32"]);

/** mkdirat(2). The umask applies. */
export function mkdirat(dirfd: number, path: Path, mode: number): void {
  check("mkdirat", cMkdirat(dirfd, cstr(path), mode), path);
}

/** mknodat(2): `mode` with its S_IF bits, `device` as makedev(3) packs it. */
export function mknodat(dirfd: number, path: Path, mode: number, device = 0n): void {
  check("mknodat", cMknodat(dirfd, cstr(path), mode, Number(device)), path);
}

/** mkfifo(3). */
export function mkfifo(path: Path, mode: number): void {
  mknodat(AT_FDCWD, path, S_IFIFO | mode);
}

/** unlinkat(2); flags AT_REMOVEDIR for directories. */
export function unlinkat(dirfd: number, path: Path, flags = 0): void {
  check("unlinkat", cUnlinkat(dirfd, cstr(path), flags), path);
}

/** rmdir. */
export function rmdirat(dirfd: number, path: Path): void {
  unlinkat(dirfd, path, AT_REMOVEDIR);
}

/** renameat2(2); flags RENAME_*. */
export function renameat2(fromDir: number, from: Path, toDir: number, to: Path, flags = 0): void {
  check("renameat2", cRenameat2(fromDir, cstr(from), toDir, cstr(to), flags), to);
}

/** fchownat(2); does not follow a symlink unless `flags` is 0. */
export function fchownat(
  dirfd: number,
  path: Path,
  uid: number,
  gid: number,
  flags: number = AT_SYMLINK_NOFOLLOW,
): void {
  check("fchownat", cFchownat(dirfd, cstr(path), uid, gid, flags), path);
}
