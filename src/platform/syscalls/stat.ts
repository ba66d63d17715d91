import { libc } from "../ffi/libc.ts";
import { alloc, cstr, type Path, view } from "../ffi/memory.ts";
import { AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW, S_IFMT } from "./constants.ts";
import { check } from "./errors.ts";

const cStatx = libc("statx", ["i32", "buf", "i32", "u32", "buf"]);
const cReadlinkat = libc("readlinkat", ["i32", "buf", "buf", "i64"], "i64");
const cStatfs = libc("statfs64", ["buf", "buf"]);

/** What statx(2) says; times are nanoseconds since the epoch. */
export interface Stat {
  /** All mode bits, the type included. */
  readonly mode: number;
  /** S_IF bits alone. */
  readonly type: number;
  readonly uid: number;
  readonly gid: number;
  readonly nlink: number;
  readonly size: number;
  readonly ino: bigint;
  /** Blocks of 512 bytes in use. */
  readonly blocks: bigint;
  /** The file system: major and minor number in one. */
  readonly dev: string;
  readonly rdev: { readonly major: number; readonly minor: number };
  readonly atimeNs: bigint;
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;
  /** Number of the mount that holds the file (kernel 5.8). */
  readonly mountId: bigint;
}

const STATX_BASIC_STATS = 0x7ff;
const STATX_MNT_ID = 0x1000;

/** statx(2). Flags 0 follows a symlink, AT_SYMLINK_NOFOLLOW does not, AT_EMPTY_PATH with "" means `dirfd` itself. */
export function statx(dirfd: number, path: Path, flags: number): Stat {
  const buffer = alloc(256);
  check("statx", cStatx(dirfd, cstr(path), flags, STATX_BASIC_STATS | STATX_MNT_ID, buffer), path);
  return decode(view(buffer));
}

/** Like {@link statx}, but undefined when nothing is there (ENOENT, ENOTDIR). */
export function statxIfExists(dirfd: number, path: Path, flags: number): Stat | undefined {
  const buffer = alloc(256);
  const result = cStatx(dirfd, cstr(path), flags, STATX_BASIC_STATS | STATX_MNT_ID, buffer);
  if (result === -2 || result === -20) return undefined;
  check("statx", result, path);
  return decode(view(buffer));
}

/** Looks at many names one after the other for the space they take: nothing is allocated per look. */
export class SpaceProbe {
  readonly #name = alloc(4096);
  readonly #buffer = alloc(256);
  readonly #fields = view(this.#buffer);

  /** Looks at `name` in `dirfd` without following it; false when nothing is there. What it found holds until the next look. */
  look(dirfd: number, name: Uint8Array): boolean {
    this.#name.set(name);
    this.#name[name.length] = 0;
    const result = cStatx(dirfd, this.#name, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, this.#buffer);
    if (result === -2 || result === -20) return false;
    check("statx", result, name);
    return true;
  }

  /** S_IF bits alone. */
  get type(): number {
    return this.#fields.getUint16(28, true) & S_IFMT;
  }

  get nlink(): number {
    return this.#fields.getUint32(16, true);
  }

  /** Blocks of 512 bytes in use. */
  get blocks(): number {
    return this.#fields.getUint32(48, true) + this.#fields.getUint32(52, true) * 2 ** 32;
  }

  /** File system and number of the inode. */
  get id(): string {
    const f = this.#fields;
    return `${f.getUint32(136, true)}:${f.getUint32(140, true)}/${f.getBigUint64(32, true)}`;
  }
}

/** stat(2): follows symlinks. */
export function stat(path: Path): Stat {
  return statx(AT_FDCWD, path, 0);
}

/** lstat(2). */
export function lstat(path: Path): Stat {
  return statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW);
}

/** fstat(2); works on O_PATH fds. */
export function fstat(fd: number): Stat {
  return statx(fd, "", AT_EMPTY_PATH);
}

/** Target of a symlink, as bytes. */
export function readlinkat(dirfd: number, path: Path): Uint8Array {
  for (let size = 1024; ; size *= 4) {
    const buffer = alloc(size);
    const length = check("readlinkat", cReadlinkat(dirfd, cstr(path), buffer, size), path);
    if (length < size) return buffer.slice(0, length);
  }
}

/** What statfs(2) says. */
export interface FsStat {
  /** Magic number of the file system type. */
  readonly type: number;
  readonly blockSize: number;
  readonly blocks: bigint;
  readonly blocksAvailable: bigint;
  readonly files: bigint;
  readonly filesFree: bigint;
}

/** statfs(2). */
export function statfs(path: Path): FsStat {
  const buffer = alloc(128);
  check("statfs", cStatfs(cstr(path), buffer), path);
  const fields = view(buffer);
  return {
    type: Number(fields.getBigUint64(0, true) & 0xffffffffn),
    blockSize: Number(fields.getBigUint64(8, true)),
    blocks: fields.getBigUint64(16, true),
    blocksAvailable: fields.getBigUint64(32, true),
    files: fields.getBigUint64(40, true),
    filesFree: fields.getBigUint64(48, true),
  };
}

function decode(fields: DataView): Stat {
  const time = (at: number): bigint =>
    fields.getBigInt64(at, true) * 1_000_000_000n + BigInt(fields.getUint32(at + 8, true));
  const mode = fields.getUint16(28, true);
  return {
    mode,
    type: mode & S_IFMT,
    nlink: fields.getUint32(16, true),
    uid: fields.getUint32(20, true),
    gid: fields.getUint32(24, true),
    ino: fields.getBigUint64(32, true),
    size: Number(fields.getBigUint64(40, true)),
    blocks: fields.getBigUint64(48, true),
    atimeNs: time(64),
    ctimeNs: time(96),
    mtimeNs: time(112),
    rdev: { major: fields.getUint32(128, true), minor: fields.getUint32(132, true) },
    dev: `${fields.getUint32(136, true)}:${fields.getUint32(140, true)}`,
    mountId: fields.getBigUint64(144, true),
  };
}
