/** Garbage collection: mark and sweep over labels, leases and references. */
import type { Call } from "../call.ts";

/** What one collection did. */
export interface GcStats {
  /** Nanoseconds. */
  readonly elapsed: bigint;
  readonly content: number;
  readonly snapshots: number;
  readonly ingests: number;
  readonly images: number;
  readonly leases: number;
}

/** Schedules and runs collections. */
export interface GarbageCollector {
  /** Runs a collection and waits for it (concurrent callers share the next run). */
  collect(call: Call): Promise<GcStats>;
  /** Tells that something was removed or changed; a run is scheduled by the thresholds. */
  mutated(kind: "delete" | "change"): void;
}

/** What can be collected: the metadata store's face to the scheduler. */
export interface Collectable {
  /** Runs one collection now: marks, removes rows in small batches, then the files behind them. One at a time. */
  run(call: Call): Promise<GcStats>;
  /** Calls `listener` after every change that was committed. */
  onMutation(listener: (kind: "delete" | "change") => void): void;
  /** Names who runs collections that a caller waits for (`sync` deletes). Without one they run directly. */
  attach(collector: GarbageCollector): void;
}
