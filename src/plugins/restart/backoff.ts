/** How long a container that ended waits until it is started again: longer each time it ends soon after its start. */

/** The first wait. Milliseconds. */
const FIRST_MS = 100;
/** The same after a signal, which may be that of a client who is about to remove it: it is done by then. Milliseconds. */
const SIGNALED_MS = 1_000;
/** Exit codes of processes that a signal ended are above. */
const SIGNALED = 128;

/** See the file's comment. */
export class Backoff {
  readonly #longestMs: number;
  readonly #now: () => number;
  readonly #known = new Map<string, { startedAt: number; quick: number }>();

  /** @param longestMs longest wait; what ran as long starts from the first one again */
  constructor(longestMs: number, now: () => number = () => performance.now()) {
    this.#longestMs = longestMs;
    this.#now = now;
  }

  /** It was started again. */
  started(key: string): void {
    this.#known.set(key, { startedAt: this.#now(), quick: this.#known.get(key)?.quick ?? 0 });
  }

  /** It ended, with this exit code. @returns milliseconds to wait */
  next(key: string, status: number): number {
    const known = this.#known.get(key);
    if (known !== undefined)
      known.quick = this.#now() - known.startedAt < this.#longestMs ? known.quick + 1 : 0;
    const wait = Math.max(FIRST_MS * 2 ** (known?.quick ?? 0), status > SIGNALED ? SIGNALED_MS : 0);
    return Math.min(wait, this.#longestMs);
  }

  /** It is not under the monitor, or is gone. */
  forget(key: string): void {
    this.#known.delete(key);
  }
}
