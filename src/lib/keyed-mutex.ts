import { Semaphore } from "./semaphore.ts";

interface Entry {
  readonly lock: Semaphore;
  users: number;
}

/** One mutex per key; a key costs memory only while someone holds or waits for it. */
export class KeyedMutex<K = string> {
  readonly #entries = new Map<K, Entry>();

  /** Number of keys held or waited for. */
  get size(): number {
    return this.#entries.size;
  }

  /** True while someone holds `key`. */
  isLocked(key: K): boolean {
    return this.#entries.has(key);
  }

  /**
   * Waits for `key`: `using lock = await mutex.acquire(id)`. First come, first served.
   * @throws the signal's reason when it aborts first
   */
  async acquire(key: K, signal?: AbortSignal): Promise<Disposable> {
    let entry = this.#entries.get(key);
    if (entry === undefined) {
      entry = { lock: new Semaphore(1), users: 0 };
      this.#entries.set(key, entry);
    }
    const held = entry;
    held.users++;
    let permit: Disposable;
    try {
      permit = await held.lock.acquire(signal);
    } catch (error) {
      this.#leave(key, held);
      throw error;
    }
    let released = false;
    return {
      [Symbol.dispose]: () => {
        if (released) return;
        released = true;
        permit[Symbol.dispose]();
        this.#leave(key, held);
      },
    };
  }

  /** Takes `key` without waiting, or returns undefined when it is held. */
  tryAcquire(key: K): Disposable | undefined {
    if (this.#entries.has(key)) return undefined;
    const entry: Entry = { lock: new Semaphore(1), users: 1 };
    const permit = entry.lock.tryAcquire();
    if (permit === undefined) return undefined;
    this.#entries.set(key, entry);
    let released = false;
    return {
      [Symbol.dispose]: () => {
        if (released) return;
        released = true;
        permit[Symbol.dispose]();
        this.#leave(key, entry);
      },
    };
  }

  /** Runs `body` while holding `key`. */
  async run<T>(key: K, body: () => Promise<T> | T, signal?: AbortSignal): Promise<T> {
    using _lock = await this.acquire(key, signal);
    return await body();
  }

  #leave(key: K, entry: Entry): void {
    entry.users--;
    if (entry.users === 0) this.#entries.delete(key);
  }
}
