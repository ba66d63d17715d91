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
import { fstat, type Stat, statx, statxIfExists } from "../syscalls/stat.ts";
import { runInSlices } from "./slices.ts";

/** Space that a tree takes. */
export interface DiskUsage {
  /** Allocated bytes (blocks of 512), each hard-linked file once. */
  readonly bytes: bigint;
  /** Files and directories, the top included, each hard-linked file once. */
  readonly inodes: bigint;
}

/** Open directories at once; those further up are closed and opened again on the way back. */
const MAX_OPEN = 256;

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
  const levels: Level[] = [];
  try {
    const top = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    levels.push({ fd: top, ino: 0n, entries: [] });
    add(statx(top, "", AT_EMPTY_PATH));
    levels[0] = { fd: top, ino: 0n, entries: readDir(top) };
    for (let level = levels.at(-1); level !== undefined; level = levels.at(-1)) {
      yield;
      const entry = level.entries.pop();
      if (entry === undefined) {
        ascend(levels);
        continue;
      }
      const stat = statxIfExists(level.fd, entry.name, AT_SYMLINK_NOFOLLOW);
      if (stat === undefined) continue;
      add(stat);
      if (entry.type !== DT_DIR && !(entry.type === DT_UNKNOWN && stat.type === S_IFDIR)) continue;
      descend(levels, level, entry.name);
    }
    return { bytes, inodes };
  } finally {
    for (const level of levels) if (level.fd >= 0) close(level.fd);
  }
}

/** A directory on the way down; `fd` is -1 while it is closed because too many are open. */
interface Level {
  fd: number;
  readonly ino: bigint;
  readonly entries: Dirent[];
}

function descend(levels: Level[], from: Level, name: Uint8Array): void {
  let fd: number;
  try {
    fd = openat(from.fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  } catch (error) {
    if (isErrno(error, "ENOENT", "ENOTDIR", "ELOOP")) return;
    throw error;
  }
  const level: Level = { fd, ino: fstat(fd).ino, entries: [] };
  levels.push(level);
  for (const entry of readDir(fd)) level.entries.push(entry);
  const old = levels[levels.length - 1 - MAX_OPEN];
  // The top stays open: it is what we were asked about.
  if (old !== undefined && levels.length - 1 > MAX_OPEN && old.fd >= 0) {
    close(old.fd);
    old.fd = -1;
  }
}

function ascend(levels: Level[]): void {
  const done = levels.pop();
  const parent = levels.at(-1);
  if (done === undefined) return;
  try {
    if (parent === undefined || parent.fd >= 0) return;
    parent.fd = openat(done.fd, "..", O_RDONLY | O_DIRECTORY);
    // Moved meanwhile: this is another place, so its remaining names mean nothing.
    if (fstat(parent.fd).ino !== parent.ino) parent.entries.length = 0;
  } finally {
    close(done.fd);
  }
}
