/**
 * File system calls for tree work (unpack, compare, copy, remove), made for hot loops: failures are negative errno values
 * instead of exceptions, and nothing is allocated per call. Paths are byte strings: each character is one byte (0-255),
 * as names on disk are bytes and not text.
 *
 * Synchronous: for helper processes, or for calls that cannot wait.
 */
import { Buffer } from "node:buffer";
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  AT_REMOVEDIR,
  AT_SYMLINK_NOFOLLOW,
  O_APPEND,
  O_CLOEXEC,
  O_CREAT,
  O_DIRECTORY,
  O_EXCL,
  O_NOFOLLOW,
  O_NONBLOCK,
  O_PATH,
  O_RDONLY,
  O_RDWR,
  O_TRUNC,
  O_WRONLY,
  RESOLVE_IN_ROOT,
  RESOLVE_NO_MAGICLINKS,
  S_IFBLK,
  S_IFCHR,
  S_IFDIR,
  S_IFIFO,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
  S_IFSOCK,
} from "./constants.ts";
import { c, PATH_ROOM, pathA, pathB, put, ret, tooLong } from "./raw-call.ts";

const STATX_BASIC = 0x7ff;
const SYS_OPENAT2 = 437;
const FICLONE = 0x40049409;

/** Flags of open(2). */
export const O = {
  RDONLY: O_RDONLY,
  WRONLY: O_WRONLY,
  RDWR: O_RDWR,
  CREAT: O_CREAT,
  EXCL: O_EXCL,
  TRUNC: O_TRUNC,
  APPEND: O_APPEND,
  NONBLOCK: O_NONBLOCK,
  CLOEXEC: O_CLOEXEC,
  DIRECTORY: O_DIRECTORY,
  NOFOLLOW: O_NOFOLLOW,
  PATH: O_PATH,
} as const;

/** errno values this layer's callers look at. */
export const ERRNO = {
  EPERM: 1,
  ENOENT: 2,
  EINTR: 4,
  EIO: 5,
  ENXIO: 6,
  EBADF: 9,
  EAGAIN: 11,
  ENOMEM: 12,
  EACCES: 13,
  EBUSY: 16,
  EEXIST: 17,
  EXDEV: 18,
  ENODEV: 19,
  ENOTDIR: 20,
  EISDIR: 21,
  EINVAL: 22,
  EMFILE: 24,
  ETXTBSY: 26,
  EFBIG: 27,
  ENOSPC: 28,
  EROFS: 30,
  EMLINK: 31,
  ERANGE: 34,
  ENAMETOOLONG: 36,
  ENOSYS: 38,
  ENOTEMPTY: 39,
  ELOOP: 40,
  ENODATA: 61,
  ENOTSUP: 95,
  EDQUOT: 122,
} as const;

/** File types of st_mode. */
export const S = {
  IFMT: S_IFMT,
  IFSOCK: S_IFSOCK,
  IFLNK: S_IFLNK,
  IFREG: S_IFREG,
  IFBLK: S_IFBLK,
  IFDIR: S_IFDIR,
  IFCHR: S_IFCHR,
  IFIFO: S_IFIFO,
} as const;

/** Access and modification time, in seconds and nanoseconds since the epoch. */
export interface RawTimes {
  readonly atimeSec: number;
  readonly atimeNsec: number;
  readonly mtimeSec: number;
  readonly mtimeNsec: number;
}

/** What statx tells. */
export interface RawStat extends RawTimes {
  readonly mode: number;
  readonly nlink: number;
  readonly uid: number;
  readonly gid: number;
  readonly ino: bigint;
  readonly size: number;
  /** 512-byte blocks used. */
  readonly blocks: number;
  readonly devMajor: number;
  readonly devMinor: number;
  readonly rdevMajor: number;
  readonly rdevMinor: number;
}

/** A directory entry. `type` is 0 when the file system does not tell. */
export interface RawDirent {
  readonly name: string;
  /** Type bits as in st_mode >> 12; 0 = unknown. */
  readonly type: number;
}

/** The byte string of a path given as text. */
export function textPath(path: string): string {
  return Buffer.from(path, "utf8").toString("latin1");
}

const target = Buffer.from(new ArrayBuffer(PATH_ROOM));
const times = new BigInt64Array(new ArrayBuffer(128));
const timesBytes = new Uint8Array(times.buffer);
const statBuffer = new DataView(new ArrayBuffer(256));
const statBytes = new Uint8Array(statBuffer.buffer);
const how = new BigUint64Array(new ArrayBuffer(128));
const howBytes = new Uint8Array(how.buffer);
const dents = Buffer.from(new ArrayBuffer(65536));

/** open(2) relative to `dir` (default: the working directory). */
export function open(path: string, flags: number, mode = 0, dir = AT_FDCWD): number {
  if (tooLong(path)) return -ERRNO.ENAMETOOLONG;
  return ret(c.openat(dir, put(pathA, path), flags, mode));
}

