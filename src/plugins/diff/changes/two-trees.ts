import * as fs from "../../../platform/syscalls/raw-fs.ts";
import type { ByteString } from "../tar/byte-string.ts";
import { failed, type LayerWriter, type Pieces, readXattrs, sortNames } from "./layer-writer.ts";

const { ERRNO, O, S } = fs;
const DIRECTORY = O.RDONLY | O.DIRECTORY | O.NOFOLLOW | O.CLOEXEC;
const FILE = O.RDONLY | O.NOFOLLOW | O.NONBLOCK | O.CLOEXEC;

/**
 * The layer that turns the tree `lower` into the tree `upper`, by walking both in step. Everything goes through directory
 * descriptors: a container may run in `upper`.
 * @param lower an open directory; -1 for an empty tree
 */
export function* treeChanges(writer: LayerWriter, lower: number, upper: number): Pieces {
  yield* directory(writer, openPair(".", { path: "", low: lower, up: upper }, ""), false);
}

/** A directory of both trees by open descriptors; `low` is -1 when it is new. */
interface Pair {
  readonly path: ByteString;
  readonly low: number;
  readonly up: number;
}

/** @throws Error rather than taking one that cannot be opened for one that is not there: its whiteouts would be missing */
function openDirectory(name: ByteString, dir: number, path: ByteString): number {
  const fd = fs.open(name, DIRECTORY, 0, dir);
  if (fd < 0) throw failed("open", path, fd);
  return fd;
}

/** Opens a directory in both trees. `parent.low` -1: it is new. @throws as {@link openDirectory}, with nothing open */
function openPair(name: ByteString, parent: Pair, path: ByteString): Pair {
  const up = openDirectory(name, parent.up, path);
  try {
    return { path, low: parent.low < 0 ? -1 : openDirectory(name, parent.low, path), up };
  } catch (error) {
    fs.close(up);
    throw error;
  }
}

/** Takes over both descriptors. */
function* directory(writer: LayerWriter, pair: Pair, changed: boolean): Pieces {
  const { path, low, up } = pair;
  try {
    const stat = fs.lstat("", up);
    if (typeof stat === "number") throw failed("look at", path, stat);
    yield* writer.enter(path, up, stat, changed);
    const before = list(low, path);
    for (const name of union(before, list(up, path))) yield* entry(writer, pair, name, before.has(name));
    writer.leave();
  } finally {
    if (low >= 0) fs.close(low);
    fs.close(up);
  }
}

function list(fd: number, path: ByteString): Set<ByteString> {
  if (fd < 0) return new Set();
  const entries = fs.readdir(fd);
  if (typeof entries === "number") throw failed("read directory", path, entries);
  return new Set(entries.map((entry) => entry.name));
}

function union(a: Set<ByteString>, b: Set<ByteString>): ByteString[] {
  return sortNames([...new Set([...a, ...b])].map((name) => ({ name }))).map(({ name }) => name);
}

/** @param known the lower tree has the name */
function* entry(writer: LayerWriter, pair: Pair, name: ByteString, known: boolean): Pieces {
  const { low, up } = pair;
  const path = pair.path === "" ? name : `${pair.path}/${name}`;
  const now = fs.lstat(name, up);
  if (typeof now === "number") {
    if (now !== -ERRNO.ENOENT) throw failed("look at", path, now);
    if (known) yield* writer.whiteout(name);
    return;
  }
  const was = known ? fs.lstat(name, low) : undefined;
  const old = typeof was === "number" ? undefined : was;
  if ((now.mode & S.IFMT) !== S.IFDIR) {
    if (old === undefined || !sameFile(pair, name, old, now)) yield* writer.file(path, up, name, now);
    return;
  }
  if (old === undefined || (old.mode & S.IFMT) !== S.IFDIR) {
    yield* directory(writer, openPair(name, { ...pair, low: -1 }, path), true);
    return;
  }
  const inner = openPair(name, pair, path);
  const changed = !sameMeta(old, now) || !sameXattrs(inner.low, inner.up);
  yield* directory(writer, inner, changed);
}

/** Owner, mode and device; times are looked at only for files, as a directory's change with every file in it. */
function sameMeta(a: fs.RawStat, b: fs.RawStat): boolean {
  return (
    a.mode === b.mode &&
    a.uid === b.uid &&
    a.gid === b.gid &&
    a.rdevMajor === b.rdevMajor &&
    a.rdevMinor === b.rdevMinor
  );
}

function sameFile({ low, up }: Pair, name: ByteString, old: fs.RawStat, now: fs.RawStat): boolean {
  if (old.ino === now.ino && old.devMajor === now.devMajor && old.devMinor === now.devMinor) return true;
  if (!sameMeta(old, now)) return false;
  const kind = now.mode & S.IFMT;
  if (kind === S.IFLNK) return fs.readlink(name, low) === fs.readlink(name, up);
  if (kind !== S.IFREG) return true;
  if (old.size !== now.size) return false;
  const sameTime = old.mtimeSec === now.mtimeSec && old.mtimeNsec === now.mtimeNsec;
  const a = fs.open(name, FILE, 0, low);
  const b = fs.open(name, FILE, 0, up);
  try {
    if (a < 0 || b < 0 || !sameXattrs(a, b)) return false;
    // A time with nanoseconds does not repeat by chance; whole seconds come from archives and do.
    if (sameTime && now.mtimeNsec !== 0) return true;
    return sameTime && sameContent(a, b);
  } finally {
    if (a >= 0) fs.close(a);
    if (b >= 0) fs.close(b);
  }
}

function sameXattrs(a: number, b: number): boolean {
  if (a < 0 || b < 0) return false;
  const [x, y] = [readXattrs(a), readXattrs(b)];
  return x.size === y.size && [...x].every(([name, value]) => y.get(name) === value);
}

const bufferA = new Uint8Array(new ArrayBuffer(1 << 18));
const bufferB = new Uint8Array(new ArrayBuffer(1 << 18));

function sameContent(a: number, b: number): boolean {
  for (;;) {
    const n = fs.read(a, bufferA);
    const m = fs.read(b, bufferB);
    if (n !== m || n < 0) return false;
    if (n === 0) return true;
    for (let i = 0; i < n; i++) if (bufferA[i] !== bufferB[i]) return false;
  }
}
