import * as fs from "../../../platform/syscalls/raw-fs.ts";
import * as xattrs from "../../../platform/syscalls/raw-xattr.ts";
import type { ByteString } from "../tar/byte-string.ts";
import { failed, type LayerWriter, type Pieces, sortNames } from "./layer-writer.ts";

const { O, S } = fs;
const DIRECTORY = O.RDONLY | O.DIRECTORY | O.NOFOLLOW | O.CLOEXEC;

/** Thrown when an upper directory holds references to lower layers that only the kernel can follow. */
export class NeedsMergedView extends Error {
  constructor() {
    super("upper directory uses redirects or metacopy");
    this.name = "NeedsMergedView";
  }
}

/**
 * The layer that an overlay's upper directory is: its files as they are, whiteout devices and opaque marks as the image
 * format's.
 * @param xattr name space of overlay's marks
 * @throws NeedsMergedView before anything that cannot be told from the upper directory alone
 */
export function* upperChanges(writer: LayerWriter, root: number, xattr: "trusted" | "user"): Pieces {
  const top = fs.open(".", DIRECTORY, 0, root);
  if (top < 0) throw failed("open", "", top);
  yield* directory(writer, "", top, xattr);
}

/** Takes over `fd`. Recursion is bounded by open files, far below the stack's end. */
function* directory(writer: LayerWriter, path: ByteString, fd: number, xattr: string): Pieces {
  try {
    const stat = fs.lstat("", fd);
    const entries = fs.readdir(fd);
    if (typeof stat === "number") throw failed("look at", path, stat);
    if (typeof entries === "number") throw failed("read directory", path, entries);
    if (has(fd, `${xattr}.overlay.redirect`)) throw new NeedsMergedView();
    yield* writer.enter(path, fd, stat, true);
    if (path !== "" && xattrs.fgetxattr(fd, `${xattr}.overlay.opaque`) === "y") yield* writer.opaque();
    for (const { name } of sortNames(entries)) yield* entry(writer, path, fd, name, xattr);
    writer.leave();
  } finally {
    fs.close(fd);
  }
}

function* entry(
  writer: LayerWriter,
  parent: ByteString,
  dir: number,
  name: ByteString,
  xattr: string,
): Pieces {
  const path = parent === "" ? name : `${parent}/${name}`;
  const stat = fs.lstat(name, dir);
  if (typeof stat === "number") {
    if (stat === -fs.ERRNO.ENOENT) return; // removed meanwhile
    throw failed("look at", path, stat);
  }
  const kind = stat.mode & S.IFMT;
  if (kind === S.IFDIR) {
    const fd = fs.open(name, DIRECTORY, 0, dir);
    if (fd < 0) throw failed("open", path, fd);
    yield* directory(writer, path, fd, xattr);
  } else if (kind === S.IFCHR && stat.rdevMajor === 0 && stat.rdevMinor === 0) {
    yield* writer.whiteout(name);
  } else {
    if (kind === S.IFREG && isMetacopy(dir, name, xattr)) throw new NeedsMergedView();
    yield* writer.file(path, dir, name, stat);
  }
}

function isMetacopy(dir: number, name: ByteString, xattr: string): boolean {
  const fd = fs.open(name, O.RDONLY | O.NOFOLLOW | O.NONBLOCK | O.CLOEXEC, 0, dir);
  if (fd < 0) return false;
  const found = has(fd, `${xattr}.overlay.metacopy`);
  fs.close(fd);
  return found;
}

function has(fd: number, name: string): boolean {
  return typeof xattrs.fgetxattr(fd, name) !== "number";
}
