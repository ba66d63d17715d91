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
