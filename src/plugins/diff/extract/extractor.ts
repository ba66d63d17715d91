import { type GantryError, internal, invalidArgument, resourceExhausted } from "../../../core/errors.ts";
import { errnoName } from "../../../platform/syscalls/errors.ts";
import * as fs from "../../../platform/syscalls/raw-fs.ts";
import * as xattrs from "../../../platform/syscalls/raw-xattr.ts";
import { type ByteString, show } from "../tar/byte-string.ts";
import { TYPE } from "../tar/header.ts";
import type { TarEntry, TarHandler } from "../tar/reader.ts";
import { fail } from "./failure.ts";
import { AUFS_META, baseOf, cleanPath, dirOf, OPAQUE, WHITEOUT } from "./paths.ts";
import { clearDirectory, removeAll } from "./remove.ts";
import { timesOf } from "./times.ts";

const { ERRNO, O, S } = fs;

/** Bounds of one layer. */
export interface ExtractLimits {
  /** Most entries. */
  readonly entries: number;
  /** Most bytes of file content; 0 = no bound but the disk's. */
  readonly bytes: number;
}

/** How a layer is written. */
export interface ExtractOptions {
  /**
   * What whiteouts do. `defer`: remembered for {@link ExtractState}; the destination is an empty directory whose lower
   * layers show later. `delete`: the destination shows the lower layers' files; they are removed.
   */
  readonly whiteouts: "defer" | "delete";
  readonly limits: ExtractLimits;
}

/** A hard link whose target is in a lower layer. */
export interface DeferredLink {
  readonly path: ByteString;
  readonly target: ByteString;
}

/** What remains to be done when the lower layers are known, see finish.ts. */
export interface ExtractState {
  /** Directories that the layer did not describe but needed, parents first. */
  readonly implied: Set<ByteString>;
  readonly links: DeferredLink[];
  /** Paths hidden from the lower layers. */
  readonly whiteouts: Set<ByteString>;
  /** Directories that hide everything of the lower layers. */
  readonly opaques: Set<ByteString>;
  /** Directory times to set at the end, in order of appearance. */
  readonly times: Map<ByteString, fs.RawTimes>;
  /** What could not be kept, for the log; bounded. */
  readonly warnings: string[];
}

/**
 * Writes the entries of one layer below `/`, which must be the destination: the caller has called chroot(2). Then no
 * symlink, `..` or race can lead out, whatever the layer or another process does (S1-S4).
 *
 * Order per entry: content, owner, mode, attributes, times: chown clears set-id bits and capabilities, writing changes
 * times. Directory times come after everything, in reverse.
 */
export class Extractor implements TarHandler, ExtractState {
  readonly #options: ExtractOptions;
  readonly implied = new Set<ByteString>();
  readonly links: DeferredLink[] = [];
  readonly whiteouts = new Set<ByteString>();
  readonly opaques = new Set<ByteString>();
  readonly times = new Map<ByteString, fs.RawTimes>();
  readonly warnings: string[] = [];
  /** Directories known to be real, so that no component needs a look again. */
  readonly #dirs = new Set<ByteString>([""]);
  /** `delete` mode: what this layer wrote, which no whiteout of it may remove. */
  readonly #written = new Set<ByteString>();
  readonly #cleared = new Set<ByteString>();
  #entry: TarEntry | undefined;
  #fd = -1;
  #position = 0;
  #entries = 0;
  #bytes = 0;

  constructor(options: ExtractOptions) {
    this.#options = options;
  }

