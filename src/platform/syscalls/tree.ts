import { libc } from "../ffi/libc.ts";
import { alloc, cstr, type Path, view } from "../ffi/memory.ts";
import { AT_FDCWD, AT_REMOVEDIR, AT_SYMLINK_NOFOLLOW, S_IFIFO } from "./constants.ts";
import { check } from "./errors.ts";

const cMkdirat = libc("mkdirat", ["i32", "buf", "u32"]);
const cMknodat = libc("mknodat", ["i32", "buf", "u32", "i64"]);
const cSymlinkat = libc("symlinkat", ["buf", "i32", "buf"]);
const cLinkat = libc("linkat", ["i32", "buf", "i32", "buf", "i32"]);
const cUnlinkat = libc("unlinkat", ["i32", "buf", "i32"]);
const cRenameat2 = libc("renameat2", ["i32", "buf", "i32", "buf", "u32"]);
const cFchownat = libc("fchownat", ["i32", "buf", "u32", "u32", "i32"]);
const cFchmod = libc("fchmod", ["i32", "u32"]);
const cFchmodat = libc("fchmodat", ["i32", "buf", "u32", "i32"]);
const cUtimensat = libc("utimensat", ["i32", "buf", "buf", "i32"]);

/** mkdirat(2). The umask applies. */
export function mkdirat(dirfd: number, path: Path, mode: number): void {
  check("mkdirat", cMkdirat(dirfd, cstr(path), mode), path);
}

/** A device number in the form of makedev(3). */
export function makedev(major: number, minor: number): bigint {
  const a = BigInt(major);
  const b = BigInt(minor);
  return ((a & 0xfffff000n) << 32n) | ((a & 0xfffn) << 8n) | ((b & 0xffffff00n) << 12n) | (b & 0xffn);
}

/** mknodat(2): `mode` with its S_IF bits, `device` from {@link makedev}. */
export function mknodat(dirfd: number, path: Path, mode: number, device = 0n): void {
  check("mknodat", cMknodat(dirfd, cstr(path), mode, Number(device)), path);
}

/** mkfifo(3). */
export function mkfifo(path: Path, mode: number): void {
  mknodat(AT_FDCWD, path, S_IFIFO | mode);
}

/** symlinkat(2). */
export function symlinkat(target: Path, dirfd: number, path: Path): void {
  check("symlinkat", cSymlinkat(cstr(target), dirfd, cstr(path)), path);
}

/** linkat(2): a link to a symlink is a link to the symlink unless flags say AT_SYMLINK_FOLLOW. */
export function linkat(fromDir: number, from: Path, toDir: number, to: Path, flags = 0): void {
  check("linkat", cLinkat(fromDir, cstr(from), toDir, cstr(to), flags), to);
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

/** fchmod(2). Not for O_PATH fds. */
export function fchmod(fd: number, mode: number): void {
  check("fchmod", cFchmod(fd, mode));
}

/** fchmodat(2): FOLLOWS symlinks (Linux has no other); check the type first. */
export function fchmodat(dirfd: number, path: Path, mode: number): void {
  check("fchmodat", cFchmodat(dirfd, cstr(path), mode, 0), path);
}

/** utimensat(2): nanoseconds since the epoch; undefined leaves a time alone. Does not follow a symlink by default. */
export function utimensat(
  dirfd: number,
  path: Path | null,
  atimeNs: bigint | undefined,
  mtimeNs: bigint | undefined,
  flags: number = AT_SYMLINK_NOFOLLOW,
): void {
  const buffer = alloc(32);
  const fields = view(buffer);
  putTime(fields, 0, atimeNs);
  putTime(fields, 16, mtimeNs);
  const name = path === null ? null : cstr(path);
  // A null path means the file of dirfd itself, and takes no flags.
  check("utimensat", cUtimensat(dirfd, name, buffer, path === null ? 0 : flags), path ?? undefined);
}

const UTIME_OMIT = 0x3ffffffen;
const SECOND = 1_000_000_000n;

function putTime(fields: DataView, at: number, ns: bigint | undefined): void {
  let seconds = 0n;
  let nanos = UTIME_OMIT;
  if (ns !== undefined) {
    nanos = ((ns % SECOND) + SECOND) % SECOND;
    seconds = (ns - nanos) / SECOND;
  }
  fields.setBigInt64(at, seconds, true);
  fields.setBigInt64(at + 8, nanos, true);
}
