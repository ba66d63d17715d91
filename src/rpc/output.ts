import { Buffer } from "node:buffer";
import { nextTick } from "node:process";
import { createDeferred, type Deferred } from "../lib/deferred.ts";
import type { ByteStream } from "../platform/net/byte-stream.ts";

/** Size of the buffers that small chunks are joined in. Runtimes join them anyway, into fresh memory each time. */
const JOIN = 256 * 1024;
/** Joined buffers kept for the next write, over all connections. */
const KEEP = 4;
/** Up to this many bytes are joined in a small buffer of their own. */
const SMALL = 8 * 1024;
/** Chunks from this size on are written as they are. */
const DIRECT = 128 * 1024;
/** Bytes collected at which DATA waits for the next write. */
const HIGH_WATER = 240 * 1024;

/** Longest time that a chunk nobody is in a hurry for waits for another one. Milliseconds. */
const COMPANY_MS = 5;

const free: Uint8Array[] = [];

/**
 * Collects what a connection wants to write in one turn and hands it to the socket at once. `push` never fails;
 * callers ask {@link blocked} before they make more DATA.
 */
export class Output {
  readonly #socket: ByteStream;
  readonly #fill: () => void;
  #chunks: Uint8Array[] = [];
  #bytes = 0;
  #scheduled = false;
  #waiting = false;
  #ended = false;
  #drained: Deferred<void> | undefined;
  /** What is in no hurry; it goes in front of what is written next. */
  #later: Uint8Array[] = [];
  #laterBytes = 0;
  #company: NodeJS.Timeout | undefined;

  /** @param fill called once before each write: puts DATA that may go now in with `push` */
  constructor(socket: ByteStream, fill: () => void = () => {}) {
    this.#socket = socket;
    this.#fill = fill;
    socket.on("drain", () => {
      this.#waiting = false;
      this.#wake();
      this.schedule();
    });
  }

  /** True while the peer does not read fast enough. Control frames may still be pushed. */
  get blocked(): boolean {
    return this.#waiting || this.#bytes >= HIGH_WATER;
  }

  /** Bytes not taken by the kernel yet. */
  get pending(): number {
    return this.#bytes + this.#laterBytes + this.#socket.writableLength;
  }

  /** Resolves when the socket took what it was given, or will take nothing more. */
  drained(): Promise<void> | undefined {
    if (!this.blocked || this.#ended) return undefined;
    this.#drained ??= createDeferred<void>();
    return this.#drained.promise;
  }

  push(chunk: Uint8Array): void {
    if (this.#ended) return;
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
    this.schedule();
  }

  /** The same for what need not leave at once: it goes with the next write, or alone after a while. */
  pushLater(chunk: Uint8Array): void {
    if (this.#ended) return;
    this.#later.push(chunk);
    this.#laterBytes += chunk.length;
    this.#company ??= setTimeout(() => {
      this.#company = undefined;
      this.#takeLater();
      this.schedule();
    }, COMPANY_MS);
  }

  #takeLater(): void {
    if (this.#laterBytes === 0) return;
    this.#chunks = [...this.#later, ...this.#chunks];
    this.#bytes += this.#laterBytes;
    this.#later = [];
    this.#laterBytes = 0;
  }

  /** Writes at the end of this turn. */
  schedule(): void {
    if (this.#scheduled || this.#ended) return;
    this.#scheduled = true;
    // A tick queued from a microtask runs when all microtasks are done: an answer's headers, message and trailers,
    // and the answers of all calls that need no I/O, leave in one write.
    queueMicrotask(this.#soon);
  }

  readonly #soon = (): void => {
    nextTick(this.#run);
  };

  readonly #run = (): void => {
    this.#scheduled = false;
    this.flush();
  };

  /** Writes now. */
  flush(): void {
    if (this.#ended) return;
    this.#fill();
    if (this.#bytes === 0) return;
    this.#takeLater();
    const chunks = this.#chunks;
    const bytes = this.#bytes;
    this.#chunks = [];
    this.#bytes = 0;
    this.#waiting = !this.#write(chunks, bytes) || this.#waiting;
    if (!this.#waiting) this.#wake();
  }

  #write(chunks: readonly Uint8Array[], bytes: number): boolean {
    if (chunks.length === 1) return this.#socket.write(chunks[0] as Uint8Array);
    if (bytes <= SMALL) return this.#socket.write(Buffer.concat(chunks, bytes));
    let ok = true;
    let buffer: Uint8Array | undefined;
    let fill = 0;
    const send = (): void => {
      if (buffer === undefined || fill === 0) return;
      const full = buffer;
      ok = this.#socket.write(full.subarray(0, fill), (err) => {
        // After an error the runtime may still be reading it.
        if (err == null && free.length < KEEP) free.push(full);
      });
      buffer = undefined;
      fill = 0;
    };
    for (const chunk of chunks) {
      if (chunk.length >= DIRECT) {
        send();
        ok = this.#socket.write(chunk);
        continue;
      }
      for (let at = 0; at < chunk.length; ) {
        buffer ??= free.pop() ?? Buffer.allocUnsafeSlow(JOIN);
        const n = Math.min(chunk.length - at, JOIN - fill);
        buffer.set(n === chunk.length ? chunk : chunk.subarray(at, at + n), fill);
        fill += n;
        at += n;
        if (fill === JOIN) send();
      }
    }
    send();
    return ok;
  }

  /** Writes what is left and half-closes. Later pushes are dropped. */
  end(): void {
    if (this.#ended) return;
    this.#takeLater();
    this.flush();
    clearTimeout(this.#company);
    this.#ended = true;
    this.#socket.end();
    this.#wake();
  }

  /** Drops everything; nothing is written any more. */
  stop(): void {
    clearTimeout(this.#company);
    this.#ended = true;
    this.#chunks = [];
    this.#bytes = 0;
    this.#later = [];
    this.#laterBytes = 0;
    this.#wake();
  }

  #wake(): void {
    const drained = this.#drained;
    this.#drained = undefined;
    drained?.resolve();
  }
}
