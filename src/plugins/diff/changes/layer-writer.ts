/** Turns changed files into the bytes of a layer. Runs in a helper process. */
import { Buffer } from "node:buffer";
import { internal } from "../../../core/errors.ts";
import { errnoName } from "../../../platform/syscalls/errors.ts";
import * as fs from "../../../platform/syscalls/raw-fs.ts";
import * as xattrs from "../../../platform/syscalls/raw-xattr.ts";
import { OPAQUE, WHITEOUT } from "../extract/paths.ts";
import { type ByteString, show } from "../tar/byte-string.ts";
import { TYPE } from "../tar/header.ts";
import type { TarTime } from "../tar/pax.ts";
import { type TarMember, tarHeader, tarPadding } from "../tar/writer.ts";

const { O, S } = fs;

/** Bytes read from a file at a time. */
const READ = 256 * 1024;

/** The pieces of a layer, each a buffer of its own. */
export type Pieces = Generator<Uint8Array, void, void>;

/** A directory whose header is written only when something below it is. */
interface PendingDirectory {
  readonly path: ByteString;
  readonly fd: number;
  readonly stat: fs.RawStat;
  written: boolean;
}

/**
 * Writes entries in the order it is told about them. Paths are relative ("a/b", "" for the root); a layer says nothing
 * about the root itself. The parents of every change are written before it, so that a layer stands for itself.
 */
export class LayerWriter {
  readonly #latest: TarTime | undefined;
  readonly #parents: PendingDirectory[] = [];
  /** First path of each hard-linked inode. */
  readonly #links = new Map<string, ByteString>();

  /** @param latest later modification times become this one (SOURCE_DATE_EPOCH) */
  constructor(latest: TarTime | undefined) {
    this.#latest = latest;
  }

  /** Enters a directory; `changed` says that it is part of the layer by itself. */
  *enter(path: ByteString, fd: number, stat: fs.RawStat, changed: boolean): Pieces {
    this.#parents.push({ path, fd, stat, written: path === "" });
    if (changed) yield* this.#needParents();
  }

  /** Leaves the directory entered last. */
  leave(): void {
    this.#parents.pop();
  }

  /** Says that the lower layers' `name` is gone. */
  *whiteout(name: ByteString): Pieces {
    yield* this.#marker(`${WHITEOUT}${name}`);
  }

  /** Says that nothing of the lower layers is left in the directory entered last. */
  *opaque(): Pieces {
    yield* this.#marker(OPAQUE);
  }

