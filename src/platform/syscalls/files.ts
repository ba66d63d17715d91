import { libc } from "../ffi/libc.ts";
import { alloc, cstr, fixed, type Path, view } from "../ffi/memory.ts";
import { AT_FDCWD, O_CLOEXEC, O_NONBLOCK } from "./constants.ts";
import { check, SyscallError } from "./errors.ts";

const cOpenat = libc("openat", ["i32", "buf", "i32", "u32"]);
const cOpenat2 = libc("syscall", ["i64", "i64", "buf", "buf", "i64"], "i64");
const cClose = libc("close", ["i32"], "i32", false);
const cRead = libc("read", ["i32", "buf", "i64"], "i64");
const cWrite = libc("write", ["i32", "buf", "i64"], "i64");
const cPread = libc("pread64", ["i32", "buf", "i64", "i64"], "i64");
const cPwrite = libc("pwrite64", ["i32", "buf", "i64", "i64"], "i64");
const cFcntl = libc("fcntl", ["i32", "i32", "i64"]);
const cFtruncate = libc("ftruncate64", ["i32", "i64"]);
const cLseek = libc("lseek64", ["i32", "i64", "i32"], "i64");
const cPipe2 = libc("pipe2", ["buf", "i32"]);
const cDup3 = libc("dup3", ["i32", "i32", "i32"]);
const cFlock = libc("flock", ["i32", "i32"]);
const cIoctl = libc("ioctl", ["i32", "i64", "buf"]);
const cPoll = libc("poll", ["buf", "i64", "i32"], "i32", false);

const cMemfd = libc("memfd_create", ["buf", "u32"]);
const MFD_CLOEXEC = 1;

const SYS_OPENAT2 = 437;
const F_GETFD = 1;
const F_SETFD = 2;
const F_GETFL = 3;
const F_SETFL = 4;
const F_DUPFD_CLOEXEC = 1030;
const FIONREAD = 0x541b;

/** open(2) with O_CLOEXEC added. */
export function open(path: Path, flags: number, mode = 0): number {
  return openat(AT_FDCWD, path, flags, mode);
}

/** openat(2) with O_CLOEXEC added. */
export function openat(dirfd: number, path: Path, flags: number, mode = 0): number {
  return check("openat", cOpenat(dirfd, cstr(path), flags | O_CLOEXEC, mode), path);
}

/** How openat2 walks: `resolve` holds RESOLVE_* bits. */
export interface OpenHow {
  readonly flags: number;
  readonly mode?: number;
  readonly resolve?: number;
}

/** openat2(2) with O_CLOEXEC added; EAGAIN (a rename raced the walk) is tried again some times. */
export function openat2(dirfd: number, path: Path, how: OpenHow): number {
  const buffer = alloc(24);
  const fields = view(buffer);
  fields.setBigUint64(0, BigInt((how.flags | O_CLOEXEC) >>> 0), true);
  fields.setBigUint64(8, BigInt(how.mode ?? 0), true);
  fields.setBigUint64(16, BigInt(how.resolve ?? 0), true);
  const name = cstr(path);
  let result = 0;
  for (let turn = 0; turn < 128; turn++) {
    result = cOpenat2(SYS_OPENAT2, dirfd, name, buffer, 24);
    if (result !== -11) break;
  }
  return check("openat2", result, path);
}

/** close(2). Errors other than EBADF are ignored: the number is free in any case. */
export function close(fd: number): void {
  const result = cClose(fd);
  if (result === -9) throw new SyscallError("close", 9, String(fd));
}

/** read(2) into `buffer`; returns the bytes read, 0 at the end. `buffer` needs 128 bytes or more behind it. */
export function read(fd: number, buffer: Uint8Array): number {
  return check("read", cRead(fd, buffer, buffer.length));
}

/** read(2) that returns minus errno instead of throwing; for loops where EAGAIN is usual. */
export function tryRead(fd: number, buffer: Uint8Array): number {
  return cRead(fd, buffer, buffer.length);
}

