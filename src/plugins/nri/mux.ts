/**
 * Several byte streams over one connection, as NRI does it: frames of 4 bytes stream number, 4 bytes length (both big endian)
 * and the payload. The engine calls the plugin on stream 1, the plugin calls the engine on stream 2.
 *
 * Go's side reads one frame with each read of its ttrpc channel, into a buffer of 4096 bytes for what comes first and into
 * one of the message's own size for the rest, and fails when a frame is larger; it also gives up on a stream with 256 frames
 * not yet read. So a ttrpc message goes out as one frame of at most 4096 bytes and one with all the rest.
 */
import { Buffer } from "node:buffer";
import { Duplex } from "node:stream";

export const PLUGIN_STREAM = 1;
export const RUNTIME_STREAM = 2;

const HEADER = 8;
const TTRPC_HEADER = 10;
/** Largest ttrpc message with its header. */
const PAYLOAD_MAX = TTRPC_HEADER + (4 << 20);
const FIRST_MAX = 4096;
/** Bytes received and not read on one stream, above which the connection stops reading. */
const UNREAD_MAX = 8 << 20;

/** How long a peer may take to read our last bytes. */
const LINGER_MS = 1000;

/** A connection cut into streams. */
export class Mux {
  readonly #trunk: Duplex;
  readonly #streams = new Map<number, Stream>();
  #head = Buffer.alloc(0);
  #need = 0;
  #stream: Stream | undefined;
  #closed = false;

  /** Takes over `trunk`. */
  constructor(trunk: Duplex) {
    this.#trunk = trunk;
    trunk.on("data", (chunk: Uint8Array) => this.#receive(chunk));
    trunk.on("end", () => this.close());
    trunk.on("close", () => this.close());
    trunk.on("error", () => this.close());
  }

  /** The stream with this number; data for streams that were not opened is dropped. */
  open(id: number): Duplex {
    let stream = this.#streams.get(id);
    if (stream === undefined) {
      stream = new Stream(id, this.#trunk);
      this.#streams.set(id, stream);
    }
    return stream;
  }

  /** Ends the connection and every stream. Idempotent. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    // what was written still goes out, to a peer that reads
    const timer = setTimeout(() => this.#trunk.destroy(), LINGER_MS);
    timer.unref();
    this.#trunk.end(() => {
      clearTimeout(timer);
      this.#trunk.destroy();
    });
    for (const stream of this.#streams.values()) stream.over();
  }

  #receive(chunk: Uint8Array): void {
    let at = 0;
    if (this.#closed) return;
    while (at < chunk.length && !this.#closed) {
      if (this.#need === 0) {
        const part = chunk.subarray(at, at + HEADER - this.#head.length);
        at += part.length;
        this.#head = Buffer.concat([this.#head, part]);
        if (this.#head.length < HEADER) return;
        const id = this.#head.readUInt32BE(0);
        this.#need = this.#head.readUInt32BE(4);
        this.#head = Buffer.alloc(0);
        // there is no way to find the next frame after a bad one
        if (this.#need > PAYLOAD_MAX) this.close();
        this.#stream = this.#streams.get(id);
        continue;
      }
      const part = chunk.subarray(at, at + this.#need);
      at += part.length;
      this.#need -= part.length;
      if (this.#stream?.receive(part) === false) this.close();
    }
  }
}

class Stream extends Duplex {
  readonly #id: number;
  readonly #trunk: Duplex;
  #out: Buffer = Buffer.alloc(0);

  constructor(id: number, trunk: Duplex) {
    super({ allowHalfOpen: false, readableHighWaterMark: UNREAD_MAX });
    this.#id = id;
    this.#trunk = trunk;
    this.on("error", () => {});
  }

  /** False when the reader is too far behind. */
  receive(chunk: Uint8Array): boolean {
    if (this.destroyed || this.readableEnded) return true;
    this.push(Buffer.from(chunk));
    return this.readableLength <= UNREAD_MAX * 2;
  }

  over(): void {
    if (!this.destroyed && !this.readableEnded) this.push(null);
    this.destroy();
  }

  override _read(): void {}

  override _write(chunk: Uint8Array, _encoding: string, done: (err?: Error | null) => void): void {
    this.#out = this.#out.length === 0 ? Buffer.from(chunk) : Buffer.concat([this.#out, chunk]);
    const frames: Buffer[] = [];
    while (this.#out.length >= TTRPC_HEADER) {
      const length = TTRPC_HEADER + this.#out.readUInt32BE(0);
      if (this.#out.length < length) break;
      const first = Math.min(length, FIRST_MAX);
      frames.push(this.#header(first), this.#out.subarray(0, first));
      if (length > first) frames.push(this.#header(length - first), this.#out.subarray(first, length));
      this.#out = this.#out.subarray(length);
    }
    if (frames.length === 0) {
      done();
      return;
    }
    // once the connection is going, what would be said goes nowhere; its end tells everybody
    if (this.#trunk.destroyed || this.#trunk.writableEnded) {
      done();
      return;
    }
    this.#trunk.write(Buffer.concat(frames), () => done());
  }

  override _destroy(err: Error | null, done: (err?: Error | null) => void): void {
    this.#out = Buffer.alloc(0);
    done(err);
  }

  #header(length: number): Buffer {
    const header = Buffer.alloc(HEADER);
    header.writeUInt32BE(this.#id, 0);
    header.writeUInt32BE(length, 4);
    return header;
  }
}
