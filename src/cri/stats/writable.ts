import type { NamespacedCall } from "../../core/call.ts";
import { isNotFound } from "../../core/errors.ts";
import type { Logger } from "../../core/log.ts";
import type { Snapshotter, Usage } from "../../core/snapshots/snapshotter.ts";
import { nowNs } from "../../lib/time.ts";
import { settlesWithin } from "../exec/timed.ts";
import type { Container } from "../model.ts";

/** Space of a container's own layer, and when it was measured (nanoseconds since the epoch). */
export interface LayerUse extends Usage {
  readonly at: bigint;
}

/** How long a first measure is waited for, milliseconds. */
const FIRST_MS = 500;
/** Share of time that measuring may take: one part in this many. */
const DUTY = 20;

/**
 * Measures writable layers one after the other in the background: a walk through files, which may be many. It runs while
 * somebody asks, at most every `periodMs`, and never for more than a twentieth of the time.
 */
export class WritableLayers {
  readonly #call: NamespacedCall;
  readonly #snapshotter: (name: string) => Snapshotter;
  readonly #periodMs: number;
  readonly #log: Logger;
  readonly #known = new Map<string, LayerUse>();
  readonly #running = new Map<string, Promise<void>>();
  #queue: Promise<void> = Promise.resolve();
  #notBefore = 0;

  constructor(
    call: NamespacedCall,
    snapshotter: (name: string) => Snapshotter,
    periodMs: number,
    log: Logger,
  ) {
    this.#call = call;
    this.#snapshotter = snapshotter;
    this.#periodMs = periodMs;
    this.#log = log;
  }

  /** Newest measures of the containers; the first one of a container is waited for a moment. */
  async of(containers: readonly Container[]): Promise<ReadonlyMap<string, LayerUse>> {
    const missing = containers.filter(({ id }) => !this.#known.has(id)).map((each) => this.#measure(each));
    if (missing.length > 0) await settlesWithin(Promise.all(missing), FIRST_MS);
    return this.#known;
  }

  /** Measures again what is older than the period; forgets what is not among `containers`. Returns at once. */
  refresh(containers: readonly Container[]): void {
    const ids = new Set(containers.map(({ id }) => id));
    for (const id of this.#known.keys()) if (!ids.has(id)) this.#known.delete(id);
    if (performance.now() < this.#notBefore) return;
    this.#notBefore = performance.now() + this.#periodMs;
    for (const container of containers) void this.#measure(container);
  }

  #measure(container: Container): Promise<void> {
    const running = this.#running.get(container.id);
    if (running !== undefined) return running;
    const done = this.#queue.then(async () => {
      const start = performance.now();
      try {
        const usage = await this.#snapshotter(container.snapshotter).usage(
          this.#call.within(60_000),
          container.snapshotKey,
        );
        this.#known.set(container.id, { size: usage.size, inodes: usage.inodes, at: nowNs() });
      } catch (err) {
        if (!isNotFound(err)) this.#log.debug("measure writable layer", { container: container.id, err });
      }
      const took = performance.now() - start;
      this.#notBefore = Math.max(this.#notBefore, performance.now()) + took * DUTY;
      this.#running.delete(container.id);
    });
    this.#running.set(container.id, done);
    this.#queue = done;
    return done;
  }
}
