interface Waiter {
  readonly weight: number;
  readonly grant: () => void;
}

/** A counting semaphore, first come first served. `using permit = await semaphore.acquire()` releases at block end. */
export class Semaphore {
  #free: number;
  readonly #capacity: number;
  readonly #waiters: Waiter[] = [];

  /** @param capacity number of permits, at least 1 */
  constructor(capacity: number) {
    if (!Number.isInteger(capacity) || capacity < 1) {
      throw new RangeError(`semaphore capacity "${capacity}": want a whole number of at least 1`);
    }
    this.#capacity = capacity;
    this.#free = capacity;
  }

  /** Permits free right now. */
  get available(): number {
    return this.#free;
  }

  /** Callers waiting right now. */
  get waiting(): number {
    return this.#waiters.length;
  }

  /**
   * Waits for `weight` permits.
   * @throws the signal's reason when it aborts first; nothing is held then
   */
  async acquire(signal?: AbortSignal, weight = 1): Promise<Disposable> {
    if (weight < 1 || weight > this.#capacity) {
      throw new RangeError(`semaphore weight "${weight}": want 1 to ${this.#capacity}`);
    }
    signal?.throwIfAborted();
    if (this.#waiters.length === 0 && this.#free >= weight) {
      this.#free -= weight;
      return this.#permit(weight);
    }
    await new Promise<void>((resolve, reject) => {
      const waiter: Waiter = {
        weight,
        grant: () => {
          signal?.removeEventListener("abort", onAbort);
          resolve();
        },
      };
      const onAbort = (): void => {
        const at = this.#waiters.indexOf(waiter);
        if (at >= 0) this.#waiters.splice(at, 1);
        reject(signal?.reason);
        // A smaller request behind the aborted one may fit now.
        this.#pump();
      };
      this.#waiters.push(waiter);
      signal?.addEventListener("abort", onAbort, { once: true });
    });
    return this.#permit(weight);
  }

  /** Takes `weight` permits without waiting, or returns undefined. */
  tryAcquire(weight = 1): Disposable | undefined {
    if (this.#waiters.length > 0 || this.#free < weight) return undefined;
    this.#free -= weight;
    return this.#permit(weight);
  }

  #permit(weight: number): Disposable {
    let held = true;
    return {
      [Symbol.dispose]: () => {
        if (!held) return;
        held = false;
        this.#free += weight;
        this.#pump();
      },
    };
  }

  #pump(): void {
    for (;;) {
      const next = this.#waiters[0];
      if (next === undefined || next.weight > this.#free) return;
      this.#waiters.shift();
      this.#free -= next.weight;
      next.grant();
    }
  }
}
