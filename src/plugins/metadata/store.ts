import { rm } from "node:fs/promises";
import { join } from "node:path";
import { background } from "../../core/call.ts";
import { invalidArgument, notFound } from "../../core/errors.ts";
import type { EventPublisher } from "../../core/events/events.ts";
import type { Digest } from "../../core/ids/digest.ts";
import type { Namespace } from "../../core/ids/namespace.ts";
import type { Logger } from "../../core/log.ts";
import type { BlobBackend, MetadataStore } from "../../core/plugin/kinds.ts";
import type { SnapshotBackend, Snapshotter } from "../../core/snapshots/snapshotter.ts";
import { BlobFiles } from "./blob-files.ts";
import { Collector } from "./collector.ts";
import { SqliteContainerStore } from "./containers.ts";
import { SqliteContentStore } from "./content.ts";
import { StoreContext, within } from "./context.ts";
import { Database } from "./db.ts";
import { SqliteImageStore } from "./images.ts";
import { SqliteLeaseManager } from "./leases.ts";
import { SqliteNamespaceStore } from "./namespaces.ts";
import { RemoteBlobFiles } from "./remote-blobs.ts";
import { int, text } from "./rows.ts";
import { SqliteSandboxStore } from "./sandboxes.ts";
import { readBootId, SnapshotFlushes } from "./snapshot-flushes.ts";
import { SnapshotRemovals } from "./snapshot-removals.ts";
import { SqliteSnapshotter } from "./snapshots.ts";

/** What the metadata store is made from. */
export interface MetadataOptions {
  /** Folder of the database. */
  readonly root: string;
  readonly blobs: BlobBackend;
  readonly backends: ReadonlyMap<string, SnapshotBackend>;
  readonly events?: EventPublisher | undefined;
  readonly log: Logger;
  /** content_sharing_policy `shared`. */
  readonly shared: boolean;
  /** no_sync: answers before data is on disk. */
  readonly noSync: boolean;
  /** Identifies this run of the machine; read from the kernel when left out. */
  readonly bootId?: string;
}

/** What the stores share. */
interface StoreParts {
  readonly context: StoreContext;
  readonly removals: SnapshotRemovals;
  readonly flushes: SnapshotFlushes;
}

/** Milliseconds that running removals of snapshots get when the store closes. */
const DRAIN_MS = 3_000;

/** All stores over one database. */
export class SqliteMetadata implements MetadataStore {
  readonly namespaces: SqliteNamespaceStore;
  readonly containers: SqliteContainerStore;
  readonly sandboxes: SqliteSandboxStore;
  readonly images: SqliteImageStore;
  readonly leases: SqliteLeaseManager;
  readonly content: SqliteContentStore;
  readonly snapshotters: ReadonlyMap<string, Snapshotter>;
  readonly garbage: Collector;
  readonly #context: StoreContext;
  readonly #removals: SnapshotRemovals;
  readonly #flushes: SnapshotFlushes;
  readonly #backends: ReadonlyMap<string, SnapshotBackend>;

  private constructor({ context, removals, flushes }: StoreParts, options: MetadataOptions) {
    this.#context = context;
    this.#flushes = flushes;
    this.#removals = removals;
    this.#backends = options.backends;
    this.namespaces = new SqliteNamespaceStore(context);
    this.containers = new SqliteContainerStore(context);
    this.sandboxes = new SqliteSandboxStore(context);
    this.images = new SqliteImageStore(context);
    this.leases = new SqliteLeaseManager(context);
    this.content = new SqliteContentStore(
      context,
      options.blobs.remote === undefined
        ? new BlobFiles(options.blobs.root, options.noSync)
        : new RemoteBlobFiles(options.blobs.root, options.noSync, options.blobs.remote),
      options.shared,
    );
    this.snapshotters = new Map(
      [...options.backends].map(([name, backend]) => [
        name,
        new SqliteSnapshotter({ context, backend, removals, flushes: options.noSync ? undefined : flushes }),
      ]),
    );
    this.garbage = new Collector({ context, content: this.content, backends: options.backends, removals });
  }

  /** Opens the database and its stores. */
  static async open(options: MetadataOptions): Promise<SqliteMetadata> {
    const { root, log, noSync } = options;
    const db = await Database.open({ path: join(root, "meta.sqlite"), log, noSync });
    const context = new StoreContext(db, log, options.events);
    const removals = new SnapshotRemovals(context);
    await removals.start(options.backends.values());
    const flushes = new SnapshotFlushes(context, options.backends.values());
    await flushes.start(options.bootId ?? readBootId());
    return new SqliteMetadata({ context, removals, flushes }, options);
  }

  snapshotter(name: string): Snapshotter {
    if (name === "") throw invalidArgument("snapshotter argument missing");
    const found = this.snapshotters.get(name);
    if (found === undefined) throw notFound(`snapshotter not loaded: ${name}`);
    return found;
  }

  /**
   * Puts files and rows in agreement after a start: removes files that no row names, and after an unclean stop forgets
   * blobs whose file is missing or cut short, so that a pull fetches them again.
   */
  async reconcile(signal: AbortSignal): Promise<void> {
    const { db, log } = this.#context;
    await db.keepReserve();
    if (db.rescued) {
      log.warn("the metadata database was damaged once: files without a record are kept");
    } else {
      await this.#sweepFiles(signal);
      if (signal.aborted) return;
      await Promise.all(
        [...this.#backends.values()].map((backend) =>
          this.#removals.sweep(backend, background.in("default" as Namespace)),
        ),
      );
    }
    if (!db.unclean) return;
    for (const row of db.all("SELECT ns, digest FROM blobs")) {
      if (signal.aborted) return;
      const call = background.in(text(row, "ns") as Namespace);
      await this.content.blobs.forgetDamaged(call, text(row, "digest") as Digest);
    }
  }

  /** Ends cleanly. */
  async close(): Promise<void> {
    // a removal that hangs is tried again by the next start
    await Promise.all([within(this.#removals.drain(), DRAIN_MS), this.#flushes.close()]);
    await this.#context.db.close();
  }

  async #sweepFiles(signal: AbortSignal): Promise<void> {
    const { db } = this.#context;
    const { files } = this.content.blobs;
    const ingests = await files.listIngests();
    const open = new Set(db.all("SELECT id FROM ingests").map((row) => String(int(row, "id"))));
    for (const name of ingests) {
      if (signal.aborted) return;
      // checked again: a client may have opened it since the listing
      if (!open.has(name) && db.get("SELECT 1 FROM ingests WHERE id = ?", name) === undefined)
        await rm(join(files.root, "ingest", name), { recursive: true, force: true });
    }
    const listed = await files.list();
    const known = new Set(db.all("SELECT DISTINCT digest FROM blobs").map((row) => text(row, "digest")));
    for (const digest of listed) {
      if (signal.aborted) return;
      if (!known.has(digest)) await this.content.blobs.removeUnused(digest as Digest);
    }
  }
}
