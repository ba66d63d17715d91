/** Disk use of snapshotters: sums over their snapshots, measured again only when they are old and somebody asks. */
import type { NamespacedCall } from "../../core/call.ts";
import { isNotFound } from "../../core/errors.ts";
import type { Snapshotter } from "../../core/snapshots/snapshotter.ts";
import { nowNs } from "../../lib/time.ts";

/** Figures older than this many periods are of no use to anybody. */
const STALE = 3;

/** Use of one snapshotter. */
export interface SnapshotterUsage {
  readonly snapshotter: string;
  /** Bytes. */
  readonly size: bigint;
  readonly inodes: bigint;
  /** When it was measured. */
  readonly at: bigint;
}

interface Known {
  readonly active: boolean;
  readonly size: bigint;
  readonly inodes: bigint;
}

/** See the file's comment. */
export class FsUsage {
  readonly #call: NamespacedCall;
  readonly #snapshotters: ReadonlyMap<string, Snapshotter>;
  readonly #periodMs: number;
  /** Committed snapshots do not change: their use is asked once. */
  readonly #known = new Map<string, Map<string, Known>>();
  #last: readonly SnapshotterUsage[] | undefined;
  #measuredAt = Number.NEGATIVE_INFINITY;
  #running: Promise<readonly SnapshotterUsage[]> | undefined;

  constructor(call: NamespacedCall, snapshotters: ReadonlyMap<string, Snapshotter>, periodMs: number) {
    this.#call = call;
    this.#snapshotters = snapshotters;
    this.#periodMs = periodMs;
  }

  /** The latest figures. Old ones are given out once more while new ones are being made. */
  async get(): Promise<readonly SnapshotterUsage[]> {
    const age = performance.now() - this.#measuredAt;
    if (this.#last !== undefined && age < this.#periodMs) return this.#last;
    this.#running ??= this.#measure().finally(() => {
      this.#running = undefined;
    });
    if (this.#last === undefined || age > STALE * this.#periodMs) return this.#running;
    this.#running.catch(() => {});
    return this.#last;
  }

  async #measure(): Promise<readonly SnapshotterUsage[]> {
    const out: SnapshotterUsage[] = [];
    for (const [name, snapshotter] of this.#snapshotters) {
      const usage = await this.#measureOne(name, snapshotter);
      if (usage !== undefined) out.push(usage);
    }
    this.#last = out;
    this.#measuredAt = performance.now();
    return out;
  }

  async #measureOne(name: string, snapshotter: Snapshotter): Promise<SnapshotterUsage | undefined> {
    const before = this.#known.get(name) ?? new Map<string, Known>();
    const now = new Map<string, Known>();
    let size = 0n;
    let inodes = 0n;
    for await (const info of snapshotter.walk(this.#call, [])) {
      const active = info.kind === "active";
      let known = before.get(info.name);
      if (known === undefined || active || known.active) {
        try {
          known = { active, ...(await snapshotter.usage(this.#call, info.name)) };
        } catch (err) {
          // removed since it was listed
          if (isNotFound(err)) continue;
          this.#call.log.warn("use of a snapshot is not known", { snapshot: info.name, err });
          continue;
        }
      }
      now.set(info.name, known);
      size += known.size;
      inodes += known.inodes;
    }
    this.#known.set(name, now);
    return now.size === 0 ? undefined : { snapshotter: name, size, inodes, at: nowNs() };
  }
}
