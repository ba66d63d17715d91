import { createDeferred, type Deferred } from "../../lib/deferred.ts";

/**
 * Shares one flush among all that wait for it. A caller that arrives while a flush runs waits for the next one, because
 * the running flush may have started before the caller's data was written.
 */
export class GroupSync {
  readonly #flush: () => Promise<void>;
  #running = false;
  #turn: Deferred<void> | undefined;
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

  /** Resolves when the flush that runs now is over, however it ends; at once when none does. */
  async current(): Promise<void> {
    await this.#turn?.promise.catch(() => {});
  }

  async #run(): Promise<void> {
    this.#running = true;
    for (let turn = this.#next; turn !== undefined; turn = this.#next) {
      this.#turn = turn;
      this.#next = undefined;
      try {
        await this.#flush();
        turn.resolve();
      } catch (err) {
        turn.reject(err);
      }
    }
    this.#turn = undefined;
    this.#running = false;
  }
}
