import { background, type NamespacedCall } from "../../core/call.ts";
import { messageOf } from "../../core/errors.ts";
import type { Namespace } from "../../core/ids/namespace.ts";
import type { SnapshotBackend } from "../../core/snapshots/snapshotter.ts";
import type { StoreContext } from "./context.ts";
import { int } from "./rows.ts";

/** Longest time one removal may take before the queue goes on without it. */
const REMOVE_MS = 60_000;

/**
 * Removes the files of snapshots whose rows are gone, in the background and one at a time per backend, so that neither a
 * client nor other backends wait for it. Also gives out ids, which are never used twice.
 */
export class SnapshotRemovals {
  readonly #context: StoreContext;
  readonly #queues = new Map<string, Promise<void>>();
  /** Ids that are being made: on disk or soon, but without a row. */
  readonly #making = new Set<bigint>();
  #lastId = 0n;

  constructor(context: StoreContext) {
    this.#context = context;
  }

  /** Learns which ids were used: by rows ever, or by files of a database that was lost. */
  async start(backends: Iterable<SnapshotBackend>): Promise<void> {
    const { db } = this.#context;
    const row = db.get(
      `SELECT max(coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'snapshots'), 0),
         coalesce((SELECT max(id) FROM snapshots), 0)) AS last`,
    );
    if (row !== undefined) this.#lastId = int(row, "last");
    for (const backend of backends) {
      for (const id of await backend.ids(background.in("default" as Namespace)))
        if (id > this.#lastId) this.#lastId = id;
    }
  }

  /** A new id, held as "being made" until {@link made} or {@link add}. */
  nextId(): bigint {
    this.#lastId += 1n;
    this.#making.add(this.#lastId);
    return this.#lastId;
  }

  /** The row of an id was written. */
  made(id: bigint): void {
    this.#making.delete(id);
  }

  /** Removes files; the rows are gone. */
  add(backend: SnapshotBackend, call: NamespacedCall, ids: readonly bigint[]): void {
    const before = this.#queues.get(backend.name) ?? Promise.resolve();
    const next = before.then(async () => {
      for (const id of ids) await this.#remove(backend, call, id);
    });
    this.#queues.set(backend.name, next);
    void next.then(() => {
      if (this.#queues.get(backend.name) === next) this.#queues.delete(backend.name);
    });
  }

  /** Waits until everything added so far is removed. */
  async drain(): Promise<void> {
    await Promise.all(this.#queues.values());
  }

  /** Removes what a backend has on disk without a row. Nothing when a database was lost: files may be all there is. */
  async sweep(backend: SnapshotBackend, call: NamespacedCall): Promise<void> {
    // only its own queue: a backend that hangs holds up nobody else's
    await this.#queues.get(backend.name);
    const { db, log } = this.#context;
    if (db.rescued) return;
    const found = await backend.ids(call);
    const rows = new Set([
      ...db.all("SELECT id FROM snapshots WHERE snapshotter = ?", backend.name).map((row) => int(row, "id")),
      // a damaged record is no reason to remove files: others may be built on them
      ...db
        .all(
          "SELECT CAST(json_extract(record, '$.id') AS INTEGER) AS id FROM quarantine WHERE tbl = 'snapshots'",
        )
        .map((row) => int(row, "id")),
    ]);
    const orphans = found.filter((id) => !rows.has(id) && !this.#making.has(id));
    if (orphans.length > 0)
      log.info("remove snapshots without a record", { snapshotter: backend.name, orphans: orphans.length });
    this.add(backend, call, orphans);
    await this.#queues.get(backend.name);
  }

  async #remove(backend: SnapshotBackend, call: NamespacedCall, id: bigint): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    try {
      const limited = call.detached(REMOVE_MS);
      await Promise.race([
        backend.remove(limited, id),
        new Promise<never>((_, reject) => {
          timer = setTimeout(() => reject(new Error(`no answer after ${REMOVE_MS} ms`)), REMOVE_MS + 1000);
        }),
      ]);
    } catch (err) {
      // tried again by the next sweep
      this.#context.log.warn("snapshot was not removed", {
        snapshotter: backend.name,
        id: String(id),
        err: messageOf(err),
      });
    } finally {
      clearTimeout(timer);
      this.#making.delete(id);
    }
  }
}
