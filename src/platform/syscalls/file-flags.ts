/** Flags of a file's inode: immutable, and fs-verity (its content is checked by the kernel at every read, and never changes). */
import { closeSync, constants, openSync } from "node:fs";
import { libc } from "../ffi/libc.ts";
import { alloc, view } from "../ffi/memory.ts";
import { check } from "./errors.ts";

const cIoctl = libc("ioctl", ["i32", "i64", "buf"]);

/** linux/fs.h: _IOR('f', 1, long), _IOW('f', 2, long); linux/fsverity.h: _IOW('f', 133, 128 bytes). */
const GET_FLAGS = 0x80086601;
const SET_FLAGS = 0x40086602;
const ENABLE_VERITY = 0x40806685;
const IMMUTABLE = 0x10n;
const VERITY = 0x100000n;
/** fsverity_enable_arg: version 1, SHA-256, blocks of 4096 bytes, no salt, no signature. */
const ARGUMENT = 128;

function withFile<T>(path: string, work: (fd: number) => T): T {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    return work(fd);
  } finally {
    closeSync(fd);
  }
}

function flags(fd: number, path: string): { readonly value: bigint; readonly bytes: Uint8Array } {
  const bytes = alloc(8);
  check(`read flags of "${path}"`, cIoctl(fd, GET_FLAGS, bytes));
  return { value: view(bytes).getBigUint64(0, true), bytes };
}

/** Nobody may change or remove the file, or may again. @throws SyscallError: ENOTTY, EOPNOTSUPP where files have no flags, EPERM */
export function setImmutable(path: string, on: boolean): void {
  withFile(path, (fd) => {
    const { value, bytes } = flags(fd, path);
    const next = on ? value | IMMUTABLE : value & ~IMMUTABLE;
    if (next === value) return;
    view(bytes).setBigUint64(0, next, true);
    check(`change flags of "${path}"`, cIoctl(fd, SET_FLAGS, bytes));
  });
}

/**
 * Turns fs-verity on: from now on the file cannot be written.
 * @throws SyscallError: EOPNOTSUPP, ENOTTY (kernel or file system without it), EEXIST (it is on), ETXTBSY (open for writing)
 */
export function enableVerity(path: string): void {
  withFile(path, (fd) => {
    const argument = alloc(ARGUMENT).fill(0);
    view(argument).setUint32(0, 1, true);
    view(argument).setUint32(4, 1, true);
    view(argument).setUint32(8, 4096, true);
    check(`enable fs-verity of "${path}"`, cIoctl(fd, ENABLE_VERITY, argument));
  });
}

/** True when fs-verity is on. @throws SyscallError */
export function hasVerity(path: string): boolean {
  return withFile(path, (fd) => (flags(fd, path).value & VERITY) !== 0n);
}
