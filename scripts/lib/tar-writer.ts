/**
 * A small, deterministic tar writer for build scripts and test fixtures. It is independent of the engine's own tar code on
 * purpose, so a fixture does not inherit a mistake of what it tests. Format: POSIX ustar with pax extended headers.
 */

/** What an entry is; the letters of the tar header are internal. */
export type TarEntryType = "file" | "dir" | "symlink" | "hardlink" | "char" | "block" | "fifo";

/** One member of an archive. Times are whole seconds since the epoch. */
export interface TarEntry {
  readonly name: string;
  readonly type?: TarEntryType;
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly mtime?: number;
  /** Fraction of `mtime` in nanoseconds; written as a pax record. */
  readonly mtimeNanos?: number;
  readonly data?: Uint8Array | string;
  /** Target of a symbolic or hard link. */
  readonly link?: string;
  readonly devMajor?: number;
  readonly devMinor?: number;
  /** Extended attributes, written as SCHILY.xattr pax records. */
  readonly xattrs?: Readonly<Record<string, Uint8Array>>;
}

const FLAGS: Readonly<Record<TarEntryType, string>> = {
  file: "0",
  hardlink: "1",
  symlink: "2",
  char: "3",
  block: "4",
  dir: "5",
  fifo: "6",
};
const BLOCK = 512;
/** Every fixture's time unless it says otherwise: 2023-11-14T22:13:20Z. */
export const FIXED_TIME = 1_700_000_000;

/** Collects entries and gives the archive's bytes. The same entries always give the same bytes. */
export class TarWriter {
  readonly #chunks: Uint8Array[] = [];

  /** Appends one entry; the caller keeps the order (parents first, link targets before links). */
  add(entry: TarEntry): this {
    const type = entry.type ?? "file";
    const data = typeof entry.data === "string" ? Buffer.from(entry.data) : (entry.data ?? new Uint8Array());
    const name = type === "dir" && !entry.name.endsWith("/") ? `${entry.name}/` : entry.name;
    const records = paxRecords(entry, name);
    if (records.length > 0) {
      const body = Buffer.concat(records);
      this.#push(
        header({ name: "pax", type: "file", mode: 0o644, mtime: FIXED_TIME }, "pax", "x", body.length),
      );
      this.#body(body);
    }
    this.#push(header(entry, name, FLAGS[type], data.length));
    this.#body(data);
    return this;
  }

  /** Shorthand for a directory. */
  dir(name: string, mode = 0o755, more: Partial<TarEntry> = {}): this {
    return this.add({ ...more, name, type: "dir", mode });
  }

  /** Shorthand for a regular file. */
  file(name: string, data: Uint8Array | string, mode = 0o644, more: Partial<TarEntry> = {}): this {
    return this.add({ ...more, name, data, mode });
  }

  /** Shorthand for a symbolic link. */
  symlink(name: string, link: string): this {
    return this.add({ name, type: "symlink", mode: 0o777, link });
  }

  /** Shorthand for a hard link; `mode` should equal the target's, since appliers differ in whose mode wins. */
  hardlink(name: string, link: string, mode = 0o644): this {
    return this.add({ name, type: "hardlink", mode, link });
  }

  /** The archive with its two closing blocks. */
  finish(): Buffer {
    return Buffer.concat([...this.#chunks, Buffer.alloc(2 * BLOCK)]);
  }

  #push(chunk: Uint8Array): void {
    this.#chunks.push(chunk);
  }

  #body(data: Uint8Array): void {
    if (data.length === 0) return;
    this.#push(data);
    const rest = data.length % BLOCK;
    if (rest !== 0) this.#push(Buffer.alloc(BLOCK - rest));
  }
}

/** The pax records an entry needs: what the fixed header fields cannot hold. */
function paxRecords(entry: TarEntry, name: string): Buffer[] {
  const out: Buffer[] = [];
  const put = (key: string, value: Uint8Array | string): void => {
    const bytes = typeof value === "string" ? Buffer.from(value) : Buffer.from(value);
    const rest = Buffer.concat([Buffer.from(` ${key}=`), bytes, Buffer.from("\n")]);
    // The record starts with its own length, which includes the digits of that length.
    let length = rest.length + String(rest.length).length;
    if (String(length).length !== String(rest.length).length) length = rest.length + String(length).length;
    out.push(Buffer.concat([Buffer.from(String(length)), rest]));
  };
  if (!fits(name)) put("path", name);
  if (entry.link !== undefined && !fits(entry.link)) put("linkpath", entry.link);
  if ((entry.uid ?? 0) > 0o7777777) put("uid", String(entry.uid));
  if ((entry.gid ?? 0) > 0o7777777) put("gid", String(entry.gid));
  if (entry.mtimeNanos !== undefined) {
    put("mtime", `${entry.mtime ?? FIXED_TIME}.${String(entry.mtimeNanos).padStart(9, "0")}`);
  }
  for (const [key, value] of Object.entries(entry.xattrs ?? {})) put(`SCHILY.xattr.${key}`, value);
  return out;
}

/** True when a name goes into the 100 byte field as plain ASCII. */
function fits(name: string): boolean {
  return Buffer.byteLength(name) <= 100 && /^[\x20-\x7e]*$/.test(name);
}

function header(entry: TarEntry, name: string, flag: string, size: number): Buffer {
  const block = Buffer.alloc(BLOCK);
  const text = (value: string, at: number, length: number): void => {
    Buffer.from(value).copy(block, at, 0, length);
  };
  const octal = (value: number, at: number, length: number): void => {
    text(`${value.toString(8).padStart(length - 1, "0")}\0`, at, length);
  };
  text(name, 0, 100);
  octal((entry.mode ?? 0o644) & 0o7777, 100, 8);
  octal(Math.min(entry.uid ?? 0, 0o7777777), 108, 8);
  octal(Math.min(entry.gid ?? 0, 0o7777777), 116, 8);
  octal(size, 124, 12);
  octal(entry.mtime ?? FIXED_TIME, 136, 12);
  text("        ", 148, 8);
  text(flag, 156, 1);
  text(entry.link ?? "", 157, 100);
  text("ustar\x0000", 257, 8);
  octal(entry.devMajor ?? 0, 329, 8);
  octal(entry.devMinor ?? 0, 337, 8);
  let sum = 0;
  for (const byte of block) sum += byte;
  text(`${sum.toString(8).padStart(6, "0")}\0 `, 148, 8);
  return block;
}
