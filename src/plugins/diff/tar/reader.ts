import { Buffer } from "node:buffer";
import { invalidArgument } from "../../../core/errors.ts";
import { type ByteString, fromBytes } from "./byte-string.ts";
import { BLOCK, isZeroBlock, parseHeader, parseNumber, type RawHeader, TYPE } from "./header.ts";
import { checkSparse, MAX_EXTENTS, MAX_META, type PaxRecords, parsePax, type TarTime } from "./pax.ts";

/** One member of an archive, pax and GNU records applied. */
export interface TarEntry {
  /** Type flag, see TYPE; old regular files are told as `regular` or, with a slash at the end, `directory`. */
  readonly type: number;
  readonly name: ByteString;
  readonly linkname: ByteString;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Size of the file in bytes; for sparse files the full size. 0 for everything without data. */
  readonly size: number;
  readonly mtime: TarTime;
  readonly atime: TarTime | undefined;
  readonly devmajor: number;
  readonly devminor: number;
  readonly xattrs: ReadonlyMap<ByteString, ByteString> | undefined;
  /** True when data comes with holes between. */
  readonly sparse: boolean;
}

/** Gets what the reader finds, synchronously and in order. */
export interface TarHandler {
  entry(entry: TarEntry): void;
  /** Bytes of the last entry at `offset` of its file. The view is valid during the call only. */
  data(bytes: Uint8Array, offset: number): void;
  /** The last entry's data is complete. Called for every entry. */
  close(): void;
}

const HEADER_ONLY = new Set<number>([
  TYPE.hardLink,
  TYPE.symlink,
  TYPE.char,
  TYPE.block,
  TYPE.directory,
  TYPE.fifo,
]);

type State = "header" | "meta" | "extents" | "sparse-map" | "data" | "skip" | "ended";

/**
 * Streaming tar reader: give it chunks of any size with {@link push}, tell the end with {@link finish}. File data is
 * passed on as views of the chunk, never copied. Memory is bounded by MAX_META and MAX_EXTENTS whatever a header claims.
 */
export class TarReader {
  readonly #handler: TarHandler;
  #state: State = "header";
  readonly #block = new Uint8Array(BLOCK);
  #have = 0;
  #zeroBlocks = 0;
  #raw: RawHeader | undefined;
  /** Records for the next entry. */
  #pax: PaxRecords | undefined;
  #longName: ByteString | undefined;
  #longLink: ByteString | undefined;
  #meta = new Uint8Array(0);
  #metaHave = 0;
  /** Stored bytes of the current member still to come. */
  #left = 0;
  #padding = 0;
  #open = false;
  #offset = 0;
  /** Offsets and lengths in turn. */
  #map: number[] = [];
  #extent = 0;
  #realSize = 0;
  /** Pax sparse 1.0: the digits read so far and the number of values still expected. */
  #mapText = "";
  #mapWant = -1;
  #mapBytes = 0;

  constructor(handler: TarHandler) {
    this.#handler = handler;
  }

  /** True once the end-of-archive blocks were seen; later bytes are ignored. */
  get ended(): boolean {
    return this.#state === "ended";
  }

