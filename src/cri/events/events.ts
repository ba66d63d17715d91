/** Events of pods and containers for GetContainerEvents: several readers, each with a bounded queue of its own. */
import { resourceExhausted } from "../../core/errors.ts";
import type { Logger } from "../../core/log.ts";
import { AsyncQueue } from "../../lib/async-queue.ts";

/** Events that one reader may be behind; more cut it off (the kubelet then lists anew). */
const QUEUE = 10_000;
/** Events held while nobody reads. */
const HELD = 10_000;
/** How long an event is held for the next reader, milliseconds. */
const HELD_MS = 5 * 60_000;
/** Readers at a time. */
const READERS = 64;

/** See the file's comment. `T` is the message as readers get it. */
export class EventFanout<T> {
  readonly #log: Logger;
  readonly #onDropped: (count: number) => void;
  readonly #readers = new Set<AsyncQueue<T>>();
  /** Events that came while nobody read; `until` on the monotonic clock. */
  #held: { readonly until: number; readonly event: T }[] = [];
  #dropped = 0;

  /** @param onDropped is told of events that nobody got */
  constructor(log: Logger, onDropped: (count: number) => void = () => {}) {
    this.#log = log;
    this.#onDropped = onDropped;
  }

  /** Events that nobody got. */
  get dropped(): number {
    return this.#dropped;
  }

  /** Readers now. */
  get readers(): number {
    return this.#readers.size;
  }

  /** Hands an event to every reader; without one it is held for the next. Never waits. */
  publish(event: T, now: number = performance.now()): void {
    if (this.#readers.size === 0) {
      this.#expire(now);
      if (this.#held.length >= HELD) {
        this.#held.shift();
        this.#drop(1);
      }
      this.#held.push({ until: now + HELD_MS, event });
      return;
    }
    for (const reader of this.#readers) {
      if (reader.tryPush(event) || reader.closed) continue;
      this.#readers.delete(reader);
      this.#drop(1);
      reader.fail(resourceExhausted(`container events: ${QUEUE} events were not read`));
    }
  }

  /**
   * Events from now on, and those that were held. Ends with `signal`.
   * @throws resource-exhausted when there are too many readers, or this one is too slow
   */
  async *read(signal: AbortSignal, now: number = performance.now()): AsyncGenerator<T, void, undefined> {
    if (this.#readers.size >= READERS)
      throw resourceExhausted(`container events: ${READERS} readers already`);
    const queue = new AsyncQueue<T>(QUEUE + HELD);
    this.#expire(now);
    for (const { event } of this.#held) queue.tryPush(event);
    this.#held = [];
    this.#readers.add(queue);
    const stop = (): void => queue.close();
    signal.addEventListener("abort", stop, { once: true });
    if (signal.aborted) stop();
    try {
      yield* queue;
    } finally {
      signal.removeEventListener("abort", stop);
      this.#readers.delete(queue);
    }
  }

  #expire(now: number): void {
    const live = this.#held.findIndex(({ until }) => until > now);
    const gone = live < 0 ? this.#held.length : live;
    if (gone === 0) return;
    this.#held.splice(0, gone);
    this.#drop(gone);
  }

  #drop(count: number): void {
    if (this.#dropped === 0) this.#log.warn("container events are dropped: nobody reads them in time");
    this.#dropped += count;
    this.#onDropped(count);
  }
}
