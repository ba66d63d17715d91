import { createDeferred, type Deferred } from "../lib/deferred.ts";

/**
 * Messages that arrived for one side of a call, read by one consumer. The transport bounds what is inside by flow
 * control and learns through `onTake` when a message was taken.
 */
export class MessageQueue<T> implements AsyncIterableIterator<T, undefined> {
  #items: { readonly bytes: Uint8Array; readonly size: number }[] = [];
  readonly #decode: (bytes: Uint8Array) => T;
  readonly #onTake: (size: number) => void;
  readonly #onReturn: () => void;
  #waiter: Deferred<void> | undefined;
  #ended = false;
  #error: unknown;
  #failed = false;

  /**
   * @param decode called when the message is taken; what it throws, the reader gets
   * @param onTake a message of this size was taken or dropped
   * @param onReturn the reader left before the end
   */
  constructor(
    decode: (bytes: Uint8Array) => T,
    onTake: (size: number) => void = () => {},
    onReturn: () => void = () => {},
  ) {
    this.#decode = decode;
    this.#onTake = onTake;
    this.#onReturn = onReturn;
  }

  /** Adds a message. `size` is handed to `onTake`. */
  push(bytes: Uint8Array, size: number): void {
    if (this.#ended) {
      this.#onTake(size);
      return;
    }
    this.#items.push({ bytes, size });
    this.#wake();
  }

  /** No more messages. */
  end(): void {
    this.#ended = true;
    this.#wake();
  }

  /** The reader gets `error` at once; messages inside are dropped. */
  fail(error: unknown): void {
    if (this.#failed || (this.#ended && this.#items.length === 0)) return;
    this.#failed = true;
    this.#error = error;
    this.#drop();
    this.#ended = true;
    this.#wake();
  }

  /** The reader gets what is inside, then `error`. */
  endWith(error: unknown): void {
    if (this.#ended) return;
    this.#failed = true;
    this.#error = error;
    this.#ended = true;
    this.#wake();
  }

  async next(): Promise<IteratorResult<T, undefined>> {
    for (;;) {
      const item = this.#items.shift();
      if (item !== undefined) {
        this.#onTake(item.size);
        return { done: false, value: this.#decode(item.bytes) };
      }
      if (this.#failed) {
        // Thrown once, as a generator would.
        this.#failed = false;
        throw this.#error;
      }
      if (this.#ended) return { done: true, value: undefined };
      this.#waiter ??= createDeferred<void>();
      await this.#waiter.promise;
    }
  }

  async return(): Promise<IteratorResult<T, undefined>> {
    const early = !this.#ended || this.#items.length > 0;
    this.#ended = true;
    this.#failed = false;
    this.#drop();
    if (early) this.#onReturn();
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): AsyncIterableIterator<T, undefined> {
    return this;
  }

  #drop(): void {
    for (const { size } of this.#items.splice(0)) this.#onTake(size);
  }

  #wake(): void {
    const waiter = this.#waiter;
    this.#waiter = undefined;
    waiter?.resolve();
  }
}
