import { createDeferred, type Deferred } from "./deferred.ts";

/** Thrown by {@link AsyncQueue.push} after the queue ended: the reader is gone or `close` was called. */
export class QueueClosedError extends Error {
  override readonly name = "QueueClosedError";
}

/**
 * A bounded queue read by `for await`, with backpressure: `push` resolves when there is room for more.
 * One reader; any number of writers. Leaving the loop early closes the queue and drops what is inside.
 */
export class AsyncQueue<T> implements AsyncIterable<T> {
  readonly #items: T[] = [];
  readonly #capacity: number;
  #head = 0;
  #reader: Deferred<void> | undefined;
  #writers: Deferred<void>[] = [];
  #end: { readonly error?: unknown } | undefined;

  /** @param capacity items held before `push` starts to wait */
  constructor(capacity = 64) {
    this.#capacity = capacity;
  }

  /** Items waiting for the reader. */
  get size(): number {
    return this.#items.length - this.#head;
  }

  /** True after `close`, `fail` or the reader leaving. */
  get closed(): boolean {
    return this.#end !== undefined;
  }

  /**
   * Adds one item. Resolves at once while there is room, else when the reader made room.
   * @throws QueueClosedError (or the reason of `fail`) when the queue has ended
   */
  async push(item: T): Promise<void> {
    while (this.#end === undefined && this.size >= this.#capacity) {
      const turn = createDeferred<void>();
      this.#writers.push(turn);
      await turn.promise;
    }
    if (this.#end !== undefined) throw this.#endReason();
    this.#items.push(item);
    this.#wakeReader();
  }

  /** Adds one item without waiting; false when the queue is full or has ended (the item is dropped). */
  tryPush(item: T): boolean {
    if (this.#end !== undefined || this.size >= this.#capacity) return false;
    this.#items.push(item);
    this.#wakeReader();
    return true;
  }

  /** Ends the queue: the reader gets what is inside, then the end. */
  close(): void {
    this.#finish({});
  }

  /** Ends the queue with an error that the reader gets after what is inside. */
  fail(error: unknown): void {
    this.#finish({ error });
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T, void, undefined> {
    try {
      for (;;) {
        while (this.size > 0) {
          const item = this.#items[this.#head++] as T;
          if (this.#head > 64 && this.#head * 2 > this.#items.length) {
            this.#items.splice(0, this.#head);
            this.#head = 0;
          }
          this.#writers.shift()?.resolve();
          yield item;
        }
        if (this.#end !== undefined) {
          if ("error" in this.#end) throw this.#end.error;
          return;
        }
        this.#reader = createDeferred<void>();
        await this.#reader.promise;
      }
    } finally {
      this.close();
      this.#items.length = 0;
      this.#head = 0;
    }
  }

  #endReason(): unknown {
    if (this.#end !== undefined && "error" in this.#end) return this.#end.error;
    return new QueueClosedError("push to queue: closed");
  }

  #finish(end: { readonly error?: unknown }): void {
    if (this.#end !== undefined) return;
    this.#end = end;
    this.#wakeReader();
    for (const writer of this.#writers.splice(0)) writer.resolve();
  }

  #wakeReader(): void {
    const reader = this.#reader;
    this.#reader = undefined;
    reader?.resolve();
  }
}
