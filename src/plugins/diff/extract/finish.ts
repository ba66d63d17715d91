/**
 * The end of unpacking a layer: what could not be done while its lower layers were unknown, and what must be last.
 * Runs in the helper, still inside the chroot; lower layers are reached through descriptors only.
 */
import * as fs from "../../../platform/syscalls/raw-fs.ts";
import * as xattrs from "../../../platform/syscalls/raw-xattr.ts";
import { type ByteString, show } from "../tar/byte-string.ts";
import type { ExtractState } from "./extractor.ts";
import { fail } from "./failure.ts";
import { dirOf } from "./paths.ts";
import { bothTimes } from "./times.ts";

const { ERRNO, O, S } = fs;

/** How the finished snapshot is used. */
export interface FinishOptions {
  /** `overlay`: whiteouts become overlay's own marks. `plain`: nothing lies below, so they mean nothing. */
  readonly style: "overlay" | "plain";
  /** Attribute name space of overlay's marks: `trusted`, or `user` when mounted with userxattr. */
  readonly overlayXattr: "trusted" | "user";
  /** Open directories of the lower layers, nearest first. */
  readonly parents: readonly number[];
}

const DIRECTORY = O.RDONLY | O.DIRECTORY | O.NOFOLLOW | O.CLOEXEC;

/** Completes a layer. @throws invalid-argument naming what refers to something that does not exist */
export function finishLayer(state: ExtractState, options: FinishOptions): void {
  if (options.style === "overlay") copyRoot(options);
  for (const path of state.implied) copyDirectory(state, options, path);
  for (const { path, target } of state.links) linkToLower(state, options, path, target);
  if (options.style === "overlay") {
    for (const path of state.opaques) markOpaque(options, path);
    const hides = whiteoutPlaces(state, options);
    for (const path of state.whiteouts) if (hides(dirOf(path))) markWhiteout(options, path);
  }
  setTimes(state);
  state.implied.clear();
  state.links.length = 0;
  state.whiteouts.clear();
  state.opaques.clear();
}

/** The root of the merged tree is this layer's: it looks as the parent's did, also when that was unknown at first. */
function copyRoot({ parents }: FinishOptions): void {
  const [nearest] = parents;
  if (nearest === undefined) return;
  const stat = fs.lstat("", nearest);
  if (typeof stat === "number") throw fail("look at parent layer", stat);
  const root = fs.open("/", DIRECTORY);
  if (root < 0) throw fail("open destination", root);
  try {
    copyOwner(stat, root);
  } finally {
    fs.close(root);
  }
}

/** Sets the directory times, last seen first. */
function setTimes(state: ExtractState): void {
  for (const [path, times] of [...state.times].reverse()) {
    const fd = fs.open(path, DIRECTORY);
    if (fd < 0) continue; // replaced by something else later in the layer
    const n = fs.futimens(fd, times);
    fs.close(fd);
    if (n < 0) throw fail(`unpack entry "${show(path)}": set times`, n);
  }
}

/** Something in the lower layers: an open directory and the name in it. */
interface Found {
  readonly dir: number;
  readonly name: ByteString;
  readonly stat: fs.RawStat;
}

/**
 * Finds `path` as overlay would show it from the lower layers. The caller closes `dir`.
 * A whiteout, an opaque directory or a file in the way ends the search.
 */
function findLower(options: FinishOptions, path: ByteString): Found | undefined {
  const parts = path.slice(1).split("/");
  const name = parts.pop() ?? "";
  for (const parent of options.parents) {
    let dir = fs.open(".", DIRECTORY, 0, parent);
    if (dir < 0) throw fail("open parent layer", dir);
    let opaque = isOpaque(dir, options);
    let missing = false;
    for (const part of parts) {
      const next = fs.open(part, DIRECTORY, 0, dir);
      fs.close(dir);
      if (next < 0) {
        if (next !== -ERRNO.ENOENT) return undefined; // a file, link or whiteout hides what is below
        missing = true;
        break;
      }
      dir = next;
      opaque ||= isOpaque(dir, options);
    }
    if (!missing) {
      const stat = fs.lstat(name, dir);
      if (typeof stat !== "number") {
        if (!isWhiteout(stat)) return { dir, name, stat };
        fs.close(dir);
        return undefined;
      }
      fs.close(dir);
    }
    if (opaque) return undefined;
  }
  return undefined;
}

