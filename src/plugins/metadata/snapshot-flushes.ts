/**
 * Makes committed snapshots durable behind their answers. A commit is answered as soon as its row is on disk, marked
 * `durable = 0`; one flush of the file system, shared by all commits of the last moments, then flips the marks. Page
 * cache outlives the daemon but not the machine: a row that is still marked when the machine was started anew is dropped
 * with everything built on it, so no row that is served ever lacks its data (an image is unpacked again when needed).
 */
import { readFileSync } from "node:fs";
import { background } from "../../core/call.ts";
import { messageOf } from "../../core/errors.ts";
import type { SnapshotBackend } from "../../core/snapshots/snapshotter.ts";
import type { StoreContext } from "./context.ts";
import { int, text } from "./rows.ts";

/** A flush starts when no commit came for this long, in ms. */
const QUIET_MS = 1_000;
/** A commit waits for its flush at most about this long, in ms. */
const LATEST_MS = 5_000;
/** Time the last flush gets when the daemon stops, in ms. */
const CLOSE_MS = 5_000;

/** Identifies this run of the machine; "" where the kernel does not tell. */
export function readBootId(): string {
  try {
    return readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
  } catch {
    return "";
  }
}

/** See the file's comment. */
export class SnapshotFlushes {
  readonly #context: StoreContext;
  readonly #backends: readonly SnapshotBackend[];
  readonly #stop = new AbortController();
  #timer: NodeJS.Timeout | undefined;
  /** When the oldest waiting commit must be flushed, ms of the monotonic clock. */
  #latest: number | undefined;
  #running: Promise<void> | undefined;

  constructor(context: StoreContext, backends: Iterable<SnapshotBackend>) {
    this.#context = context;
    this.#backends = [...backends].filter((backend) => backend.flush !== undefined);
  }

  /** Drops what a lost page cache may have held; before anything is served. What the same boot left is flushed soon. */
  async start(bootId: string): Promise<void> {
    const { db, log } = this.#context;
    const row = db.get("SELECT value FROM facts WHERE name = 'boot_id'");
    if (row === undefined || text(row, "value") !== bootId) {
      const dropped = await db.write(() => {
        db.run("INSERT OR REPLACE INTO facts(name, value) VALUES('boot_id', ?)", bootId);
        return db.run(
          `WITH RECURSIVE lost(id) AS (SELECT id FROM snapshots WHERE durable = 0
             UNION SELECT s.id FROM snapshots s JOIN lost ON s.parent = lost.id)
           DELETE FROM snapshots WHERE id IN (SELECT id FROM lost)`,
        ).changes;
      });
      if (dropped > 0)
        log.warn(
          "the machine went down before snapshots were on disk: forgotten, images are unpacked again",
          {
            snapshots: dropped,
          },
        );
    } else if (db.get("SELECT 1 FROM snapshots WHERE durable = 0 LIMIT 1") !== undefined) {
      this.schedule();
    }
  }

  /** Tells of a commit; after its transaction. */
  schedule(): void {
    if (this.#stop.signal.aborted) return;
    const now = performance.now();
    this.#latest ??= now + LATEST_MS;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.flush(), Math.min(QUIET_MS, Math.max(0, this.#latest - now)));
    this.#timer.unref();
  }

  /** Flushes what is committed now. Never rejects: what failed stays marked and is tried with the next commit. */
  async flush(): Promise<void> {
    while (this.#running !== undefined) await this.#running;
    clearTimeout(this.#timer);
    this.#latest = undefined;
    this.#running = Promise.all(this.#backends.map((backend) => this.#flushOne(backend))).then(() => {
      this.#running = undefined;
    });
    await this.#running;
  }

  /** Flushes once more, for a limited time: rows left marked are safe as long as the machine runs. */
  async close(): Promise<void> {
    clearTimeout(this.#timer);
    const limit = setTimeout(() => this.#stop.abort(), CLOSE_MS);
    await this.flush();
    clearTimeout(limit);
    this.#stop.abort();
    clearTimeout(this.#timer);
  }

  async #flushOne(backend: SnapshotBackend): Promise<void> {
    const { db, log } = this.#context;
    try {
      const ids = db
        .all("SELECT id FROM snapshots WHERE durable = 0 AND snapshotter = ?", backend.name)
        .map((row) => int(row, "id"));
      if (ids.length === 0) return;
      await backend.flush?.(background.until(this.#stop.signal));
      await db.write(() => {
        for (const id of ids) db.run("UPDATE snapshots SET durable = 1 WHERE id = ?", id);
      });
    } catch (err) {
      if (!this.#stop.signal.aborted)
        log.warn("flush snapshots", { snapshotter: backend.name, err: messageOf(err) });
    }
  }
}