/** openat2(2) with RESOLVE_IN_ROOT: `dir` acts as the root for every symlink and `..`. */
export function openInRoot(dir: number, path: string, flags: number): number {
  if (tooLong(path)) return -ERRNO.ENAMETOOLONG;
  how[0] = BigInt(flags);
  how[1] = 0n;
  how[2] = BigInt(RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
  return ret(Number(c.syscall(SYS_OPENAT2, dir, put(pathA, path), howBytes, 24)));
}

/** close(2). */
export function close(fd: number): number {
  return ret(c.close(fd));
}

/** Reads up to the buffer's length. */
export function read(fd: number, into: Uint8Array): number {
  for (;;) {
    const n = ret(Number(c.read(fd, into, into.length)));
    if (n !== -ERRNO.EINTR) return n;
  }
}

/** Writes all bytes at the file position; the number written or a negative errno. */
export function write(fd: number, bytes: Uint8Array): number {
  let at = 0;
  while (at < bytes.length) {
    const n = ret(Number(c.write(fd, at === 0 ? bytes : bytes.subarray(at), bytes.length - at)));
    if (n === -ERRNO.EINTR) continue;
    if (n < 0) return n;
    at += n;
  }
  return at;
}

/** Writes all bytes at `offset`. */
export function pwrite(fd: number, bytes: Uint8Array, offset: number): number {
  let at = 0;
  while (at < bytes.length) {
    const part = at === 0 ? bytes : bytes.subarray(at);
    const n = ret(Number(c.pwrite(fd, part, part.length, offset + at)));
    if (n === -ERRNO.EINTR) continue;
    if (n < 0) return n;
    at += n;
  }
  return at;
}

/** lseek(2); whence 0 set, 1 current, 2 end, 3 data, 4 hole. */
export function seek(fd: number, offset: number, whence: number): number {
  return ret(Number(c.lseek(fd, offset, whence)));
}

export function truncate(fd: number, size: number): number {
  return ret(c.ftruncate(fd, size));
}
export function fsync(fd: number): number {
  return ret(c.fsync(fd));
}
/** Flushes the whole file system of `fd`. */
export function syncfs(fd: number): number {
  return ret(c.syncfs(fd));
}
/** Copies up to `length` bytes between the files' positions, inside the kernel. */
function copyRange(from: number, to: number, length: number): number {
  return ret(Number(c.copy_file_range(from, null, to, null, length, 0)));
}
/** Shares the extents of `from` with `to` (FICLONE). */
export function clone(from: number, to: number): number {
  return ret(c.ioctl(to, FICLONE, from));
}

/**
 * Copies a file's content: shared extents where the file system can, else inside the kernel, holes kept out of it only by
 * the first. Returns 0 or a negative errno.
 */
export function copyContent(from: number, to: number, size: number): number {
  if (size > 0 && clone(from, to) === 0) return 0;
  let left = size;
  while (left > 0) {
    const n = copyRange(from, to, Math.min(left, 1 << 30));
    if (n === -ERRNO.EINTR) continue;
    if (n === 0) break;
    if (n < 0) return left === size ? copyThrough(from, to) : n;
    left -= n;
  }
  return left === 0 ? 0 : truncate(to, size);
}

/** The copy of last resort, for file systems that cannot copy between each other. */
function copyThrough(from: number, to: number): number {
  const buffer = new Uint8Array(1 << 20);
  for (;;) {
    const n = read(from, buffer);
    if (n <= 0) return n;
    const written = write(to, buffer.subarray(0, n));
    if (written < 0) return written;
  }
}

export function fchown(fd: number, uid: number, gid: number): number {
  return ret(c.fchown(fd, uid, gid));
}
export function fchmod(fd: number, mode: number): number {
  return ret(c.fchmod(fd, mode));
}
/** Owner of the path itself, never of a link's target. */
export function lchown(path: string, uid: number, gid: number, dir = AT_FDCWD): number {
  if (tooLong(path)) return -ERRNO.ENAMETOOLONG;
  return ret(c.fchownat(dir, put(pathA, path), uid, gid, AT_SYMLINK_NOFOLLOW));
}
/** Follows links: only for nodes that were just made, or known not to be links. */
export function chmod(path: string, mode: number, dir = AT_FDCWD): number {
  if (tooLong(path)) return -ERRNO.ENAMETOOLONG;
  return ret(c.fchmodat(dir, put(pathA, path), mode, 0));
}

/** The scratch buffer with both times. */
function putTimes(given: RawTimes): Uint8Array {
  times[0] = BigInt(given.atimeSec);
  times[1] = BigInt(given.atimeNsec);
  times[2] = BigInt(given.mtimeSec);
  times[3] = BigInt(given.mtimeNsec);
  return timesBytes;
}

/** Access and modification time of an open file. */
export function futimens(fd: number, given: RawTimes): number {
  return ret(c.futimens(fd, putTimes(given)));
}
/** Times of the path itself. */
export function lutimens(path: string, given: RawTimes, dir = AT_FDCWD): number {
  if (tooLong(path)) return -ERRNO.ENAMETOOLONG;
  return ret(c.utimensat(dir, put(pathA, path), putTimes(given), AT_SYMLINK_NOFOLLOW));
}

export function mkdir(path: string, mode: number, dir = AT_FDCWD): number {
  if (tooLong(path)) return -ERRNO.ENAMETOOLONG;
  return ret(c.mkdirat(dir, put(pathA, path), mode));
}
/** `mode` with type bits; device numbers as the kernel packs them. */
export function mknod(path: string, mode: number, major: number, minor: number, dir = AT_FDCWD): number {
  if (tooLong(path)) return -ERRNO.ENAMETOOLONG;
  const dev = (minor & 0xff) + (major & 0xfff) * 256 + (minor >>> 8) * 1048576;
  return ret(c.mknodat(dir, put(pathA, path), mode, dev));
}
export function symlink(target: string, path: string, dir = AT_FDCWD): number {
  if (tooLong(path) || tooLong(target)) return -ERRNO.ENAMETOOLONG;
  return ret(c.symlinkat(put(pathB, target), dir, put(pathA, path)));
}
/** Hard link to `from` itself: symlinks are not followed. */
export function link(from: string, to: string, fromDir = AT_FDCWD, toDir = AT_FDCWD): number {
  if (tooLong(from) || tooLong(to)) return -ERRNO.ENAMETOOLONG;
  return ret(c.linkat(fromDir, put(pathB, from), toDir, put(pathA, to), 0));
}
export function rename(from: string, to: string, fromDir = AT_FDCWD, toDir = AT_FDCWD): number {
  if (tooLong(from) || tooLong(to)) return -ERRNO.ENAMETOOLONG;
  return ret(c.renameat(fromDir, put(pathB, from), toDir, put(pathA, to)));
}
export function unlink(path: string, dir = AT_FDCWD): number {
  if (tooLong(path)) return -ERRNO.ENAMETOOLONG;
  return ret(c.unlinkat(dir, put(pathA, path), 0));
}
export function rmdir(path: string, dir = AT_FDCWD): number {
  if (tooLong(path)) return -ERRNO.ENAMETOOLONG;
  return ret(c.unlinkat(dir, put(pathA, path), AT_REMOVEDIR));
}

/** Target of a symlink, or a negative errno. */
export function readlink(path: string, dir = AT_FDCWD): string | number {
  if (tooLong(path)) return -ERRNO.ENAMETOOLONG;
  const n = ret(Number(c.readlinkat(dir, put(pathA, path), target, target.length)));
  return n < 0 ? n : target.toString("latin1", 0, n);
}

/** statx(2) of the path itself (no link followed); "" is `dir` itself. A negative errno on failure. */
export function lstat(path: string, dir = AT_FDCWD): RawStat | number {
  if (tooLong(path)) return -ERRNO.ENAMETOOLONG;
  const flags = AT_SYMLINK_NOFOLLOW | (path === "" ? AT_EMPTY_PATH : 0);
  const n = ret(c.statx(dir, put(pathA, path), flags, STATX_BASIC, statBytes));
  if (n < 0) return n;
  const s = statBuffer;
  return {
    mode: s.getUint16(28, true),
    nlink: s.getUint32(16, true),
    uid: s.getUint32(20, true),
    gid: s.getUint32(24, true),
    ino: s.getBigUint64(32, true),
    size: Number(s.getBigUint64(40, true)),
    blocks: Number(s.getBigUint64(48, true)),
    atimeSec: Number(s.getBigInt64(64, true)),
    atimeNsec: s.getUint32(72, true),
    mtimeSec: Number(s.getBigInt64(112, true)),
    mtimeNsec: s.getUint32(120, true),
    rdevMajor: s.getUint32(128, true),
    rdevMinor: s.getUint32(132, true),
    devMajor: s.getUint32(136, true),
    devMinor: s.getUint32(140, true),
  };
}

/** All entries of an open directory without `.` and `..`, in the file system's order. */
export function readdir(fd: number): RawDirent[] | number {
  const entries: RawDirent[] = [];
  for (;;) {
    const n = ret(Number(c.getdents64(fd, dents, dents.length)));
    if (n < 0) return n;
    if (n === 0) return entries;
    for (let at = 0; at < n; ) {
      const length = dents.readUInt16LE(at + 16);
      const end = dents.indexOf(0, at + 19);
      const name = dents.toString("latin1", at + 19, end);
      if (name !== "." && name !== "..") entries.push({ name, type: dents[at + 18] ?? 0 });
      at += length;
    }
  }
}