  *#marker(name: ByteString): Pieces {
    yield* this.#needParents();
    const dir = this.#parents.at(-1);
    const path = dir === undefined || dir.path === "" ? name : `${dir.path}/${name}`;
    // The directory changed when the file went: its time keeps the layer reproducible.
    const mtime = dir === undefined ? { sec: 0, nsec: 0 } : this.#time(dir.stat);
    yield tarHeader({ type: TYPE.regular, name: path, mode: 0, uid: 0, gid: 0, size: 0, mtime });
  }

  /** Adds `name` of the open directory `dir`; everything but a directory. */
  *file(path: ByteString, dir: number, name: ByteString, stat: fs.RawStat): Pieces {
    const kind = stat.mode & S.IFMT;
    if (kind === S.IFSOCK) return;
    yield* this.#needParents();
    const common = {
      name: path,
      mode: stat.mode & 0o7777,
      uid: stat.uid,
      gid: stat.gid,
      size: 0,
      mtime: this.#time(stat),
    };
    if (stat.nlink > 1) {
      const key = `${stat.devMajor}:${stat.devMinor}:${stat.ino}`;
      const first = this.#links.get(key);
      if (first !== undefined) {
        yield tarHeader({ ...common, type: TYPE.hardLink, linkname: first });
        return;
      }
      this.#links.set(key, path);
    }
    if (kind === S.IFREG) yield* this.#content(common, dir, name, stat.size);
    else if (kind === S.IFLNK) {
      const target = fs.readlink(name, dir);
      if (typeof target === "number") throw failed("read link", path, target);
      yield tarHeader({ ...common, type: TYPE.symlink, linkname: target });
    } else {
      const type = kind === S.IFCHR ? TYPE.char : kind === S.IFBLK ? TYPE.block : TYPE.fifo;
      yield tarHeader({ ...common, type, devmajor: stat.rdevMajor, devminor: stat.rdevMinor });
    }
  }

  *#needParents(): Pieces {
    for (const dir of this.#parents) {
      if (dir.written) continue;
      dir.written = true;
      yield tarHeader({
        type: TYPE.directory,
        name: `${dir.path}/`,
        mode: dir.stat.mode & 0o7777,
        uid: dir.stat.uid,
        gid: dir.stat.gid,
        size: 0,
        mtime: this.#time(dir.stat),
        xattrs: readXattrs(dir.fd),
      });
    }
  }

  /** Header and content. A file that shrinks meanwhile is filled with zeros, one that grows is cut. */
  *#content(common: Omit<TarMember, "type">, dir: number, name: ByteString, size: number): Pieces {
    const fd = fs.open(name, O.RDONLY | O.NOFOLLOW | O.NONBLOCK | O.CLOEXEC, 0, dir);
    if (fd < 0) throw failed("open", common.name, fd);
    try {
      const now = fs.lstat("", fd);
      if (typeof now === "number" || (now.mode & S.IFMT) !== S.IFREG)
        throw internal(`make layer: "${show(common.name)}" changed while it was read`);
      yield tarHeader({ ...common, type: TYPE.regular, size, xattrs: readXattrs(fd) });
      for (let left = size; left > 0; ) {
        const buffer = new Uint8Array(Math.min(left, READ));
        const n = fs.read(fd, buffer);
        if (n < 0) throw failed("read", common.name, n);
        if (n === 0) {
          yield buffer;
          left -= buffer.length;
        } else {
          yield n === buffer.length ? buffer : buffer.subarray(0, n);
          left -= n;
        }
      }
      if (size % 512 !== 0) yield tarPadding(size);
    } finally {
      fs.close(fd);
    }
  }

  #time(stat: fs.RawStat): TarTime {
    const latest = this.#latest;
    const time = { sec: stat.mtimeSec, nsec: stat.mtimeNsec };
    if (latest === undefined) return time;
    const later = time.sec > latest.sec || (time.sec === latest.sec && time.nsec > latest.nsec);
    return later ? latest : time;
  }
}

/** Attributes that belong to an image: capabilities, ACLs and the user's own, not this machine's labels. */
export function readXattrs(fd: number): Map<ByteString, ByteString> {
  const found = new Map<ByteString, ByteString>();
  const names = xattrs.flistxattr(fd);
  if (typeof names === "number") return found;
  for (const name of names.sort()) {
    const wanted =
      name === "security.capability" ||
      name.startsWith("system.posix_acl_") ||
      (name.startsWith("user.") && !name.startsWith("user.overlay."));
    const value = wanted ? xattrs.fgetxattr(fd, name) : -1;
    if (typeof value !== "number") found.set(name, value);
  }
  return found;
}

export function failed(action: string, path: ByteString, n: number): Error {
  return internal(`make layer: ${action} "${show(path)}": ${errnoName(n)}`);
}

/** Names in byte order, so that equal trees make equal layers. */
export function sortNames<T extends { readonly name: ByteString }>(entries: T[]): T[] {
  return entries.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
}

/** Joins small pieces into larger ones. */
export function* gather(pieces: Pieces): Pieces {
  let parts: Uint8Array[] = [];
  let length = 0;
  for (const piece of pieces) {
    parts.push(piece);
    length += piece.length;
    if (length < 128 * 1024) continue;
    yield parts.length === 1 && parts[0] !== undefined ? parts[0] : Buffer.concat(parts, length);
    parts = [];
    length = 0;
  }
  if (length > 0) yield Buffer.concat(parts, length);
}