function isOpaque(fd: number, options: FinishOptions): boolean {
  return xattrs.fgetxattr(fd, `${options.overlayXattr}.overlay.opaque`) === "y";
}

function isWhiteout(stat: fs.RawStat): boolean {
  return (stat.mode & S.IFMT) === S.IFCHR && stat.rdevMajor === 0 && stat.rdevMinor === 0;
}

/** Gives the implied directory `path` the owner, mode, attributes and times of the lower layers' one. */
function copyDirectory(state: ExtractState, options: FinishOptions, path: ByteString): void {
  const found = findLower(options, path);
  if (found === undefined) return; // new: stays 0755 root
  try {
    if ((found.stat.mode & S.IFMT) !== S.IFDIR) return;
    const from = fs.open(found.name, DIRECTORY, 0, found.dir);
    const to = fs.open(path, DIRECTORY);
    if (from >= 0 && to >= 0) {
      copyOwner(found.stat, to);
      copyXattrs(from, to);
      if (!state.times.has(path)) state.times.set(path, bothTimes(found.stat.mtimeSec, found.stat.mtimeNsec));
    }
    if (from >= 0) fs.close(from);
    if (to >= 0) fs.close(to);
    if (from < 0) throw fail(`unpack: open "${show(path)}" of a parent layer`, from);
    if (to < 0 && to !== -ERRNO.ENOTDIR && to !== -ERRNO.ENOENT && to !== -ERRNO.ELOOP)
      throw fail(`unpack: open "${show(path)}"`, to);
  } finally {
    fs.close(found.dir);
  }
}

function copyOwner(stat: fs.RawStat, to: number): void {
  let n = fs.fchown(to, stat.uid, stat.gid);
  if (n >= 0) n = fs.fchmod(to, stat.mode & 0o7777);
  if (n < 0) throw fail("unpack: copy owner and mode from a parent layer", n);
}

/** Copies attributes except overlay's marks. */
function copyXattrs(from: number, to: number): void {
  const names = xattrs.flistxattr(from);
  if (typeof names === "number") return;
  for (const name of names) {
    if (name.includes(".overlay.")) continue;
    const value = xattrs.fgetxattr(from, name);
    if (typeof value === "number") continue;
    const n = xattrs.fsetxattr(to, name, value);
    if (n < 0 && n !== -ERRNO.ENOTSUP) throw fail(`unpack: copy attribute "${show(name)}"`, n);
  }
}

/** True when this layer hides `path` of the lower ones. */
function isHidden(state: ExtractState, path: ByteString): boolean {
  if (state.whiteouts.has(path)) return true;
  for (let at = dirOf(path); ; at = dirOf(at)) {
    if (state.opaques.has(at) || state.whiteouts.has(at)) return true;
    if (at === "") return false;
  }
}

/** A hard link whose target is in a lower layer: the target is copied up, then linked. */
function linkToLower(
  state: ExtractState,
  options: FinishOptions,
  path: ByteString,
  target: ByteString,
): void {
  if (typeof fs.lstat(path) !== "number" && path !== target) return; // a later entry took the name
  if (fs.lstat(target) === -ERRNO.ENOENT) {
    const found = isHidden(state, target) ? undefined : findLower(options, target);
    if (found === undefined)
      throw fail(`unpack entry "${show(path)}": link to "${show(target)}"`, -ERRNO.ENOENT);
    try {
      makeParents(state, options, dirOf(target));
      copyUp(found, target);
    } finally {
      fs.close(found.dir);
    }
  }
  if (path === target) return;
  const n = fs.link(target, path);
  if (n < 0) throw fail(`unpack entry "${show(path)}": link to "${show(target)}"`, n);
}

