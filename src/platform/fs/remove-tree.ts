import { basename, dirname } from "node:path";
import type { Path } from "../ffi/memory.ts";
import {
  AT_FDCWD,
  AT_SYMLINK_NOFOLLOW,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_RDONLY,
  S_IFDIR,
} from "../syscalls/constants.ts";
import { type Dirent, DT_DIR, DT_UNKNOWN, readDir } from "../syscalls/dirents.ts";
import { isErrno } from "../syscalls/errors.ts";
import { close, open, openat } from "../syscalls/files.ts";
import { statxIfExists } from "../syscalls/stat.ts";
import { renameat2, rmdirat, unlinkat } from "../syscalls/tree.ts";
import { runInSlices } from "./slices.ts";

/** Directories held open at once; deeper ones are moved up first. */
const MAX_DEPTH = 32;

/**
 * Removes a file or a whole tree; nothing there is fine. Each step is relative to a held directory and follows no link, so a
 * name swapped meanwhile leads nowhere. Depth costs neither memory nor open files: directories deeper than a few levels are
 * moved to the top before they are emptied (reliability S9).
 * @throws SyscallError EBUSY when something is mounted inside
 */
export async function removeTree(
  path: string,
  options: { readonly signal?: AbortSignal } = {},
): Promise<void> {
  await runInSlices(removePath(path), options.signal);
}

/** As {@link removeTree}, in one go: helper processes only. */
export function removeTreeSync(path: string): void {
  const work = removePath(path);
  while (work.next().done !== true);
}

function* removePath(path: string): Generator<void, void, void> {
  const trimmed = path.replace(/\/+$/, "");
  const name = basename(trimmed);
  if (name === "" || name === "." || name === "..") throw new TypeError(`remove tree "${path}": not a name`);
  const found = statxIfExists(AT_FDCWD, trimmed, AT_SYMLINK_NOFOLLOW);
  if (found === undefined) return;
  const parent = open(dirname(trimmed), O_RDONLY | O_DIRECTORY);
  try {
    if (found.type !== S_IFDIR) {
      ifPresent(() => unlinkat(parent, name));
      return;
    }
    const top = openDir(parent, name);
    if (top === undefined) return;
    try {
      yield* empty(top, top, 0, { next: 0 });
    } finally {
      close(top);
    }
    ifPresent(() => rmdirat(parent, name));
  } finally {
    close(parent);
  }
}

interface Moved {
  next: number;
}

/** Empties the directory `fd`. What was moved into the top meanwhile is found by reading it again. */
function* empty(fd: number, top: number, depth: number, moved: Moved): Generator<void, void, void> {
  for (;;) {
    const before = moved.next;
    const entries = readDir(fd);
    for (const entry of entries) {
      yield;
      removeLeaf(fd, entry) || (yield* removeDir(fd, entry.name, top, depth, moved));
    }
    if (fd !== top || (entries.length === 0 && moved.next === before)) return;
  }
}

/** Removes what is no directory; false for a directory. */
function removeLeaf(fd: number, entry: Dirent): boolean {
  if (entry.type === DT_DIR) return false;
  try {
    ifPresent(() => unlinkat(fd, entry.name));
    return true;
  } catch (error) {
    if (entry.type === DT_UNKNOWN && isErrno(error, "EISDIR", "EPERM")) return false;
    throw error;
  }
}

function* removeDir(
  fd: number,
  name: Path,
  top: number,
  depth: number,
  moved: Moved,
): Generator<void, void, void> {
  try {
    rmdirat(fd, name);
    return;
  } catch (error) {
    if (isErrno(error, "ENOENT")) return;
    if (!isErrno(error, "ENOTEMPTY", "EEXIST")) throw error;
  }
  if (depth >= MAX_DEPTH) {
    moveUp(fd, name, top, moved);
    return;
  }
  const inner = openDir(fd, name);
  if (inner === undefined) return;
  try {
    yield* empty(inner, top, depth + 1, moved);
  } finally {
    close(inner);
  }
  ifPresent(() => rmdirat(fd, name));
}

function moveUp(fd: number, name: Path, top: number, moved: Moved): void {
  for (;;) {
    try {
      // NOREPLACE, as the tree may have such a name of its own.
      renameat2(fd, name, top, `.removing-${moved.next++}`, 1);
      return;
    } catch (error) {
      if (isErrno(error, "ENOENT")) return;
      if (!isErrno(error, "EEXIST")) throw error;
    }
  }
}

function openDir(fd: number, name: Path): number | undefined {
  try {
    return openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  } catch (error) {
    if (isErrno(error, "ENOENT")) return undefined;
    throw error;
  }
}

function ifPresent(action: () => void): void {
  try {
    action();
  } catch (error) {
    if (!isErrno(error, "ENOENT")) throw error;
  }
}
