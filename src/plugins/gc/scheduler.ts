import { clearTimeout, setTimeout } from "node:timers";
import type { Call } from "../../core/call.ts";
import type { Collectable, GarbageCollector, GcStats } from "../../core/gc/gc.ts";
import type { Logger } from "../../core/log.ts";

/** When to collect; times in milliseconds. */
export interface Schedule {
  /** Share of time that collections may take, 0 to 0.5. */
  readonly pauseThreshold: number;
  /** Deletions that start a collection at once; 0 = a deletion waits for the next free slot. */
  readonly deletionThreshold: number;
  /** Changes after which the next slot collects although nothing was deleted; 0 = never. */
  readonly mutationThreshold: number;
  readonly scheduleDelay: number;
  readonly startupDelay: number;
}

/** Collections shorter than this count as this long, in ms: keeps slots apart. */
const MINIMUM_MS = 5;

/** Decides when garbage is collected. Idle when nothing changes: no timer runs. */
export class GcScheduler implements GarbageCollector {
  readonly #target: Collectable;
  #schedule: Schedule;
  readonly #call: Call;
  readonly #log: Logger;
  readonly #now: () => number;
  #timer: NodeJS.Timeout | undefined;
  #due = Number.POSITIVE_INFINITY;
  #running: Promise<GcStats> | undefined;
  #queued: Promise<GcStats> | undefined;
  #deletions = 0;
  #mutations = 0;
  #sum = 0;
  #runs = 0;
  /** Earliest time of the next slot. */
  #slot = 0;
  #stopped = false;

  constructor(target: Collectable, schedule: Schedule, call: Call, now = (): number => performance.now()) {
    this.#target = target;
    this.#schedule = schedule;
    this.#call = call;
    this.#log = call.log;
    this.#now = now;
    target.onMutation((kind) => this.mutated(kind));
    target.attach(this);
  }

  /** Follows another schedule from the next change on. */
  reschedule(schedule: Schedule): void {
    this.#schedule = schedule;
  }

  /** Plans the first collection. */
  start(): void {
    if (this.#schedule.startupDelay > 0) this.#plan(this.#now() + this.#schedule.startupDelay);
  }

  /** Ends; waits for a collection that runs. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#running?.catch(() => {});
  }

  async collect(_call: Call): Promise<GcStats> {
    // a run that has begun may have passed what this caller removed: share the next one
    if (this.#running === undefined) return await this.#run();
    this.#queued ??= this.#running
      .catch(() => {})
      .then(async () => {
        this.#queued = undefined;
        return await this.#run();
      });
    return await this.#queued;
  }

  mutated(kind: "delete" | "change"): void {
    this.#mutations++;
    if (kind === "delete") this.#deletions++;
    const { deletionThreshold, mutationThreshold, scheduleDelay } = this.#schedule;
    const soon = this.#now() + scheduleDelay;
    if (deletionThreshold > 0 && this.#deletions >= deletionThreshold) this.#plan(soon);
    else if (this.#deletions > 0 || (mutationThreshold > 0 && this.#mutations >= mutationThreshold))
      this.#plan(Math.max(soon, this.#slot));
  }

  #plan(at: number): void {
    if (this.#stopped || at >= this.#due) return;
    clearTimeout(this.#timer);
    this.#due = at;
    this.#timer = setTimeout(
      () => {
        this.#due = Number.POSITIVE_INFINITY;
        if (this.#running !== undefined) return;
        this.#run().catch((err: unknown) => this.#log.error("garbage collection failed", { err }));
      },
      Math.max(0, at - this.#now()),
    );
    this.#timer.unref();
  }

  async #run(): Promise<GcStats> {
    const started = this.#now();
    this.#deletions = 0;
    this.#mutations = 0;
    const run = this.#target.run(this.#call);
    this.#running = run;
    try {
      return await run;
    } finally {
      this.#running = undefined;
      this.#sum += this.#now() - started;
      this.#runs++;
      const average = Math.max(this.#sum / this.#runs, MINIMUM_MS);
      const { pauseThreshold } = this.#schedule;
      this.#slot = this.#now() + (pauseThreshold > 0 ? average / pauseThreshold - average : 1000);
      // what was removed during the run waits for the next slot
      if (this.#deletions > 0) this.#plan(this.#slot);
    }
  }
}
