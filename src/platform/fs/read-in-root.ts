import { O_CLOEXEC, O_DIRECTORY, O_NONBLOCK, O_PATH, O_RDONLY } from "../syscalls/constants.ts";
import { isErrno, SyscallError } from "../syscalls/errors.ts";
import { close, open, read } from "../syscalls/files.ts";
import { fstat } from "../syscalls/stat.ts";
import { openInRoot } from "./safe-path.ts";

const S_IFMT = 0o170000;
const S_IFREG = 0o100000;

/**
 * Reads a file of an untrusted tree: links stay inside `root`, only a regular file of at most `max` bytes is read (a FIFO
 * or device would hang or never end).
 * @returns undefined when there is no such file
 * @throws SyscallError EINVAL for another kind of file, EFBIG when larger
 */
export function readFileInRoot(root: string, path: string, max: number): Uint8Array | undefined {
  const rootFd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
  let fd: number | undefined;
  try {
    fd = openInRoot(rootFd, path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    const { mode, size } = fstat(fd);
    if ((mode & S_IFMT) !== S_IFREG) throw SyscallError.of("read", "EINVAL", path);
    if (Number(size) > max) throw SyscallError.of("read", "EFBIG", path);
    const out = new Uint8Array(new ArrayBuffer(Math.max(Number(size), 128)));
    let at = 0;
    while (at < Number(size)) {
      const part = new Uint8Array(new ArrayBuffer(Math.max(Number(size) - at, 128)));
      const n = read(fd, part);
      if (n === 0) break;
      out.set(part.subarray(0, Math.min(n, out.length - at)), at);
      at += n;
    }
    return out.subarray(0, Math.min(at, Number(size)));
  } catch (err) {
    if (isErrno(err, "ENOENT", "ENOTDIR")) return undefined;
    throw err;
  } finally {
    if (fd !== undefined) close(fd);
    close(rootFd);
  }
}
