import {
  AT_EMPTY_PATH,
  AT_SYMLINK_NOFOLLOW,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_RDONLY,
  S_IFDIR,
} from "../syscalls/constants.ts";
import { type Dirent, DT_DIR, DT_UNKNOWN, readDir } from "../syscalls/dirents.ts";
import { isErrno } from "../syscalls/errors.ts";
import { close, open, openat } from "../syscalls/files.ts";
import { type Stat, statx, statxIfExists } from "../syscalls/stat.ts";
import { runInSlices } from "./slices.ts";

/** Space that a tree takes. */
export interface DiskUsage {
  /** Allocated bytes (blocks of 512), each hard-linked file once. */
  readonly bytes: bigint;
  /** Files and directories, the top included, each hard-linked file once. */
  readonly inodes: bigint;
}

/** Measures a tree without following links; files that vanish meanwhile are left out. */
export function diskUsage(path: string, options: { readonly signal?: AbortSignal } = {}): Promise<DiskUsage> {
  return runInSlices(measure(path), options.signal);
}

function* measure(path: string): Generator<void, DiskUsage, void> {
  let bytes = 0n;
  let inodes = 0n;
  const linked = new Set<string>();
  const add = (stat: Stat): void => {
    if (stat.type !== S_IFDIR && stat.nlink > 1) {
      const key = `${stat.dev}/${stat.ino}`;
      if (linked.has(key)) return;
      linked.add(key);
    }
    bytes += stat.blocks * 512n;
    inodes += 1n;
  };
  const top = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  // Open directories from the top down to the one being read; recursion would be bounded by the stack instead.
  const levels: { fd: number; entries: Dirent[] }[] = [];
  try {
    levels.push({ fd: top, entries: [] });
    add(statx(top, "", AT_EMPTY_PATH));
    levels[0] = { fd: top, entries: readDir(top) };
    for (let level = levels.at(-1); level !== undefined; level = levels.at(-1)) {
      yield;
      const entry = level.entries.pop();
      if (entry === undefined) {
        close(level.fd);
        levels.pop();
        continue;
      }
      const stat = statxIfExists(level.fd, entry.name, AT_SYMLINK_NOFOLLOW);
      if (stat === undefined) continue;
      add(stat);
      if (entry.type !== DT_DIR && !(entry.type === DT_UNKNOWN && stat.type === S_IFDIR)) continue;
      try {
        const fd = openat(level.fd, entry.name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
        levels.push({ fd, entries: readDir(fd) });
      } catch (error) {
        if (!isErrno(error, "ENOENT", "ENOTDIR", "ELOOP")) throw error;
      }
    }
    return { bytes, inodes };
  } finally {
    for (const level of levels) close(level.fd);
  }
}
