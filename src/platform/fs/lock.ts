import { LOCK_EX, LOCK_NB, O_CLOEXEC, O_CREAT, O_RDWR } from "../syscalls/constants.ts";
import { isErrno } from "../syscalls/errors.ts";
import { close, flock, open } from "../syscalls/files.ts";

/**
 * Takes an exclusive lock on a file (flock, so the kernel drops it with the process), making the file when missing.
 * @returns undefined when another process holds it
 */
export function lockFile(path: string): Disposable | undefined {
  const fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600);
  try {
    flock(fd, LOCK_EX | LOCK_NB);
  } catch (err) {
    close(fd);
    if (isErrno(err, "EAGAIN")) return undefined;
    throw err;
  }
  return { [Symbol.dispose]: () => close(fd) };
}
