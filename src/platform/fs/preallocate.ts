import { libc } from "../ffi/libc.ts";
import { O_WRONLY } from "../syscalls/constants.ts";
import { check } from "../syscalls/errors.ts";
import { close, open } from "../syscalls/files.ts";

const cFallocate = libc("fallocate", ["i32", "i32", "i64", "i64"]);
const KEEP_SIZE = 1;

/**
 * Sets aside the first `bytes` of a file on disk without changing its size: writes there need no more room. What is set
 * aside behind the end is given up by the next truncation.
 * @throws SyscallError ENOSPC, EOPNOTSUPP (the file system cannot)
 */
export function preallocate(path: string, bytes: number): void {
  const fd = open(path, O_WRONLY);
  try {
    preallocateFd(fd, bytes);
  } finally {
    close(fd);
  }
}

/** The same for a descriptor of the kernel's. */
export function preallocateFd(fd: number, bytes: number): void {
  check("fallocate", cFallocate(fd, KEEP_SIZE, 0, bytes));
}
