/**
 * File system calls for tree work (unpack, compare, copy, remove), made for hot loops: failures are negative errno values
 * instead of exceptions, and nothing is allocated per call. Paths are byte strings: each character is one byte (0-255),
 * as names on disk are bytes and not text.
 *
 * Synchronous: for helper processes, or for calls that cannot wait.
 */
import { Buffer } from "node:buffer";
import { openLibc } from "./raw-libc.ts";

const { calls: c, errno } = openLibc();

const AT_FDCWD = -100;
const AT_SYMLINK_NOFOLLOW = 0x100;
const AT_REMOVEDIR = 0x200;
const AT_EMPTY_PATH = 0x1000;
const STATX_BASIC = 0x7ff;
const SYS_OPENAT2 = 437;

/** Flags of open(2); equal on every architecture we build for unless computed. */
export const O = {
  RDONLY: 0,
  WRONLY: 1,
  RDWR: 2,
  CREAT: 0o100,
  EXCL: 0o200,
  TRUNC: 0o1000,
  APPEND: 0o2000,
  NONBLOCK: 0o4000,
  CLOEXEC: 0o2000000,
  DIRECTORY: process.arch === "arm64" ? 0o40000 : 0o200000,
  NOFOLLOW: process.arch === "arm64" ? 0o100000 : 0o400000,
  PATH: 0o10000000,
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

const NAMES = new Map<number, string>(Object.entries(ERRNO).map(([name, value]) => [value, name]));

/** Name of an errno value, e.g. `ENOENT`. */
export function errnoName(value: number): string {
  return NAMES.get(Math.abs(value)) ?? `errno ${Math.abs(value)}`;
}

/** File types of st_mode. */
export const S = {
  IFMT: 0o170000,
  IFSOCK: 0o140000,
  IFLNK: 0o120000,
  IFREG: 0o100000,
  IFBLK: 0o060000,
  IFDIR: 0o040000,
  IFCHR: 0o020000,
  IFIFO: 0o010000,
} as const;

/** What statx tells. Times in seconds and nanoseconds since the epoch. */
export interface RawStat {
  readonly mode: number;
  readonly nlink: number;
  readonly uid: number;
  readonly gid: number;
  readonly ino: bigint;
  readonly size: number;
  /** 512-byte blocks used. */
  readonly blocks: number;
  readonly atimeSec: number;
  readonly atimeNsec: number;
  readonly mtimeSec: number;
  readonly mtimeNsec: number;
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

const PATH_ROOM = 8192;
const pathA = Buffer.from(new ArrayBuffer(PATH_ROOM));
const pathB = Buffer.from(new ArrayBuffer(PATH_ROOM));
const nameA = Buffer.from(new ArrayBuffer(PATH_ROOM));
const times = new BigInt64Array(new ArrayBuffer(128));
const statBuffer = new DataView(new ArrayBuffer(256));
const statBytes = new Uint8Array(statBuffer.buffer);
const how = new BigUint64Array(new ArrayBuffer(128));
let value = Buffer.from(new ArrayBuffer(65536 + 64));
const dents = Buffer.from(new ArrayBuffer(65536));
const EMPTY = Buffer.from(new ArrayBuffer(128));

/** Writes `text` and a NUL into a scratch buffer; undefined when it does not fit. */
function put(buffer: Buffer, text: string): Buffer {
  const length = Math.min(text.length, PATH_ROOM - 1);
  buffer.write(text, 0, length, "latin1");
  buffer[length] = 0;
  return buffer;
}

const tooLong = (text: string): boolean => text.length >= PATH_ROOM;

/** Result of a call: its value, or the negative errno. */
function ret(result: number): number {
  return result < 0 ? -(errno[0] ?? 0) : result;
}

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
  how[2] = 0x10n | 0x02n; // RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
  return ret(Number(c.syscall(SYS_OPENAT2, dir, put(pathA, path), new Uint8Array(how.buffer), 24)));
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
export function copyRange(from: number, to: number, length: number): number {
  return ret(Number(c.copy_file_range(from, null, to, null, length, 0)));
}
/** Shares the extents of `from` with `to` (FICLONE). */
export function clone(from: number, to: number): number {
  return ret(c.ioctl(to, 0x40049409, from));
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

function setTimes(aSec: number, aNsec: number, mSec: number, mNsec: number): Uint8Array {
  times[0] = BigInt(aSec);
  times[1] = BigInt(aNsec);
  times[2] = BigInt(mSec);
  times[3] = BigInt(mNsec);
  return timesBytes;
}
const timesBytes = new Uint8Array(times.buffer);

/** Access and modification time of an open file. */
export function futimens(fd: number, aSec: number, aNsec: number, mSec: number, mNsec: number): number {
  return ret(c.futimens(fd, setTimes(aSec, aNsec, mSec, mNsec)));
}
/** Times of the path itself. */
export function lutimens(
  path: string,
  aSec: number,
  aNsec: number,
  mSec: number,
  mNsec: number,
  dir = AT_FDCWD,
): number {
  if (tooLong(path)) return -ERRNO.ENAMETOOLONG;
  const t = setTimes(aSec, aNsec, mSec, mNsec);
  return ret(c.utimensat(dir, put(pathA, path), t, AT_SYMLINK_NOFOLLOW));
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
  const n = ret(Number(c.readlinkat(dir, put(pathA, path), value, value.length)));
  return n < 0 ? n : value.toString("latin1", 0, n);
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

/** Attributes by descriptor. */
export function fsetxattr(fd: number, name: string, data: string): number {
  const n = putValue(data);
  return ret(c.fsetxattr(fd, put(nameA, name), value, n, 0));
}
/** Attributes of the path itself. */
export function lsetxattr(path: string, name: string, data: string): number {
  if (tooLong(path)) return -ERRNO.ENAMETOOLONG;
  const n = putValue(data);
  return ret(c.lsetxattr(put(pathA, path), put(nameA, name), value, n, 0));
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
  if (tooLong(path)) return -ERRNO.ENAMETOOLONG;
  return names(ret(Number(c.llistxattr(put(pathA, path), value, value.length))));
}
function names(n: number): string[] | number {
  if (n <= 0) return n === 0 ? [] : n;
  return value.toString("latin1", 0, n - 1).split("\0");
}
/** Value of an attribute; a negative errno on failure (ENODATA: it has none). */
export function fgetxattr(fd: number, name: string): string | number {
  const n = ret(Number(c.fgetxattr(fd, put(nameA, name), value, value.length)));
  return n < 0 ? n : value.toString("latin1", 0, n);
}
export function lgetxattr(path: string, name: string): string | number {
  if (tooLong(path)) return -ERRNO.ENAMETOOLONG;
  const n = ret(Number(c.lgetxattr(put(pathA, path), put(nameA, name), value, value.length)));
  return n < 0 ? n : value.toString("latin1", 0, n);
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

/** Makes `path` the root and the working directory of this process. */
export function chroot(path: string): number {
  const n = ret(c.chroot(put(pathA, path)));
  return n < 0 ? n : ret(c.chdir(put(pathA, "/")));
}
export function chdir(path: string): number {
  return ret(c.chdir(put(pathA, path)));
}
export function fchdir(fd: number): number {
  return ret(c.fchdir(fd));
}
/** Sets the file mode creation mask; returns the old one. */
export function umask(mask: number): number {
  return c.umask(mask);
}
/** This process dies when the thread that started it does. */
export function dieWithParent(): number {
  return ret(c.prctl(1, 9, 0, 0, 0));
}
/** unshare(CLONE_NEWNS) of the calling thread, with every mount made private. */
export function privateMounts(): number {
  const n = ret(c.unshare(0x00020000));
  return n < 0 ? n : mount("none", "/", "", 0x40000 | 0x4000, "");
}
/** mount(2). */
export function mount(source: string, target: string, type: string, flags: number, data: string): number {
  const d = Buffer.from(`${data}\0`, "latin1");
  const t = Buffer.from(`${type}\0`.padEnd(128, "\0"), "latin1");
  return ret(c.mount(put(pathB, source), put(pathA, target), t, flags, data === "" ? EMPTY : d));
}
/** umount2(2); flags: 2 = MNT_DETACH. */
export function umount(target: string, flags = 0): number {
  return ret(c.umount2(put(pathA, target), flags));
}