/** write(2); may write less than asked. */
export function write(fd: number, bytes: Uint8Array): number {
  return check("write", cWrite(fd, fixed(bytes), bytes.length));
}

/** write(2) that returns minus errno instead of throwing. */
export function tryWrite(fd: number, bytes: Uint8Array): number {
  return cWrite(fd, fixed(bytes), bytes.length);
}

/** Writes all of `bytes` to a blocking `fd`. */
export function writeAll(fd: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) at += write(fd, bytes.subarray(at));
}

/** pread(2). */
export function pread(fd: number, buffer: Uint8Array, offset: number): number {
  return check("pread", cPread(fd, buffer, buffer.length, offset));
}

/** pwrite(2). */
export function pwrite(fd: number, bytes: Uint8Array, offset: number): number {
  return check("pwrite", cPwrite(fd, fixed(bytes), bytes.length, offset));
}

/** A file in memory that nobody else has a name for; close-on-exec. */
export function memfdCreate(name: string): number {
  return check("memfd_create", cMemfd(cstr(name), MFD_CLOEXEC));
}

/** ftruncate(2). */
export function ftruncate(fd: number, length: number): void {
  check("ftruncate", cFtruncate(fd, length));
}

/** lseek(2); `whence` 0 set, 1 current, 2 end, 3 data, 4 hole. */
export function lseek(fd: number, offset: number, whence: number): number {
  return check("lseek", cLseek(fd, offset, whence));
}

/** fcntl(F_GETFL). */
export function getFlags(fd: number): number {
  return check("fcntl", cFcntl(fd, F_GETFL, 0));
}

/** Switches O_NONBLOCK of the open file behind `fd`. */
export function setNonblocking(fd: number, on: boolean): void {
  const flags = getFlags(fd);
  check("fcntl", cFcntl(fd, F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK));
}

/** Switches close-on-exec of `fd`. */
export function setCloexec(fd: number, on: boolean): void {
  const flags = check("fcntl", cFcntl(fd, F_GETFD, 0));
  check("fcntl", cFcntl(fd, F_SETFD, on ? flags | 1 : flags & ~1));
}

/** A second number, close-on-exec, for the same open file. */
export function dup(fd: number): number {
  return check("fcntl", cFcntl(fd, F_DUPFD_CLOEXEC, 3));
}

/** dup3(2). */
export function dup3(from: number, to: number, flags: number): number {
  return check("dup3", cDup3(from, to, flags));
}

/** pipe2(2) with O_CLOEXEC added: both ends, ours to close. */
export function pipe2(flags = 0): { readonly read: number; readonly write: number } {
  const buffer = alloc(8);
  check("pipe2", cPipe2(buffer, flags | O_CLOEXEC));
  const fields = view(buffer);
  return { read: fields.getInt32(0, true), write: fields.getInt32(4, true) };
}

/**
 * flock(2) with LOCK_* bits. Only on fds from {@link open}: Deno's node:fs numbers are not the kernel's.
 * @throws SyscallError EAGAIN when LOCK_NB is set and another holds it
 */
export function flock(fd: number, operation: number): void {
  check("flock", cFlock(fd, operation));
}

/** poll(2) of one fd; returns its event bits, 0 after `timeoutMs`. Blocks the thread: helper processes, or a few milliseconds. */
export function pollFd(fd: number, events: number, timeoutMs: number): number {
  const buffer = alloc(8);
  const fields = view(buffer);
  fields.setInt32(0, fd, true);
  fields.setInt16(4, events, true);
  check("poll", cPoll(buffer, 1, timeoutMs));
  return fields.getInt16(6, true);
}

/** Bytes in a pipe that nobody has read yet: ioctl(FIONREAD). Either end may be asked. */
export function unreadBytes(fd: number): number {
  const count = alloc(4);
  check("ioctl FIONREAD", cIoctl(fd, FIONREAD, count));
  return view(count).getInt32(0, true);
}
