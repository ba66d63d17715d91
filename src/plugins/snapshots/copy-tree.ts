/** Copies a tree with everything the file system keeps about it: owners, modes, attributes, times, hard links, holes. */
import { Buffer } from "node:buffer";
import { errnoName } from "../../platform/syscalls/errors.ts";
import * as fs from "../../platform/syscalls/raw-fs.ts";
import * as xattrs from "../../platform/syscalls/raw-xattr.ts";

const { ERRNO, O, S } = fs;

/** Directories of the source that are being copied, as paths relative to the top. */
interface Frame {
  readonly path: string;
  readonly stat: fs.RawStat;
  readonly entries: fs.RawDirent[];
}

/**
 * Copies what is in the directory `from` into the existing directory `to`, which takes its owner, mode and times too.
 * Reflinks where the file system can. Synchronous: for helper processes.
 * @throws Error naming the path
 */
export function copyTree(from: string, to: string): void {
  const source = fs.textPath(from);
  const target = fs.textPath(to);
  const links = new Map<string, string>();
  const stack: Frame[] = [enter(source, "")];
  for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
    const entry = top.entries.pop();
    if (entry === undefined) {
      stack.pop();
      finishDirectory(source, target, top);
      continue;
    }
    const path = `${top.path}/${entry.name}`;
    const stat = fs.lstat(source + path);
    if (typeof stat === "number") throw failed("look at", path, stat);
    if ((stat.mode & S.IFMT) === S.IFDIR) {
      check("make directory", path, fs.mkdir(target + path, 0o700));
      stack.push(enter(source, path));
      continue;
    }
    if (stat.nlink > 1) {
      const key = `${stat.devMajor}:${stat.devMinor}:${stat.ino}`;
      const first = links.get(key);
      if (first !== undefined) {
        check("link", path, fs.link(target + first, target + path));
        continue;
      }
      links.set(key, path);
    }
    copyEntry(source + path, target + path, stat, path);
  }
}

function enter(source: string, path: string): Frame {
  const fd = fs.open(source + path, O.RDONLY | O.DIRECTORY | O.NOFOLLOW | O.CLOEXEC);
  if (fd < 0) throw failed("open", path, fd);
  const stat = fs.lstat("", fd);
  const entries = fs.readdir(fd);
  fs.close(fd);
  if (typeof stat === "number") throw failed("look at", path, stat);
  if (typeof entries === "number") throw failed("read", path, entries);
  return { path, stat, entries };
}

/** Everything about a directory that its content would change comes last. */
function finishDirectory(source: string, target: string, { path, stat }: Frame): void {
  copyXattrs(source + path, target + path, path);
  check("change owner of", path, fs.lchown(target + path, stat.uid, stat.gid));
  check("change mode of", path, fs.chmod(target + path, stat.mode & 0o7777));
  setTimes(target + path, stat, path);
}

function copyEntry(from: string, to: string, stat: fs.RawStat, path: string): void {
  const kind = stat.mode & S.IFMT;
  if (kind === S.IFSOCK) return;
  if (kind === S.IFREG) copyFile(from, to, stat, path);
  else if (kind === S.IFLNK) {
    const link = fs.readlink(from);
    if (typeof link === "number") throw failed("read link", path, link);
    check("make link", path, fs.symlink(link, to));
  } else check("make node", path, fs.mknod(to, stat.mode, stat.rdevMajor, stat.rdevMinor));
  check("change owner of", path, fs.lchown(to, stat.uid, stat.gid));
  if (kind !== S.IFLNK) check("change mode of", path, fs.chmod(to, stat.mode & 0o7777));
  copyXattrs(from, to, path);
  setTimes(to, stat, path);
}

function copyFile(from: string, to: string, stat: fs.RawStat, path: string): void {
  const source = fs.open(from, O.RDONLY | O.NOFOLLOW | O.CLOEXEC);
  if (source < 0) throw failed("open", path, source);
  const target = fs.open(to, O.CREAT | O.EXCL | O.WRONLY | O.NOFOLLOW | O.CLOEXEC, 0o600);
  try {
    if (target < 0) throw failed("create", path, target);
    const sparse = stat.blocks * 512 < stat.size;
    const n = sparse ? copySparse(source, target, stat.size) : fs.copyContent(source, target, stat.size);
    check("copy", path, n);
  } finally {
    fs.close(source);
    if (target >= 0) fs.close(target);
  }
}

/** Copies only where there is data. */
function copySparse(source: number, target: number, size: number): number {
  if (fs.clone(source, target) === 0) return 0;
  let at = fs.seek(source, 0, 3);
  while (at >= 0) {
    const end = fs.seek(source, at, 4);
    if (end < 0) return end;
    fs.seek(source, at, 0);
    fs.seek(target, at, 0);
    const n = fs.copyContent(source, target, end - at);
    if (n < 0) return n;
    at = fs.seek(source, end, 3);
  }
  return at === -ERRNO.ENXIO ? fs.truncate(target, size) : at;
}

function copyXattrs(from: string, to: string, path: string): void {
  const names = xattrs.llistxattr(from);
  if (typeof names === "number") {
    if (names === -ERRNO.ENOTSUP) return;
    throw failed("list attributes of", path, names);
  }
  for (const name of names) {
    const value = xattrs.lgetxattr(from, name);
    if (typeof value === "number") continue;
    const n = xattrs.lsetxattr(to, name, value);
    if (n < 0 && n !== -ERRNO.ENOTSUP) throw failed("set attribute of", path, n);
  }
}

function setTimes(to: string, stat: fs.RawStat, path: string): void {
  check("set times of", path, fs.lutimens(to, stat));
}

function check(action: string, path: string, n: number): void {
  if (n < 0) throw failed(action, path, n);
}

function failed(action: string, path: string, n: number): Error {
  return new Error(`copy tree: ${action} "${Buffer.from(path, "latin1").toString("utf8")}": ${errnoName(n)}`);
}
