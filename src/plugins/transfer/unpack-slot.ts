import type { Semaphore } from "../../lib/semaphore.ts";

/** A layer's place among those unpacked at a time. Places are given from the bottom up: a layer waits for the ones below. */
export class UnpackSlot implements Disposable {
  /** Resolves when the place is taken. @throws what stopped the wait */
  readonly taken: Promise<void>;
  #slot: Disposable | undefined;
  #over = false;

  /** @param below settles when the layer below has its place */
  constructor(slots: Semaphore, below: Promise<void>, signal: AbortSignal) {
    this.taken = this.#take(slots, below, signal);
    // a layer that is there already does not wait for its place
    this.taken.catch(() => {});
  }

  /** True while the place is taken. */
  get held(): boolean {
    return this.#slot !== undefined;
  }

  /** Gives the place back, or does not take it any more. */
  [Symbol.dispose](): void {
    this.#over = true;
    this.#slot?.[Symbol.dispose]();
    this.#slot = undefined;
  }

  async #take(slots: Semaphore, below: Promise<void>, signal: AbortSignal): Promise<void> {
    await below;
    const slot = await slots.acquire(signal);
    if (this.#over) slot[Symbol.dispose]();
    else this.#slot = slot;
  }
}
