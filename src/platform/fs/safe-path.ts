import { lstatSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { type Path, text } from "../ffi/memory.ts";
import * as c from "../syscalls/constants.ts";
import { isErrno, SyscallError } from "../syscalls/errors.ts";
import { close, dup, openat, openat2 } from "../syscalls/files.ts";
import { fstat, readlinkat } from "../syscalls/stat.ts";
import { mkdirat } from "../syscalls/tree.ts";

/** Symlinks followed in one walk before ELOOP, as the kernel's. */
const MAX_LINKS = 40;

/**
 * Full path of `path` as a process chrooted into `root` sees it: links, absolute or upwards, stay inside. Parts that do not
 * exist are taken literally. The answer can be outdated by a racing rename: where others can write, use {@link openInRoot}.
 * @throws SyscallError ELOOP
 */
export function resolveInRoot(root: string, path: string): string {
  let links = 0;
  const inside: string[] = [];
  const todo = path.split("/").reverse();
  for (let part = todo.pop(); part !== undefined; part = todo.pop()) {
    if (part === "" || part === ".") continue;
    if (part === "..") {
      inside.pop();
      continue;
    }
    const target = readLink(join(root, ...inside, part));
    if (target === undefined) {
      inside.push(part);
      continue;
    }
    if (++links > MAX_LINKS) throw SyscallError.of("resolve", "ELOOP", path);
    if (target.startsWith("/")) inside.length = 0;
    todo.push(...target.split("/").reverse());
  }
  return join(root, ...inside);
}

function readLink(path: string): string | undefined {
  try {
    return lstatSync(path).isSymbolicLink() ? readlinkSync(path) : undefined;
  } catch (error) {
    if (isErrno(error, "ENOENT", "ENOTDIR")) return undefined;
    throw error;
  }
}

let lacksOpenat2 = false;

/**
 * Opens `path` below the directory `rootFd` as if that were "/": no link and no ".." leads out, also while others rename.
 * @returns a kernel fd, close-on-exec, ours to close
 * @throws SyscallError ENOENT, ELOOP, ...
 */
export function openInRoot(rootFd: number, path: string, flags: number, mode = 0): number {
  if (!lacksOpenat2) {
    try {
      return openat2(rootFd, path === "" ? "." : path, {
        flags,
        mode: (flags & c.O_CREAT) === 0 ? 0 : mode,
        resolve: c.RESOLVE_IN_ROOT | c.RESOLVE_NO_MAGICLINKS,
      });
    } catch (error) {
      if (!isErrno(error, "ENOSYS")) throw error;
      lacksOpenat2 = true;
    }
  }
  return walkInRoot(rootFd, path, flags, mode);
}

/** {@link openInRoot} for kernels before 5.6: one component at a time, never following. Exported for its test. */
export function walkInRoot(rootFd: number, path: string, flags: number, mode = 0): number {
  // Held directories from the root down; ".." pops, so no step ever asks the kernel for a parent.
  const held: number[] = [dup(rootFd)];
  const top = (): number => held.at(-1) ?? rootFd;
  let links = 0;
  const todo = path.split("/").reverse();
  try {
    for (let part = todo.pop(); part !== undefined; part = todo.pop()) {
      if (part === "" || part === ".") continue;
      if (part === "..") {
        if (held.length > 1) close(held.pop() ?? -1);
        continue;
      }
      const last = todo.every((rest) => rest === "" || rest === ".");
      const target = linkTarget(top(), part);
      if (target !== undefined && !(last && (flags & c.O_NOFOLLOW) !== 0)) {
        if (++links > MAX_LINKS) throw SyscallError.of("openat", "ELOOP", path);
        if (target.startsWith("/")) for (const fd of held.splice(1)) close(fd);
        todo.push(...target.split("/").reverse());
        continue;
      }
      if (last) return openat(top(), part, flags | c.O_NOFOLLOW, mode);
      held.push(openat(top(), part, c.O_PATH | c.O_NOFOLLOW | c.O_DIRECTORY));
    }
    return openat(top(), ".", flags & ~(c.O_CREAT | c.O_EXCL), mode);
  } finally {
    for (const fd of held) close(fd);
  }
}

function linkTarget(dirfd: number, name: Path): string | undefined {
  try {
    return text(readlinkat(dirfd, name));
  } catch (error) {
    if (isErrno(error, "EINVAL", "ENOENT")) return undefined;
    throw error;
  }
}

/**
 * Makes a directory and its parents below `rootFd`; links that exist are followed inside the root.
 * @returns a kernel fd of the directory, ours to close
 * @throws SyscallError ENOTDIR when a part is no directory
 */
export function mkdirAllInRoot(rootFd: number, path: string, mode = 0o755): number {
  let made = "";
  for (const part of path.split("/")) {
    if (part === "" || part === ".") continue;
    const parent = openInRoot(rootFd, made === "" ? "." : made, c.O_PATH | c.O_DIRECTORY);
    try {
      if (part !== "..") mkdirat(parent, part, mode);
    } catch (error) {
      if (!isErrno(error, "EEXIST")) throw error;
    } finally {
      close(parent);
    }
    made = made === "" ? part : `${made}/${part}`;
  }
  const fd = openInRoot(rootFd, made === "" ? "." : made, c.O_RDONLY | c.O_DIRECTORY);
  if (fstat(fd).type !== c.S_IFDIR) {
    close(fd);
    throw SyscallError.of("mkdir", "ENOTDIR", path);
  }
  return fd;
}
