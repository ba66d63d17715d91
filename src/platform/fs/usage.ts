import { alloc } from "../ffi/memory.ts";
import { O_DIRECTORY, O_NOFOLLOW, O_RDONLY, S_IFDIR } from "../syscalls/constants.ts";
import { type Dirent, DT_DIR, DT_UNKNOWN, readDir } from "../syscalls/dirents.ts";
import { isErrno } from "../syscalls/errors.ts";
import { close, open, openat } from "../syscalls/files.ts";
import { fstat, SpaceProbe } from "../syscalls/stat.ts";
import { runInSlices } from "./slices.ts";

/** Space that a tree takes. */
export interface DiskUsage {
  /** Allocated bytes (blocks of 512), each hard-linked file once. */
  readonly bytes: bigint;
  /** Files and directories, the top included, each hard-linked file once. */
  readonly inodes: bigint;
}

const DOT = new Uint8Array([0x2e]);

/** Open directories at once; those further up are closed and opened again on the way back. */
const MAX_OPEN = 256;

/** Measures a tree without following links; files that vanish meanwhile are left out. */
export function diskUsage(path: string, options: { readonly signal?: AbortSignal } = {}): Promise<DiskUsage> {
  return runInSlices(measure(path), options.signal);
}

function* measure(path: string): Generator<void, DiskUsage, void> {
  let blocks = 0;
  let inodes = 0;
  const linked = new Set<string>();
  const probe = new SpaceProbe();
  const names = alloc(65_536);
  const add = (): void => {
    if (probe.nlink > 1 && probe.type !== S_IFDIR) {
      const { id } = probe;
      if (linked.has(id)) return;
      linked.add(id);
    }
    blocks += probe.blocks;
    inodes += 1;
  };
  const levels: Level[] = [];
  try {
    const top = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    levels.push({ fd: top, ino: 0n, entries: [] });
    if (probe.look(top, DOT)) add();
    levels[0] = { fd: top, ino: 0n, entries: readDir(top, names) };
    for (let level = levels.at(-1); level !== undefined; level = levels.at(-1)) {
      yield;
      const entry = level.entries.pop();
      if (entry === undefined) {
        ascend(levels);
        continue;
      }
      if (!probe.look(level.fd, entry.name)) continue;
      add();
      if (entry.type !== DT_DIR && !(entry.type === DT_UNKNOWN && probe.type === S_IFDIR)) continue;
      descend(levels, level, entry, names);
    }
    return { bytes: BigInt(blocks) * 512n, inodes: BigInt(inodes) };
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

function descend(levels: Level[], from: Level, entry: Dirent, names: Uint8Array): void {
  let fd: number;
  try {
    fd = openat(from.fd, entry.name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  } catch (error) {
    if (isErrno(error, "ENOENT", "ENOTDIR", "ELOOP")) return;
    throw error;
  }
  const level: Level = { fd, ino: fstat(fd).ino, entries: [] };
  levels.push(level);
  for (const inside of readDir(fd, names)) level.entries.push(inside);
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
