import { createGunzip, createZstdDecompress, type Gunzip, type ZstdDecompress } from "node:zlib";
import { invalidArgument, messageOf } from "../../../core/errors.ts";
import { ZstdFrames } from "./zstd-frames.ts";

/** Size of the pieces the decompressor gives; the default of 16 KiB costs twice the time (stack.md 6). */
const CHUNK = 256 * 1024;

/** Takes some input ahead: its thread need not wait for ours. */
const STREAM = { chunkSize: CHUNK, writableHighWaterMark: 1024 * 1024 };

/** What the first bytes of a stream say. */
export type Compression = "gzip" | "zstd" | "none";

/** Detects by magic number; needs four bytes, fewer mean `none`. */
function detectCompression(head: Uint8Array): Compression {
  if (head[0] === 0x1f && head[1] === 0x8b) return "gzip";
  if (head[0] === 0x28 && head[1] === 0xb5 && head[2] === 0x2f && head[3] === 0xfd) return "zstd";
  // A skippable frame may come first (zstd:chunked, seekable zstd).
  if (((head[0] ?? 0) & 0xf0) === 0x50 && head[1] === 0x2a && head[2] === 0x4d && head[3] === 0x18)
    return "zstd";
  return "none";
}

/**
 * Takes compressed bytes, gives plain ones to a synchronous sink. Multi-member gzip is one stream; bytes after the end
 * that are no member, and streams that stop early, are errors. The work runs in the runtime's own threads.
 */
export class Decompressor {
  readonly #sink: (bytes: Uint8Array) => void;
  #head: Uint8Array | undefined = new Uint8Array(0);
  #stream: Gunzip | ZstdDecompress | undefined;
  #kind: Compression = "none";
  #frames: ZstdFrames | undefined;
  /** Came from the stream, waits for the sink: one piece, as a rule. */
  readonly #pieces: Uint8Array[] = [];
  #taken = 0;
  #error: unknown;
  #wake: (() => void) | undefined;
  #ended = false;

  constructor(compression: "detect" | "none", sink: (bytes: Uint8Array) => void) {
    this.#sink = sink;
    if (compression === "none") this.#head = undefined;
  }

  /** Takes bytes; they may not change until it resolves, nor until the sink got them. Resolves when more may come. */
  async write(bytes: Uint8Array): Promise<void> {
    let chunk = bytes;
    if (this.#head !== undefined) {
      chunk = concat(this.#head, bytes);
      if (chunk.length < 4) {
        this.#head = chunk;
        return;
      }
      this.#start(chunk);
    }
    await this.#pass(chunk);
  }

  /** Tells the end; resolves when the sink has got everything. @throws invalid-argument on a broken stream */
  async end(): Promise<void> {
    if (this.#head !== undefined) {
      const head = this.#head;
      this.#start(head);
      await this.#pass(head);
    }
    const stream = this.#stream;
    if (stream === undefined) return;
    stream.end();
    while (!this.#ended && this.#error === undefined) await this.#waiting();
    this.#drain();
    this.#check();
    if (this.#frames?.complete === false)
      throw invalidArgument("decompress zstd layer: unexpected end of stream");
    if (stream.bytesWritten < this.#taken)
      throw invalidArgument(`decompress ${this.#kind} layer: data after the end of the stream`);
  }

  #start(head: Uint8Array): void {
    this.#head = undefined;
    this.#kind = detectCompression(head);
    if (this.#kind === "none") return;
    const stream = this.#kind === "gzip" ? createGunzip(STREAM) : createZstdDecompress(STREAM);
    this.#stream = stream;
    if (this.#kind === "zstd") this.#frames = new ZstdFrames();
    const wake = () => this.#wake?.();
    stream.on("data", (data: Uint8Array) => {
      // The stream gives its thread the next piece when this returns: only then is the sink's turn, so that both work.
      if (this.#pieces.push(data) === 1) queueMicrotask(() => this.#drain());
    });
    stream.on("drain", wake);
    stream.on("end", () => {
      this.#ended = true;
      wake();
    });
    stream.on("error", (err: unknown) => {
      this.#error ??= invalidArgument(`decompress ${this.#kind} layer: ${messageOf(err)}`, { cause: err });
      wake();
    });
  }

  async #pass(chunk: Uint8Array): Promise<void> {
    this.#check();
    if (chunk.length === 0) return;
    const stream = this.#stream;
    if (stream === undefined) {
      this.#sink(chunk);
      return;
    }
    this.#frames?.push(chunk);
    this.#taken += chunk.length;
    if (stream.write(chunk)) return;
    while (stream.writableNeedDrain && this.#error === undefined) await this.#waiting();
    this.#check();
  }

  /** Gives the sink what came. */
  #drain(): void {
    for (const piece of this.#pieces.splice(0)) {
      if (this.#error !== undefined) return;
      try {
        this.#sink(piece);
      } catch (err) {
        this.#error = err;
        this.#wake?.();
      }
    }
  }

  #waiting(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }

  #check(): void {
    if (this.#error !== undefined) throw this.#error;
  }
}

function concat(a: Uint8Array, b: Uint8Array): Uint8Array {
  if (a.length === 0) return b;
  const all = new Uint8Array(a.length + b.length);
  all.set(a);
  all.set(b, a.length);
  return all;
}
