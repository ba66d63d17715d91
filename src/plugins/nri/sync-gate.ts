import { createDeferred, type Deferred } from "../../lib/deferred.ts";

/**
 * Keeps the synchronization of a plugin and the creation of containers apart: either creations, as many as come, or one
 * synchronization. A synchronization that waits goes before creations that come later.
 */
export class SyncGate {
  #creating = 0;
  #synchronizing = false;
  readonly #waitingSyncs: Deferred<void>[] = [];
  readonly #waitingCreations: Deferred<void>[] = [];

  /** Waits while a plugin is (or is about to be) synchronized. */
  async create(): Promise<Disposable> {
    while (this.#synchronizing || this.#waitingSyncs.length > 0) {
      const turn = createDeferred<void>();
      this.#waitingCreations.push(turn);
      await turn.promise;
    }
    this.#creating++;
    return once(() => {
      this.#creating--;
      this.#next();
    });
  }

  /** Waits for creations that run, at most `ms` milliseconds: one that is stuck must not stop the others. */
  async synchronize(ms: number): Promise<Disposable> {
    if (this.#synchronizing || this.#creating > 0) {
      const turn = createDeferred<void>();
      this.#waitingSyncs.push(turn);
      const timer = setTimeout(() => {
        const at = this.#waitingSyncs.indexOf(turn);
        if (at < 0 || this.#synchronizing) return;
        this.#waitingSyncs.splice(at, 1);
        this.#synchronizing = true;
        turn.resolve();
      }, ms);
      await turn.promise;
      clearTimeout(timer);
    } else {
      this.#synchronizing = true;
    }
    return once(() => {
      this.#synchronizing = false;
      this.#next();
    });
  }

  #next(): void {
    if (this.#synchronizing) return;
    if (this.#creating === 0) {
      const sync = this.#waitingSyncs.shift();
      if (sync !== undefined) {
        this.#synchronizing = true;
        sync.resolve();
        return;
      }
    }
    if (this.#waitingSyncs.length === 0)
      for (const creation of this.#waitingCreations.splice(0)) creation.resolve();
  }
}

function once(release: () => void): Disposable {
  let done = false;
  return {
    [Symbol.dispose]() {
      if (done) return;
      done = true;
      release();
    },
  };
}