  entry(entry: TarEntry): void {
    if (++this.#entries > this.#options.limits.entries)
      throw resourceExhausted(`unpack layer: more than ${this.#options.limits.entries} entries`);
    this.#entry = entry;
    const clean = cleanPath(entry.name);
    if (clean === "") return; // the root itself: containerd leaves it as the snapshotter made it
    const dir = this.#ensureDir(dirOf(clean));
    const base = baseOf(clean);
    if (base.startsWith(WHITEOUT)) {
      this.#whiteout(dir, base, entry);
      return;
    }
    const path = `${dir}/${base}`;
    if (this.#options.whiteouts === "delete") this.#written.add(path);
    switch (entry.type) {
      case TYPE.regular:
        this.#createFile(path, entry);
        return;
      case TYPE.directory:
        this.#createDirectory(path, entry);
        return;
      case TYPE.symlink:
        this.#make(path, "symlink", () => fs.symlink(entry.linkname, path));
        this.#finishNode(path, entry, false);
        return;
      case TYPE.hardLink:
        this.#createLink(path, entry);
        return;
      case TYPE.char:
      case TYPE.block:
      case TYPE.fifo:
        this.#createNode(path, entry);
        return;
      default:
        throw invalidArgument(`unpack entry "${show(entry.name)}": unhandled tar header type ${entry.type}`);
    }
  }

  data(bytes: Uint8Array, offset: number): void {
    if (this.#fd < 0) return;
    this.#bytes += bytes.length;
    const { bytes: most } = this.#options.limits;
    if (most > 0 && this.#bytes > most)
      throw resourceExhausted(`unpack layer: more than ${most} bytes of content`);
    const n = offset === this.#position ? fs.write(this.#fd, bytes) : fs.pwrite(this.#fd, bytes, offset);
    if (n < 0) throw this.#failed("write", n);
    if (offset === this.#position) this.#position += n;
  }

  close(): void {
    const entry = this.#entry;
    const fd = this.#fd;
    this.#entry = undefined;
    if (fd < 0 || entry === undefined) return;
    if (entry.sparse) this.#check("truncate", fs.truncate(fd, entry.size));
    this.#finishOpen(fd, entry);
    this.#fd = -1;
    fs.close(fd);
  }

  /** Closes what an error left open. */
  abort(): void {
    if (this.#fd >= 0) fs.close(this.#fd);
    this.#fd = -1;
  }

  /** The resolved path of the directory `dir`, made with its parents when missing. */
  #ensureDir(dir: ByteString): ByteString {
    if (this.#dirs.has(dir)) return dir;
    let real: ByteString = "";
    let rest = dir.split("/").slice(1);
    let links = 0;
    while (rest.length > 0) {
      const part = rest.shift() ?? "";
      if (part === "" || part === ".") continue;
      if (part === "..") {
        real = dirOf(real);
        continue;
      }
      const next = `${real}/${part}`;
      if (this.#dirs.has(next)) {
        real = next;
        continue;
      }
      // An opaque marker further up must not remove the way to what this layer writes.
      if (this.#options.whiteouts === "delete") this.#written.add(next);
      const stat = fs.lstat(next);
      if (stat === -ERRNO.ENOENT) {
        const made = fs.mkdir(next, 0o755);
        if (made < 0 && made !== -ERRNO.EEXIST) throw this.#failed("make parent directory", made);
        this.implied.add(next);
        this.#dirs.add(next);
        real = next;
      } else if (typeof stat === "number") {
        throw this.#failed("look at parent directory", stat);
      } else if ((stat.mode & S.IFMT) === S.IFDIR) {
        this.#dirs.add(next);
        real = next;
      } else if ((stat.mode & S.IFMT) === S.IFLNK) {
        if (++links > 40) throw this.#failed("resolve parent directory", -ERRNO.ELOOP);
        const target = fs.readlink(next);
        if (typeof target === "number") throw this.#failed("read link", target);
        if (target.startsWith("/")) real = "";
        rest = [...target.split("/"), ...rest];
      } else {
        throw this.#failed("make parent directory", -ERRNO.ENOTDIR);
      }
    }
    return real;
  }

  /** Removes what is at `path`, whatever it is. */
  #remove(path: ByteString): void {
    const removed = removeAll(path);
    if (removed.error < 0) throw this.#failed("replace", removed.error);
    this.times.delete(path);
    if (!removed.directory) return;
    this.#dirs.clear();
    this.#dirs.add("");
  }

  /** Runs `make`; when something is in the way, removes it and runs it again. */
  #make(path: ByteString, action: string, make: () => number): number {
    let n = make();
    if (n === -ERRNO.EEXIST || n === -ERRNO.EISDIR || n === -ERRNO.ELOOP) {
      this.#remove(path);
      n = make();
    }
    if (n < 0) throw this.#failed(action, n);
    return n;
  }

  #createFile(path: ByteString, entry: TarEntry): void {
    const flags = O.CREAT | O.EXCL | O.WRONLY | O.NOFOLLOW | O.CLOEXEC;
    this.#fd = this.#make(path, "create file", () => fs.open(path, flags, 0o600));
    this.#position = 0;
    const { bytes: most } = this.#options.limits;
    if (most > 0 && !entry.sparse && this.#bytes + entry.size > most)
      throw resourceExhausted(`unpack layer: more than ${most} bytes of content`);
  }

  #createDirectory(path: ByteString, entry: TarEntry): void {
    let n = fs.mkdir(path, 0o755);
    if (n === -ERRNO.EEXIST) {
      const stat = fs.lstat(path);
      if (typeof stat === "number") throw this.#failed("look at", stat);
      if ((stat.mode & S.IFMT) === S.IFDIR) n = 0;
      else {
        this.#remove(path);
        n = fs.mkdir(path, 0o755);
      }
    }
    if (n < 0) throw this.#failed("make directory", n);
    this.implied.delete(path);
    this.#dirs.add(path);
    const fd = fs.open(path, O.RDONLY | O.DIRECTORY | O.NOFOLLOW | O.CLOEXEC);
    if (fd < 0) throw this.#failed("open directory", fd);
    try {
      this.#owner(fd, entry);
      this.#xattrs(entry, (name, value) => xattrs.fsetxattr(fd, name, value));
    } finally {
      fs.close(fd);
    }
    this.times.delete(path);
    this.times.set(path, timesOf(entry));
  }

  #createLink(path: ByteString, entry: TarEntry): void {
    const clean = cleanPath(entry.linkname);
    if (clean === "") throw this.#failed("link", -ERRNO.EPERM);
    const dir = this.#findDir(dirOf(clean));
    const target = `${dir ?? dirOf(clean)}/${baseOf(clean)}`;
    if (dir === undefined || fs.lstat(target) === -ERRNO.ENOENT) {
      if (this.#options.whiteouts === "delete") throw this.#failed("link", -ERRNO.ENOENT);
      this.#remove(path);
      this.links.push({ path, target });
      return;
    }
    if (target === path) return;
    this.#make(path, "link", () => fs.link(target, path));
  }

  /** Like ensureDir without making anything; undefined when it does not exist. */
  #findDir(dir: ByteString): ByteString | undefined {
    if (this.#dirs.has(dir)) return dir;
    let real: ByteString = "";
    let rest = dir.split("/").slice(1);
    let links = 0;
    while (rest.length > 0) {
      const part = rest.shift() ?? "";
      if (part === "" || part === ".") continue;
      if (part === "..") {
        real = dirOf(real);
        continue;
      }
      const next = `${real}/${part}`;
      const stat = fs.lstat(next);
      if (typeof stat === "number") return undefined;
      if ((stat.mode & S.IFMT) === S.IFLNK) {
        const target = fs.readlink(next);
        if (typeof target === "number" || ++links > 40) return undefined;
        if (target.startsWith("/")) real = "";
        rest = [...target.split("/"), ...rest];
      } else real = next;
    }
    return real;
  }

  #createNode(path: ByteString, entry: TarEntry): void {
    const kind = entry.type === TYPE.char ? S.IFCHR : entry.type === TYPE.block ? S.IFBLK : S.IFIFO;
    const { devmajor, devminor } = entry;
    if (kind !== S.IFIFO && (devmajor < 0 || devmajor > 0xfff || devminor < 0 || devminor > 0xfffff))
      throw invalidArgument(
        `unpack entry "${show(entry.name)}": device number ${devmajor}:${devminor} is out of range`,
      );
    const [major, minor] = kind === S.IFIFO ? [0, 0] : [devmajor, devminor];
    this.#make(path, "make node", () => fs.mknod(path, kind | 0o600, major, minor));
    this.#finishNode(path, entry, true);
  }

  /** Owner, mode, attributes and times of what cannot be opened safely. */
  #finishNode(path: ByteString, entry: TarEntry, mode: boolean): void {
    checkOwner(entry);
    this.#check("change owner", fs.lchown(path, entry.uid, entry.gid));
    if (mode) this.#check("change mode", fs.chmod(path, entry.mode));
    this.#xattrs(entry, (name, value) => xattrs.lsetxattr(path, name, value));
    this.#check("set times", fs.lutimens(path, timesOf(entry)));
  }

  #finishOpen(fd: number, entry: TarEntry): void {
    this.#owner(fd, entry);
    this.#xattrs(entry, (name, value) => xattrs.fsetxattr(fd, name, value));
    this.#check("set times", fs.futimens(fd, timesOf(entry)));
  }

  #owner(fd: number, entry: TarEntry): void {
    checkOwner(entry);
    this.#check("change owner", fs.fchown(fd, entry.uid, entry.gid));
    this.#check("change mode", fs.fchmod(fd, entry.mode));
  }

