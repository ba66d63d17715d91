/** Compares an unpacked layer with the blob it came from: what the archive says each file is against what is on disk. */
import { createHash, type Hash } from "node:crypto";
import { errnoName } from "../../platform/syscalls/errors.ts";
import * as fs from "../../platform/syscalls/raw-fs.ts";
import * as xattrs from "../../platform/syscalls/raw-xattr.ts";
import { AUFS_META, baseOf, cleanPath, dirOf, WHITEOUT } from "../../plugins/diff/extract/paths.ts";
import { Decompressor } from "../../plugins/diff/helper/decompress.ts";
import { type ByteString, fromText, show } from "../../plugins/diff/tar/byte-string.ts";
import { TYPE } from "../../plugins/diff/tar/header.ts";
import { type TarEntry, type TarHandler, TarReader } from "../../plugins/diff/tar/reader.ts";

const { O, S } = fs;
/** Bytes read at once. */
const CHUNK = 1 << 20;
/** Bytes that tell an EROFS image: its superblock's magic number is at 1024. */
const IMAGE_HEAD = 1028;
const EROFS_MAGIC = 0xe0f5e1e2;
/** Differences told of one layer: the first says enough. */
const MOST = 3;

/** What a file of the layer must be. */
interface Expected {
  readonly type: number;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  /** Target of a symlink. */
  readonly link: ByteString;
  /** Of the last change, in seconds; undefined where it is not compared (folders: their entries change it). */
  readonly mtime: number | undefined;
  readonly devmajor: number;
  readonly devminor: number;
  readonly xattrs: ReadonlyMap<ByteString, ByteString>;
  /** Of the content; undefined where it is not compared (holes). */
  digest?: string | undefined;
}

/** Collects what the layer's paths end up as. */
class Collector implements TarHandler {
  readonly files = new Map<ByteString, Expected>();
  #hash: Hash | undefined;
  #current: Expected | undefined;

  entry(entry: TarEntry): void {
    this.#current = undefined;
    this.#hash = undefined;
    const path = cleanPath(entry.name);
    const base = baseOf(path);
    if (path === "") return;
    if (base.startsWith(WHITEOUT) || base.startsWith(AUFS_META)) {
      // an entry of the same layer stays, whatever the order: nothing is certain about the others
      return;
    }
    if (entry.type === TYPE.hardLink) {
      const target = cleanPath(entry.linkname);
      const same = this.files.get(target);
      if (same === undefined)
        this.files.delete(path); // in a lower layer: its content is that one's
      else this.files.set(path, same);
      return;
    }
    const expected: Expected = {
      type: entry.type,
      mode: entry.mode & 0o7777,
      uid: entry.uid,
      gid: entry.gid,
      size: entry.size,
      link: entry.linkname,
      mtime: entry.type === TYPE.directory ? undefined : Math.max(entry.mtime.sec, 0),
      devmajor: entry.devmajor,
      devminor: entry.devminor,
      xattrs: kept(entry.xattrs),
    };
    if (entry.type !== TYPE.directory && this.files.get(path)?.type === TYPE.directory)
      for (const below of [...this.files.keys()]) if (below.startsWith(`${path}/`)) this.files.delete(below);
    this.files.set(path, expected);
    if (entry.type === TYPE.regular && !entry.sparse) {
      this.#current = expected;
      this.#hash = createHash("sha256");
    }
  }

  data(bytes: Uint8Array): void {
    this.#hash?.update(bytes);
  }