function makeParents(state: ExtractState, options: FinishOptions, dir: ByteString): void {
  if (dir === "" || typeof fs.lstat(dir) !== "number") return;
  makeParents(state, options, dirOf(dir));
  const n = fs.mkdir(dir, 0o755);
  if (n < 0) throw fail(`unpack: make parent directory "${show(dir)}"`, n);
  copyDirectory(state, options, dir);
}

/** Copies one file, link or node from a lower layer to `path`. */
function copyUp({ dir, name, stat }: Found, path: ByteString): void {
  const kind = stat.mode & S.IFMT;
  const what = `unpack: copy "${show(path)}" from a parent layer`;
  let n: number;
  if (kind === S.IFDIR) n = -ERRNO.EPERM;
  else if (kind === S.IFREG) n = copyFile(dir, name, stat, path, what);
  else if (kind === S.IFLNK) {
    const target = fs.readlink(name, dir);
    n = typeof target === "number" ? target : fs.symlink(target, path);
  } else n = fs.mknod(path, stat.mode, stat.rdevMajor, stat.rdevMinor);
  if (n >= 0 && kind !== S.IFREG) n = fs.lchown(path, stat.uid, stat.gid);
  if (n >= 0 && kind !== S.IFREG && kind !== S.IFLNK) n = fs.chmod(path, stat.mode & 0o7777);
  if (n < 0) throw fail(what, n);
  fs.lutimens(path, stat);
}

function copyFile(dir: number, name: ByteString, stat: fs.RawStat, path: ByteString, what: string): number {
  const from = fs.open(name, O.RDONLY | O.NOFOLLOW | O.NONBLOCK | O.CLOEXEC, 0, dir);
  if (from < 0) return from;
  const to = fs.open(path, O.CREAT | O.EXCL | O.WRONLY | O.NOFOLLOW | O.CLOEXEC, 0o600);
  try {
    if (to < 0) return to;
    const n = fs.copyContent(from, to, stat.size);
    if (n < 0) throw fail(what, n);
    copyOwner(stat, to);
    copyXattrs(from, to);
    return 0;
  } finally {
    fs.close(from);
    if (to >= 0) fs.close(to);
  }
}

/**
 * Tells in which directories whiteouts hide something. Elsewhere they are left out: the kernel lists whiteouts of a
 * directory that has nothing to merge with.
 */
function whiteoutPlaces(state: ExtractState, options: FinishOptions): (dir: ByteString) => boolean {
  const known = new Map<ByteString, boolean>([["", options.parents.length > 0 && !state.opaques.has("")]]);
  return (dir) => {
    let place = known.get(dir);
    if (place === undefined) {
      const found = state.opaques.has(dir) || isHidden(state, dir) ? undefined : findLower(options, dir);
      if (found !== undefined) fs.close(found.dir);
      place = found !== undefined && (found.stat.mode & S.IFMT) === S.IFDIR;
      known.set(dir, place);
    }
    return place;
  };
}

function markOpaque(options: FinishOptions, path: ByteString): void {
  const fd = fs.open(path === "" ? "/" : path, DIRECTORY);
  if (fd < 0) return; // replaced by a file later in the layer, which hides as well
  const n = xattrs.fsetxattr(fd, `${options.overlayXattr}.overlay.opaque`, "y");
  fs.close(fd);
  if (n < 0) throw fail(`unpack: mark "${show(path)}" opaque`, n);
}

/** A whiteout hides only lower layers: what this layer itself has at the path stays, and a directory becomes opaque. */
function markWhiteout(options: FinishOptions, path: ByteString): void {
  const stat = fs.lstat(path);
  if (typeof stat !== "number") {
    if ((stat.mode & S.IFMT) === S.IFDIR) markOpaque(options, path);
    return;
  }
  const n = fs.mknod(path, S.IFCHR, 0, 0);
  if (n < 0 && n !== -ERRNO.ENOTDIR) throw fail(`unpack: whiteout "${show(path)}"`, n);
}
