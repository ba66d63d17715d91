import { Buffer } from "node:buffer";
import { errnoName } from "../syscalls/errors.ts";
import { close, ERRNO, fchmod, O, open, readdir, rename, rmdir, S, unlink } from "../syscalls/raw-fs.ts";

/** Directories held open at a time; deeper ones are moved up first, so depth costs neither fds nor stack (S9). */
const MAX_OPEN = 64;

interface Level {
  readonly fd: number;
  readonly name: string;
  /** Names of sub-directories still to remove. */
  readonly dirs: string[];
}

/**
 * Removes `name` (a byte string) in the open directory `dir`, with everything below, without following a link.
 * Synchronous and as long as the tree is large: for helper processes.
 * @returns 0, or a negative errno; something that vanishes meanwhile is no error
 */
export function removeTree(dir: number, name: string): number {
  const first = unlink(name, dir);
  if (first === 0 || first === -ERRNO.ENOENT) return 0;
  if (first !== -ERRNO.EISDIR && first !== -ERRNO.EPERM) return first;
  const stack: Level[] = [];
  let moved = 0;
  try {
    let n = enter(stack, dir, name);
    if (n < 0) return n;
    for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
      const sub = top.dirs.pop();
      if (sub === undefined) {
        close(top.fd);
        stack.pop();
        n = rmdir(top.name, stack.at(-1)?.fd ?? dir);
        if (n < 0 && n !== -ERRNO.ENOENT) return n;
        continue;
      }
      const bottom = stack[0];
      if (stack.length < MAX_OPEN || bottom === undefined) {
        n = enter(stack, top.fd, sub);
        if (n < 0) return n;
        continue;
      }
      // Too deep: hang the rest below the first directory, where it is removed later.
      const parked = `.gantry-rm-${moved++}`;
      n = rename(sub, parked, top.fd, bottom.fd);
      if (n < 0) return n;
      bottom.dirs.push(parked);
    }
    return 0;
  } finally {
    for (const level of stack) close(level.fd);
  }
}

/** Opens `name`, unlinks its files and pushes it. Returns 0, or a negative errno. */
function enter(stack: Level[], dir: number, name: string): number {
  let fd = open(name, O.RDONLY | O.DIRECTORY | O.NOFOLLOW | O.CLOEXEC, 0, dir);
  if (fd === -ERRNO.ENOENT) return 0;
  if (fd === -ERRNO.EACCES) {
    const path = open(name, O.PATH | O.DIRECTORY | O.NOFOLLOW | O.CLOEXEC, 0, dir);
    if (path >= 0) {
      fchmod(path, 0o700);
      close(path);
    }
    fd = open(name, O.RDONLY | O.DIRECTORY | O.NOFOLLOW | O.CLOEXEC, 0, dir);
  }
  if (fd < 0) return fd;
  const entries = readdir(fd);
  if (typeof entries === "number") {
    close(fd);
    return entries;
  }
  const dirs: string[] = [];
  for (const entry of entries) {
    if (entry.type === S.IFDIR >> 12) {
      dirs.push(entry.name);
      continue;
    }
    const n = unlink(entry.name, fd);
    if (n === -ERRNO.EISDIR || n === -ERRNO.EPERM) dirs.push(entry.name);
    else if (n < 0 && n !== -ERRNO.ENOENT) {
      close(fd);
      return n;
    }
  }
  stack.push({ fd, name, dirs });
  return 0;
}

/** {@link removeTree} for a path given as text. @throws Error naming the path */
export function removePath(path: string): void {
  const bytes = Buffer.from(path, "utf8").toString("latin1").replace(/\/+$/, "");
  const end = bytes.lastIndexOf("/");
  const dir = open(end <= 0 ? "/" : bytes.slice(0, end), O.PATH | O.DIRECTORY | O.CLOEXEC);
  if (dir === -ERRNO.ENOENT) return;
  const n = dir < 0 ? dir : removeTree(dir, bytes.slice(end + 1));
  if (dir >= 0) close(dir);
  if (n < 0) throw new Error(`remove "${path}": ${errnoName(n)}`);
}
