import { createDeferred, type Deferred } from "../../lib/deferred.ts";

/**
 * Shares one flush among all that wait for it. A caller that arrives while a flush runs waits for the next one, because
 * the running flush may have started before the caller's data was written.
 */
export class GroupSync {
  readonly #flush: () => Promise<void>;
  #running = false;
  #next: Deferred<void> | undefined;

  constructor(flush: () => Promise<void>) {
    this.#flush = flush;
  }

  /** Resolves when everything written before this call is on disk. @throws what the flush throws */
  wait(): Promise<void> {
    this.#next ??= createDeferred<void>();
    const mine = this.#next.promise;
    if (!this.#running) void this.#run();
    return mine;
  }

  async #run(): Promise<void> {
    this.#running = true;
    for (let turn = this.#next; turn !== undefined; turn = this.#next) {
      this.#next = undefined;
      try {
        await this.#flush();
        turn.resolve();
      } catch (err) {
        turn.reject(err);
      }
    }
    this.#running = false;
  }
}
