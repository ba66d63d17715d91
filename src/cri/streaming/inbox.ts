import { createDeferred, type Deferred } from "../../lib/deferred.ts";

/** Charged for each chunk on top of its bytes, so that many tiny chunks are bounded too. */
const CHUNK_COST = 128;
/** Smaller chunks are copied: a view would keep the whole read buffer alive. Bytes. */
const COPY_BELOW = 4096;

/** Bytes that a connection received and the runtime has not taken; shared by all its streams. */
export class Budget {
  readonly #limit: number;
  #used = 0;
  #room: Deferred<void> | undefined;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Bytes held now. */
  get used(): number {
    return this.#used;
  }

  /** Resolves when less than the limit is held: the reader of a connection waits here. */
  async room(): Promise<void> {
    while (this.#used >= this.#limit) {
      this.#room ??= createDeferred<void>();
      await this.#room.promise;
    }
  }

  charge(bytes: number): void {
    this.#used += bytes;
  }

  release(bytes: number): void {
    this.#used -= bytes;
    if (this.#used >= this.#limit) return;
    this.#room?.resolve();
    this.#room = undefined;
  }
}

/** What one stream received: filled by the connection, read by the runtime with `for await`. */
export class Inbox implements AsyncIterable<Uint8Array> {
  readonly #budget: Budget;
  #chunks: Uint8Array[] = [];
  #ended = false;
  #wake: Deferred<void> | undefined;

  constructor(budget: Budget) {
    this.#budget = budget;
  }

  /** Adds received bytes; dropped when the stream ended or its reader left. */
  push(chunk: Uint8Array): void {
    if (this.#ended || chunk.length === 0) return;
    this.#budget.charge(chunk.length + CHUNK_COST);
    this.#chunks.push(chunk.length < COPY_BELOW ? chunk.slice() : chunk);
    this.#signal();
  }

  /** No more comes: the reader gets what is held, then the end. */
  end(): void {
    this.#ended = true;
    this.#signal();
  }

  /** Ends and drops what is held. */
  discard(): void {
    this.#ended = true;
    for (const chunk of this.#chunks.splice(0)) this.#budget.release(chunk.length + CHUNK_COST);
    this.#signal();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, undefined> {
    try {
      for (;;) {
        for (const chunk of this.#chunks.splice(0, 1)) {
          // Released once the reader comes back for more: only then is it really gone.
          try {
            yield chunk;
          } finally {
            this.#budget.release(chunk.length + CHUNK_COST);
          }
        }
        if (this.#chunks.length > 0) continue;
        if (this.#ended) return;
        this.#wake = createDeferred<void>();
        await this.#wake.promise;
      }
    } finally {
      this.discard();
    }
  }

  #signal(): void {
    this.#wake?.resolve();
    this.#wake = undefined;
  }
}
