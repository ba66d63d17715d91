/** Downloads one blob in several ranges at a time and hands the bytes on in order; memory is bounded by permits. */
import { createDeferred } from "../lib/deferred.ts";
import type { Semaphore } from "../lib/semaphore.ts";

/** How one download may be split. */
export interface RangeOptions {
  /** Bytes of one range; each range in flight may hold as many in memory. */
  readonly chunkBytes: number;
  /** Connections beyond the one that the caller has: taken only while nobody waits for one. */
  readonly connections: Semaphore;
  /** Ranges held in memory beyond the first, in all downloads that share it. */
  readonly buffers: Semaphore;
}

/** Bytes of `[from, to)`, exactly. */
export type OpenRange = (from: number, to: number, signal: AbortSignal) => AsyncIterable<Uint8Array>;

/** One range on its way. */
class Part {
  readonly #queue: Uint8Array[] = [];
  #wake = createDeferred<void>();
  #ended = false;
  #failure: unknown;
  /** Permits that this part alone holds. */
  connection: Disposable | undefined;
  buffer: Disposable | undefined;

  constructor(connection: Disposable | undefined, buffer: Disposable | undefined) {
    this.connection = connection;
    this.buffer = buffer;
  }

  async fill(source: AsyncIterable<Uint8Array>): Promise<void> {
    try {
      // Chunks are copied: their buffers go back to the connection.
      for await (const chunk of source) {
        this.#queue.push(new Uint8Array(chunk));
        this.#wake.resolve();
      }
    } catch (err) {
      this.#failure = err ?? new Error("range failed");
    } finally {
      this.#ended = true;
      this.#wake.resolve();
      this.connection?.[Symbol.dispose]();
      this.connection = undefined;
    }
  }

  /** @throws what the download threw, after the bytes before it */
  async *drain(): AsyncGenerator<Uint8Array, void, undefined> {
    for (;;) {
      const chunk = this.#queue.shift();
      if (chunk !== undefined) {
        yield chunk;
        continue;
      }
      if (this.#failure !== undefined) throw this.#failure;
      if (this.#ended) return;
      this.#wake = createDeferred<void>();
      await this.#wake.promise;
    }
  }

  release(): void {
    this.connection?.[Symbol.dispose]();
    this.buffer?.[Symbol.dispose]();
    this.connection = undefined;
    this.buffer = undefined;
  }
}

/**
 * The bytes of `[from, size)` in order. The first failure ends it; every other range is stopped then.
 * @param own resolves when the caller's own connection is free; default: it is
 */
export async function* parallelRanges(
  open: OpenRange,
  from: number,
  size: number,
  o: RangeOptions,
  signal: AbortSignal,
  own?: Promise<void>,
): AsyncGenerator<Uint8Array, void, undefined> {
  const stop = new AbortController();
  const inner = AbortSignal.any([signal, stop.signal]);
  const parts: Part[] = [];
  let next = from;
  // The caller's own connection, and memory for one range, need no permit.
  let ownConnection = own === undefined;
  let ownBuffer = true;
  const launch = (): boolean => {
    if (next >= size || stop.signal.aborted) return false;
    const connection = ownConnection ? undefined : o.connections.tryAcquire();
    if (!ownConnection && connection === undefined) return false;
    const buffer = ownBuffer ? undefined : o.buffers.tryAcquire();
    if (!ownBuffer && buffer === undefined) {
      connection?.[Symbol.dispose]();
      return false;
    }
    if (connection === undefined) ownConnection = false;
    if (buffer === undefined) ownBuffer = false;
    const to = Math.min(next + o.chunkBytes, size);
    const part = new Part(connection, buffer);
    parts.push(part);
    part.fill(open(next, to, inner)).finally(() => {
      if (connection === undefined) ownConnection = true;
      pump();
    });
    next = to;
    return true;
  };
  const pump = (): void => {
    while (launch());
  };
  const freed = own?.then(() => {
    ownConnection = true;
    pump();
  });
  try {
    pump();
    for (;;) {
      const head = parts[0];
      if (head === undefined) {
        if (next >= size) return;
        await freed;
        continue;
      }
      for await (const chunk of head.drain()) {
        yield chunk;
        // Permits may have become free elsewhere.
        pump();
      }
      parts.shift();
      if (head.buffer === undefined) ownBuffer = true;
      head.release();
      pump();
    }
  } finally {
    stop.abort();
    for (const part of parts) part.release();
  }
}
