import { utf8Encode } from "../../lib/bytes.ts";
import { LOCK_EX, LOCK_NB, O_CREAT, O_NOFOLLOW, O_RDWR } from "../syscalls/constants.ts";
import { isErrno } from "../syscalls/errors.ts";
import { close, flock, ftruncate, open, pwrite } from "../syscalls/files.ts";

/**
 * Takes the exclusive lock of the file at `path` (made when missing, holding our pid) until disposed or the process ends.
 * @returns undefined when another holds it
 */
export function lockFile(path: string): Disposable | undefined {
  const fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0o600);
  try {
    flock(fd, LOCK_EX | LOCK_NB);
  } catch (error) {
    close(fd);
    if (isErrno(error, "EAGAIN")) return undefined;
    throw error;
  }
  ftruncate(fd, 0);
  pwrite(fd, utf8Encode(`${process.pid}\n`), 0);
  let held = true;
  return {
    [Symbol.dispose]() {
      if (!held) return;
      held = false;
      // The file stays: removing it would let two holders lock two files of the same name.
      close(fd);
    },
  };
}
