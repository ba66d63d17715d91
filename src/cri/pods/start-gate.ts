/**
 * Lets a few pods and containers at a time through the part of their start that needs the processor (network plugins, the OCI
 * runtime), in order of arrival, and containers before pods: of fifty pods that come at once the first runs soon and half of
 * them run after half of the time, instead of all at the end. Nothing is faster or slower as a whole.
 *
 * A place is only for computing: who keeps it longer than that takes (a network plugin that hangs, an image to be pulled, a
 * shim that does not answer) loses it and goes on without, so that nobody waits for what is stuck.
 */
import { availableParallelism } from "node:os";

/** Who needs longer is waiting for something. Milliseconds. */
const HOLD_MS = 2_000;

/** See the file's comment. */
export class StartGate {
  #free: number;
  readonly #holdMs: number;
  readonly #containers: (() => void)[] = [];
  readonly #pods: (() => void)[] = [];

  /** @param places starts at once; two for each processor, as each waits for the disk now and then */
  constructor(places: number = Math.max(2, availableParallelism()) * 2, holdMs: number = HOLD_MS) {
    this.#free = places;
    this.#holdMs = holdMs;
  }

  /** Waits for a place. Dispose gives it back; so does time. */
  async enter(what: "pod" | "container"): Promise<Disposable> {
    if (this.#free > 0) this.#free--;
    else
      await new Promise<void>((resolve) => {
        (what === "pod" ? this.#pods : this.#containers).push(resolve);
      });
    let held = true;
    const leave = (): void => {
      if (!held) return;
      held = false;
      clearTimeout(timer);
      const next = this.#containers.shift() ?? this.#pods.shift();
      if (next === undefined) this.#free++;
      else next();
    };
    const timer = setTimeout(leave, this.#holdMs);
    timer.unref();
    return { [Symbol.dispose]: leave };
  }
}
