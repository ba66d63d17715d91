import { alloc } from "../ffi/memory.ts";
import { O_DIRECTORY, O_NONBLOCK, O_PATH, O_RDONLY, S_IFREG } from "../syscalls/constants.ts";
import { isErrno, SyscallError } from "../syscalls/errors.ts";
import { close, open, pread } from "../syscalls/files.ts";
import { fstat } from "../syscalls/stat.ts";
import { openInRoot } from "./safe-path.ts";

/**
 * Content of a file inside a root that others may have prepared to trap us: links stay inside, only a regular file is read
 * (never a FIFO or device), at most `limit` bytes of it.
 * @returns undefined when there is no such file
 * @throws SyscallError EINVAL for another type, EFBIG when larger than `limit`, ELOOP
 */
export function readFileInRoot(root: string, path: string, limit: number): Uint8Array | undefined {
  const rootFd = open(root, O_PATH | O_DIRECTORY);
  try {
    const fd = openInRoot(rootFd, path, O_RDONLY | O_NONBLOCK);
    try {
      const { type, size } = fstat(fd);
      if (type !== S_IFREG) throw SyscallError.of("read", "EINVAL", path);
      if (size > limit) throw SyscallError.of("read", "EFBIG", path);
      // One byte more than allowed shows a file that grows meanwhile, or lies about its size as /proc does.
      const buffer = alloc(Math.min(limit, Math.max(size, 65_536)) + 1);
      let length = 0;
      for (;;) {
        const got = pread(fd, buffer.subarray(length), length);
        length += got;
        if (length > limit) throw SyscallError.of("read", "EFBIG", path);
        if (got === 0 || length === buffer.length) return buffer.slice(0, length);
      }
    } finally {
      close(fd);
    }
  } catch (error) {
    if (isErrno(error, "ENOENT", "ENOTDIR", "ENXIO")) return undefined;
    throw error;
  } finally {
    close(rootFd);
  }
}
