import { Buffer } from "node:buffer";
import type { Duplex } from "node:stream";
import { createDeferred, type Deferred } from "../lib/deferred.ts";

/** Small chunks up to this many bytes together are copied into one write. */
const JOIN = 64 * 1024;
/** Bytes the socket may hold before DATA waits for `drain`. */
const HIGH_WATER = 512 * 1024;

/**
 * Collects what a connection wants to write in one turn and hands it to the socket at once. `push` never fails;
 * callers ask {@link blocked} before they make more DATA.
 */
export class Output {
  readonly #socket: Duplex;
  readonly #fill: () => void;
  #chunks: Uint8Array[] = [];
  #bytes = 0;
  #scheduled = false;
  #waiting = false;
  #ended = false;
  #drained: Deferred<void> | undefined;

  /** @param fill called once before each write: puts DATA that may go now in with `push` */
  constructor(socket: Duplex, fill: () => void = () => {}) {
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
    return this.#bytes + this.#socket.writableLength;
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

  /** Writes at the end of this turn. */
  schedule(): void {
    if (this.#scheduled || this.#ended) return;
    this.#scheduled = true;
    queueMicrotask(this.#run);
  }

  readonly #run = (): void => {
    this.#scheduled = false;
    this.flush();
  };

  /** Writes now. */
  flush(): void {
    if (this.#ended) return;
    this.#fill();
    if (this.#bytes === 0) return;
    const chunks = this.#chunks;
    const bytes = this.#bytes;
    this.#chunks = [];
    this.#bytes = 0;
    this.#waiting = !this.#write(chunks, bytes) || this.#waiting;
    if (!this.#waiting) this.#wake();
  }

  #write(chunks: Uint8Array[], bytes: number): boolean {
    if (chunks.length === 1) return this.#socket.write(chunks[0] as Uint8Array);
    if (bytes <= JOIN) return this.#socket.write(Buffer.concat(chunks, bytes));
    this.#socket.cork();
    let ok = true;
    let from = 0;
    let run = 0;
    for (let i = 0; i <= chunks.length; i++) {
      const length = chunks[i]?.length ?? 0;
      if (i < chunks.length && run + length <= JOIN) {
        run += length;
        continue;
      }
      if (i > from) {
        const group = chunks.slice(from, i);
        ok =
          this.#socket.write(group.length === 1 ? (group[0] as Uint8Array) : Buffer.concat(group, run)) && ok;
      }
      from = i;
      run = length;
    }
    this.#socket.uncork();
    return ok;
  }

  /** Writes what is left and half-closes. Later pushes are dropped. */
  end(): void {
    if (this.#ended) return;
    this.flush();
    this.#ended = true;
    this.#socket.end();
    this.#wake();
  }

  /** Drops everything; nothing is written any more. */
  stop(): void {
    this.#ended = true;
    this.#chunks = [];
    this.#bytes = 0;
    this.#wake();
  }

  #wake(): void {
    const drained = this.#drained;
    this.#drained = undefined;
    drained?.resolve();
  }
}