  /** Takes the next bytes. @throws invalid-argument on a broken archive; what the handler throws */
  push(chunk: Uint8Array): void {
    let at = 0;
    while (at < chunk.length) {
      switch (this.#state) {
        case "header":
        case "extents":
        case "sparse-map":
          at = this.#fill(chunk, at);
          break;
        case "meta":
          at = this.#takeMeta(chunk, at);
          break;
        case "data":
          at = this.#takeData(chunk, at);
          break;
        case "skip": {
          const take = Math.min(this.#left, chunk.length - at);
          this.#left -= take;
          at += take;
          if (this.#left === 0) this.#state = "header";
          break;
        }
        case "ended":
          return;
      }
    }
  }

  /** Tells the end of the stream. @throws invalid-argument when it ends inside a member */
  finish(): void {
    if (this.#state === "ended") return;
    if (this.#state !== "header" || this.#have !== 0 || this.#open)
      throw invalidArgument("read tar: unexpected end of archive");
    if (this.#pax !== undefined || this.#longName !== undefined || this.#longLink !== undefined)
      throw invalidArgument("read tar: archive ends after an extended header");
    this.#state = "ended";
  }

  /** Gathers one block and handles it; in place when the chunk holds all of it. */
  #fill(chunk: Uint8Array, at: number): number {
    if (this.#have === 0 && chunk.length - at >= BLOCK) {
      this.#handleBlock(chunk, at);
      return at + BLOCK;
    }
    const take = Math.min(BLOCK - this.#have, chunk.length - at);
    this.#block.set(chunk.subarray(at, at + take), this.#have);
    this.#have += take;
    if (this.#have === BLOCK) {
      this.#have = 0;
      this.#handleBlock(this.#block, 0);
    }
    return at + take;
  }

  #handleBlock(block: Uint8Array, at: number): void {
    if (this.#state === "extents") this.#takeExtents(block, at);
    else if (this.#state === "sparse-map") this.#takeSparseMap(block, at);
    else this.#takeHeader(block, at);
  }

  #takeHeader(block: Uint8Array, at: number): void {
    if (isZeroBlock(block, at)) {
      if (++this.#zeroBlocks === 2) this.#state = "ended";
      return;
    }
    if (this.#zeroBlocks > 0) throw invalidArgument("read tar: data after a zero block");
    const raw = parseHeader(block, at);
    switch (raw.type) {
      case TYPE.pax:
      case TYPE.solarisPax:
      case TYPE.gnuLongName:
      case TYPE.gnuLongLink:
        this.#startMeta(raw);
        return;
      case TYPE.paxGlobal: // containerd ignores global records too, so layers mean the same in both
        this.#raw = undefined;
        this.#skip(padded(raw.size));
        return;
    }
    this.#raw = raw;
    this.#map = [];
    if (raw.type === TYPE.gnuSparse) this.#startOldSparse(block, at, raw);
    else this.#begin(raw);
  }

  #skip(bytes: number): void {
    this.#left = bytes;
    this.#state = bytes === 0 ? "header" : "skip";
  }

  #startMeta(raw: RawHeader): void {
    if (raw.size > MAX_META)
      throw invalidArgument(`read tar: extended header of ${raw.size} bytes is too long (most: ${MAX_META})`);
    this.#raw = raw;
    this.#meta = new Uint8Array(raw.size);
    this.#metaHave = 0;
    this.#left = padded(raw.size);
    this.#state = "meta";
    if (raw.size === 0) this.#endMeta();
  }

  #takeMeta(chunk: Uint8Array, at: number): number {
    const take = Math.min(this.#left, chunk.length - at);
    const wanted = Math.min(take, this.#meta.length - this.#metaHave);
    if (wanted > 0) {
      this.#meta.set(chunk.subarray(at, at + wanted), this.#metaHave);
      this.#metaHave += wanted;
    }
    this.#left -= take;
    if (this.#left === 0) this.#endMeta();
    return at + take;
  }

  #endMeta(): void {
    const type = this.#raw?.type;
    this.#state = "header";
    if (type === TYPE.gnuLongName) this.#longName = untilNul(this.#meta);
    else if (type === TYPE.gnuLongLink) this.#longLink = untilNul(this.#meta);
    else this.#pax = parsePax(this.#meta);
  }

  /** Old GNU sparse files: four extents in the header, more in blocks that follow. */
  #startOldSparse(block: Uint8Array, at: number, raw: RawHeader): void {
    if (raw.format !== "gnu") throw invalidArgument("read tar: sparse member in a non-GNU archive");
    this.#realSize = parseNumber(block, at + 483, 12, "real size");
    this.#readExtents(block, at + 386, 4);
    if (block[at + 482] !== 0) this.#state = "extents";
    else this.#begin(raw);
  }

  #takeExtents(block: Uint8Array, at: number): void {
    this.#readExtents(block, at, 21);
    if (block[at + 504] !== 0) return;
    if (this.#raw !== undefined) this.#begin(this.#raw);
  }

  #readExtents(block: Uint8Array, at: number, count: number): void {
    for (let i = 0; i < count; i++) {
      const pos = at + i * 24;
      if (block[pos] === 0) break;
      if (this.#map.length >= MAX_EXTENTS * 2)
        throw invalidArgument("read tar: sparse map has too many entries");
      const offset = parseNumber(block, pos, 12, "sparse offset");
      const length = parseNumber(block, pos + 12, 12, "sparse length");
      if (offset < 0 || length < 0) throw invalidArgument("read tar: sparse map has a negative number");
      this.#map.push(offset, length);
    }
  }

  /** The header is complete: apply the records, then go to the data or the in-data sparse map. */
  #begin(raw: RawHeader): void {
    const pax = this.#pax;
    const stored = HEADER_ONLY.has(raw.type) ? 0 : (pax?.size ?? raw.size);
    this.#padding = padded(stored) - stored;
    this.#left = stored;
    if (raw.type === TYPE.gnuSparse) {
      if (this.#realSize < 0) throw invalidArgument("read tar: size is negative");
      this.#emit(raw, true);
      return;
    }
    const sparse = pax?.sparse;
    if (sparse === undefined || HEADER_ONLY.has(raw.type)) {
      this.#realSize = stored;
      this.#emit(raw, false);
      return;
    }
    this.#realSize = sparse.realSize ?? stored;
    if (sparse.major === 1 && sparse.minor === 0) {
      this.#mapText = "";
      this.#mapWant = -1;
      this.#mapBytes = 0;
      this.#state = "sparse-map";
      return;
    }
    if (sparse.major !== 0) throw invalidArgument("read tar: unknown sparse format");
    this.#map = sparse.map;
    this.#emit(raw, true);
  }

  /** Pax sparse 1.0: newline-separated decimals at the start of the data, padded to a block. */
  #takeSparseMap(block: Uint8Array, at: number): void {
    if (this.#left < BLOCK) throw invalidArgument("read tar: sparse map is incomplete");
    this.#left -= BLOCK;
    this.#mapBytes += BLOCK;
    if (this.#mapBytes > MAX_META * 2) throw invalidArgument("read tar: sparse map has too many entries");
    const text = this.#mapText + fromBytes(block, at, at + BLOCK);
    let pos = 0;
    while (this.#mapWant !== 0) {
      const end = text.indexOf("\n", pos);
      if (end < 0) break;
      const digits = text.slice(pos, end);
      if (!/^\d{1,15}$/.test(digits)) throw invalidArgument("read tar: sparse map is broken");
      const value = Number(digits);
      pos = end + 1;
      if (this.#mapWant < 0) {
        if (value > MAX_EXTENTS) throw invalidArgument("read tar: sparse map has too many entries");
        this.#mapWant = value * 2;
      } else {
        this.#map.push(value);
        this.#mapWant--;
      }
    }
    this.#mapText = text.slice(pos);
    if (this.#mapWant === 0) {
      if (this.#raw !== undefined) this.#emit(this.#raw, true);
    } else if (this.#mapText.length > 32) throw invalidArgument("read tar: sparse map is broken");
  }

  /** Tells the handler and starts the data. */
  #emit(raw: RawHeader, sparse: boolean): void {
    const pax = this.#pax;
    let type = raw.type;
    const name = pax?.sparse?.name ?? pax?.path ?? this.#longName ?? raw.name;
    if (type === TYPE.oldRegular) type = name.endsWith("/") ? TYPE.directory : TYPE.regular;
    else if (type === TYPE.contiguous || type === TYPE.gnuSparse) type = TYPE.regular;
    if (sparse) checkSparse(this.#map, this.#realSize, this.#left);
    else this.#map = this.#left === 0 ? [] : [0, this.#left];
    const entry: TarEntry = {
      type,
      name,
      linkname: pax?.linkpath ?? this.#longLink ?? raw.linkname,
      mode: raw.mode,
      uid: pax?.uid ?? raw.uid,
      gid: pax?.gid ?? raw.gid,
      size: this.#realSize,
      mtime: pax?.mtime ?? { sec: raw.mtime, nsec: 0 },
      atime: pax?.atime,
      devmajor: raw.devmajor,
      devminor: raw.devminor,
      xattrs: pax?.xattrs,
      sparse,
    };
    this.#pax = undefined;
    this.#longName = undefined;
    this.#longLink = undefined;
    this.#extent = 0;
    this.#offset = 0;
    this.#open = true;
    this.#handler.entry(entry);
    this.#nextExtent();
  }

  /** Moves to the next extent with data, or closes the entry. */
  #nextExtent(): void {
    while (this.#extent < this.#map.length) {
      this.#offset = 0;
      if ((this.#map[this.#extent + 1] ?? 0) > 0) {
        this.#state = "data";
        return;
      }
      this.#extent += 2;
    }
    this.#open = false;
    this.#handler.close();
    this.#skip(this.#padding);
  }

  #takeData(chunk: Uint8Array, at: number): number {
    const start = this.#map[this.#extent] ?? 0;
    const length = this.#map[this.#extent + 1] ?? 0;
    const take = Math.min(length - this.#offset, chunk.length - at);
    this.#handler.data(chunk.subarray(at, at + take), start + this.#offset);
    this.#offset += take;
    this.#left -= take;
    if (this.#offset === length) {
      this.#extent += 2;
      this.#nextExtent();
    }
    return at + take;
  }
}

/** Rounds up to whole blocks. */
function padded(size: number): number {
  return Math.ceil(size / BLOCK) * BLOCK;
}

function untilNul(bytes: Uint8Array): ByteString {
  const end = bytes.indexOf(0);
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString(
    "latin1",
    0,
    end < 0 ? bytes.length : end,
  );
}