  #xattrs(entry: TarEntry, set: (name: ByteString, value: ByteString) => number): void {
    if (entry.xattrs === undefined) return;
    for (const [name, value] of entry.xattrs) {
      if (name.startsWith("trusted.") || name.startsWith("user.overlay.")) {
        // Control attributes of overlay and other privileged ones are not a layer's to set (S8); so does containerd.
        this.#warn(`entry "${show(entry.name)}": attribute "${show(name)}" dropped`);
        continue;
      }
      const n = set(name, value);
      if (n === -ERRNO.ENOTSUP || (n === -ERRNO.EPERM && name.startsWith("user.")))
        this.#warn(`entry "${show(entry.name)}": attribute "${show(name)}" is not supported here`);
      else if (n < 0) throw this.#failed(`set attribute "${show(name)}" of`, n);
    }
  }

  #whiteout(dir: ByteString, base: ByteString, entry: TarEntry): void {
    if (base === OPAQUE) {
      if (this.#options.whiteouts === "defer") this.opaques.add(dir);
      else this.#clear(dir);
      return;
    }
    if (base.startsWith(AUFS_META)) return;
    const name = base.slice(WHITEOUT.length);
    if (name === "" || name === "." || name === "..")
      throw invalidArgument(`unpack entry "${show(entry.name)}": invalid whiteout name: ${show(base)}`);
    const path = `${dir}/${name}`;
    if (this.#options.whiteouts === "defer") this.whiteouts.add(path);
    else if (this.#written.has(path)) this.#clear(path);
    else this.#remove(path);
  }

  /** `delete` mode: removes from `dir` what this layer did not write. A cleared directory is not walked again (S6). */
  #clear(dir: ByteString): void {
    for (let at = dir; ; at = dirOf(at)) {
      if (this.#cleared.has(at)) return;
      if (at === "") break;
    }
    this.#cleared.add(dir);
    const n = clearDirectory(dir, this.#written, this.#cleared);
    if (n < 0) throw this.#failed("clear directory", n);
  }

  #warn(text: string): void {
    if (this.warnings.length < 20) this.warnings.push(text);
  }

  #check(action: string, n: number): void {
    if (n < 0) throw this.#failed(action, n);
  }

  #failed(action: string, n: number): GantryError {
    const entry = this.#entry;
    if (entry === undefined) return internal(`unpack: ${action}: ${errnoName(n)}`);
    return fail(`unpack entry "${show(entry.name)}": ${action}`, n);
  }
}

/** -1 means "leave as it is" to the kernel, so it cannot be an owner. */
function checkOwner(entry: TarEntry): void {
  if (entry.uid < 0 || entry.uid >= 0xffffffff || entry.gid < 0 || entry.gid >= 0xffffffff)
    throw invalidArgument(
      `unpack entry "${show(entry.name)}": owner ${entry.uid}:${entry.gid} is out of range`,
    );
}
