/** Ends a pull that makes no progress. */
import { deadlineExceeded } from "../../core/errors.ts";
import type { Progress } from "../../core/transfer/transfer.ts";

/** Events of parts that wait for a registry's bytes. */
const MOVING = "downloading";

/** Watches the progress of one pull: `using dog = new PullWatchdog(...)`. */
export class PullWatchdog implements Disposable {
  readonly #abort = new AbortController();
  readonly #timeoutMs: number;
  readonly #reference: string;
  readonly #parts = new Map<string, { event: string; done: bigint }>();
  #last = performance.now();
  readonly #timer: NodeJS.Timeout | undefined;

  /** @param timeoutMs 0 = never */
  constructor(reference: string, timeoutMs: number) {
    this.#reference = reference;
    this.#timeoutMs = timeoutMs;
    if (timeoutMs <= 0) return;
    this.#timer = setInterval(() => this.#check(), Math.max(50, Math.min(10_000, timeoutMs / 2)));
    this.#timer.unref();
  }

  /** Aborts when nothing moved for too long. */
  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  /** Takes note of one step of the pull. */
  readonly note = (progress: Progress): void => {
    const before = this.#parts.get(progress.name);
    // unpacking, waiting for others and new stages are life; of a download only new bytes are
    const alive =
      before === undefined ||
      before.event !== progress.event ||
      progress.progress > before.done ||
      progress.event !== MOVING;
    this.#parts.set(progress.name, { event: progress.event, done: progress.progress });
    if (alive) this.#last = performance.now();
  };

  #check(): void {
    const moving = [...this.#parts.values()].some((part) => part.event === MOVING);
    if (!moving) this.#last = performance.now();
    else if (performance.now() - this.#last > this.#timeoutMs)
      this.#abort.abort(
        deadlineExceeded(
          `pull image "${this.#reference}": no progress in ${Math.round(this.#timeoutMs / 1000)} s`,
          { hint: "image_pull_progress_timeout sets this limit" },
        ),
      );
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }
}