  close(): void {
    if (this.#current !== undefined) this.#current.digest = this.#hash?.digest("hex");
    this.#current = undefined;
    this.#hash = undefined;
  }
}

/** Those that unpacking keeps: see the differ's extractor. */
function kept(xattrs: ReadonlyMap<ByteString, ByteString> | undefined): ReadonlyMap<ByteString, ByteString> {
  return new Map(
    [...(xattrs ?? [])].filter(([name]) => !name.startsWith("trusted.") && !name.startsWith("user.overlay.")),
  );
}

/**
 * Compares the tree in `folder` with the layer that `blob` gives.
 * @returns what differs, "" for nothing
 * @throws Error when one of them cannot be read
 */
export async function compareTree(blob: AsyncIterable<Uint8Array>, folder: string): Promise<string> {
  const collector = new Collector();
  const reader = new TarReader(collector);
  let head: Uint8Array | undefined = new Uint8Array(0);
  let image = false;
  const decompressor = new Decompressor("detect", (bytes) => {
    if (image) return;
    const whole = head === undefined ? bytes : Buffer.concat([head, bytes]);
    if (head !== undefined && whole.length < IMAGE_HEAD) {
      head = whole;
      return;
    }
    image = head !== undefined && isErofs(whole);
    head = undefined;
    if (!image) reader.push(whole);
  });
  for await (const bytes of blob) {
    await decompressor.write(bytes);
    // mounted as it is: its files are nobody else's
    if (image) return "";
  }
  await decompressor.end();
  if (image) return "";
  if (head !== undefined) reader.push(head);
  reader.finish();
  const root = fs.open(fromText(folder), O.RDONLY | O.DIRECTORY | O.CLOEXEC);
  if (root < 0) throw new Error(`open "${folder}": ${errnoName(root)}`);
  const problems: string[] = [];
  try {
    for (const [path, expected] of collector.files) {
      const problem = compareFile(root, path, expected);
      if (problem !== undefined) problems.push(`"${show(path)}" ${problem}`);
      if (problems.length > MOST) break;
      // other work of this process has its turn
      if (expected.size > CHUNK) await new Promise((resolve) => setImmediate(resolve));
    }
  } finally {
    fs.close(root);
  }
  const more = problems.length > MOST ? ", and more" : "";
  return problems.length === 0
    ? ""
    : `files differ from the layer: ${problems.slice(0, MOST).join(", ")}${more}`;
}

function compareFile(root: number, path: ByteString, expected: Expected): string | undefined {
  // links in a layer's paths lead to places below its root, as when it was unpacked
  const dir = fs.openInRoot(root, dirOf(path) || "/", O.PATH | O.DIRECTORY | O.CLOEXEC);
  if (dir < 0) return `is missing (${errnoName(dir)})`;
  try {
    const name = baseOf(path);
    const stat = fs.lstat(name, dir);
    if (typeof stat === "number") return stat === -fs.ERRNO.ENOENT ? "is missing" : errnoName(stat);
    const kind = KINDS.get(expected.type);
    if (kind === undefined || (stat.mode & S.IFMT) !== kind) return "is of another type";
    if (stat.uid !== expected.uid || stat.gid !== expected.gid) return "has another owner";
    if (kind !== S.IFLNK && (stat.mode & 0o7777) !== expected.mode) return "has another mode";
    if (kind === S.IFLNK && fs.readlink(name, dir) !== expected.link) return "leads elsewhere";
    if (expected.mtime !== undefined && !sameTime(stat.mtimeSec, expected.mtime)) return "has another time";
    const attribute = otherAttribute(dir, name, expected);
    if (attribute !== undefined) return `has another attribute "${show(attribute)}"`;
    if (
      (kind === S.IFCHR || kind === S.IFBLK) &&
      (stat.rdevMajor !== expected.devmajor || stat.rdevMinor !== expected.devminor)
    )
      return "is another device";
    if (kind !== S.IFREG) return undefined;
    if (stat.size !== expected.size) return `has ${stat.size} bytes instead of ${expected.size}`;
    if (expected.digest === undefined || expected.size === 0) return undefined;
    return hashFile(dir, name) === expected.digest ? undefined : "has other content";
  } finally {
    fs.close(dir);
  }
}

/** Not every file system has room for times before 1970 or after 2038: those are not compared. */
function sameTime(found: number, wanted: number): boolean {
  return found === wanted || wanted <= 0 || wanted >= 2 ** 31;
}

/** The first attribute that is not as the layer has it. One that this file system cannot keep is none. */
function otherAttribute(dir: number, name: ByteString, expected: Expected): ByteString | undefined {
  if (expected.xattrs.size === 0) return undefined;
  const path = `/proc/self/fd/${dir}/${name}`;
  for (const [key, value] of expected.xattrs) {
    const found = xattrs.lgetxattr(path, key);
    if (found === value || found === -fs.ERRNO.ENOTSUP) continue;
    // user attributes are for files and folders only: on others they were dropped
    if (found === -fs.ERRNO.ENODATA && key.startsWith("user.") && !OWN_ATTRIBUTES.has(expected.type))
      continue;
    return key;
  }
  return undefined;
}

/** Types of files that may have attributes of users. */
const OWN_ATTRIBUTES: ReadonlySet<number> = new Set([TYPE.regular, TYPE.directory]);

const KINDS: ReadonlyMap<number, number> = new Map([
  [TYPE.regular, S.IFREG],
  [TYPE.directory, S.IFDIR],
  [TYPE.symlink, S.IFLNK],
  [TYPE.char, S.IFCHR],
  [TYPE.block, S.IFBLK],
  [TYPE.fifo, S.IFIFO],
]);

const buffer = new Uint8Array(CHUNK);

function hashFile(dir: number, name: ByteString): string {
  const fd = fs.open(name, O.RDONLY | O.NOFOLLOW | O.NONBLOCK | O.CLOEXEC, 0, dir);
  if (fd < 0) return errnoName(fd);
  try {
    const hash = createHash("sha256");
    for (;;) {
      const n = fs.read(fd, buffer);
      if (n < 0) return errnoName(n);
      if (n === 0) return hash.digest("hex");
      hash.update(buffer.subarray(0, n));
    }
  } finally {
    fs.close(fd);
  }
}

function isErofs(head: Uint8Array): boolean {
  return new DataView(head.buffer, head.byteOffset).getUint32(1024, true) === EROFS_MAGIC;
}
