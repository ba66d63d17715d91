/**
 * Ingests: blobs on their way into the store, each known by the ref its client chose. A ref has one writer at a time; one
 * that was closed before its commit is resumed by the next writer of that ref, until it expires or its lease goes.
 */
import type { NamespacedCall } from "../../core/call.ts";
import type { IngestStatus, WriterOptions } from "../../core/content/content.ts";
import { alreadyExists, invalidArgument, notFound, unavailable } from "../../core/errors.ts";
import { type NodeId, nodeId } from "../../core/gc/nodes.ts";
import type { Digest } from "../../core/ids/digest.ts";
import { checkLabels } from "../../core/labels.ts";
import { formatRfc3339, nowNs } from "../../lib/time.ts";
import type { BlobFiles } from "./blob-files.ts";
import type { BlobSharing } from "./blob-sharing.ts";
import type { Blobs, NewBlob } from "./blobs.ts";
import type { StoreContext } from "./context.ts";
import type { Ingest, IngestOwner } from "./ingest-writers.ts";
import { int, maybe, type Row, text } from "./rows.ts";

/** How long an ingest that no lease holds is kept, in nanoseconds. */
const INGEST_LIFE = 24n * 3600n * 1_000_000_000n;
/** How every client of containerd's family names the ingest of a layer (the digest follows). */
const LAYER_REF = "layer-";
const COLUMNS = "id AS rowid, id, ns, ref, shared, total, expected, started, updated";

/** An ingest with a writer. */
interface OpenRef {
  readonly since: bigint;
  status(): IngestStatus;
}

/** See the head of this file. */
export class IngestTable implements IngestOwner {
  readonly context: StoreContext;
  readonly files: BlobFiles;
  readonly #blobs: Blobs;
  readonly #sharing: BlobSharing;
  readonly #open = new Map<string, OpenRef>();
  #onLayer: () => void = () => {};

  constructor(blobs: Blobs, sharing: BlobSharing) {
    this.context = blobs.context;
    this.files = blobs.files;
    this.#blobs = blobs;
    this.#sharing = sharing;
  }

  /** Tells of every layer whose ingest is opened. */
  onLayer(listener: () => void): void {
    this.#onLayer = listener;
  }

  /** @throws not-found */
  async status(call: NamespacedCall, ref: string): Promise<IngestStatus> {
    return await this.#status(this.#find(call, ref));
  }

  /** All of a namespace, by ref. */
  async statuses(call: NamespacedCall): Promise<IngestStatus[]> {
    const { db } = this.context;
    const rows = db.all(`SELECT ${COLUMNS} FROM ingests WHERE ns = ? ORDER BY ref`, call.namespace);
    return await Promise.all(db.decode("ingests", rows, (row) => this.#status(row)));
  }

  /** Removes an ingest. @throws not-found */
  async abort(call: NamespacedCall, ref: string): Promise<void> {
    const row = this.#find(call, ref);
    await this.dropIngest(call, { id: int(row, "id"), ref });
    this.context.mutated("delete");
  }

  /** Ingests that are open now: they stay whatever holds them. */
  openIngests(): NodeId[] {
    return [...this.#open.keys()].map((key) => {
      const nul = key.indexOf("\0");
      return nodeId("ingest", key.slice(0, nul), key.slice(nul + 1));
    });
  }

  /**
   * Takes the ref's lock, finds or makes its row, then opens the writer.
   * @throws unavailable (the ref has a writer), already-exists (the blob is there)
   */
  async open<T extends { status(): IngestStatus }>(
    call: NamespacedCall,
    options: WriterOptions,
    start: (ingest: Ingest) => Promise<T>,
  ): Promise<T> {
    const { ref } = options;
    if (ref === "") throw invalidArgument("ref must not be empty");
    if (ref.startsWith(LAYER_REF)) this.#onLayer();
    const key = lockKey(call.namespace, ref);
    const holder = this.#open.get(key);
    if (holder !== undefined) {
      const held = Number((nowNs() - holder.since) / 1_000_000n) / 1000;
      throw unavailable(`ref ${ref} locked for ${held}s (since ${formatRfc3339(holder.since)})`);
    }
    const placeholder: IngestStatus = { ref, offset: 0n, total: 0n, startedAt: nowNs(), updatedAt: nowNs() };
    const entry = { since: nowNs(), status: (): IngestStatus => placeholder };
    this.#open.set(key, entry);
    try {
      const ingest = await this.#prepare(call, options);
      const writer = await start(ingest);
      entry.status = () => writer.status();
      return writer;
    } catch (err) {
      this.#open.delete(key);
      throw err;
    }
  }

  release(ingest: Ingest): void {
    this.#open.delete(lockKey(ingest.namespace, ingest.ref));
  }

  async dropIngest(call: NamespacedCall, ingest: { id: bigint; ref: string }): Promise<void> {
    const { db } = this.context;
    await db.write(
      () => {
        db.run("DELETE FROM ingests WHERE id = ?", ingest.id);
        this.context.detachLease(call, "ingests", ingest.ref);
      },
      { frees: true, durable: false },
    );
    await this.files.removeIngest(ingest.id);
  }

  async record(
    call: NamespacedCall,
    ingest: Ingest,
    blob: NewBlob,
    place: () => Promise<void>,
  ): Promise<void> {
    checkLabels(blob.labels);
    this.context.requireLease(call);
    const { db } = this.context;
    using _lock = await this.files.locks.acquire(blob.digest);
    if (!this.#blobs.has(call, blob.digest)) await place();
    const isNew = await db.write(() => {
      db.run("DELETE FROM ingests WHERE id = ?", ingest.id);
      this.context.detachLease(call, "ingests", ingest.ref);
      return this.#blobs.add(call, blob);
    });
    await this.files.removeIngest(ingest.id);
    if (!isNew) throw alreadyExists(`content ${blob.digest}`);
    this.#blobs.announce(call, blob);
  }

  /** Finds the row of an ingest to resume, or makes one. @throws already-exists when its blob is there */
  async #prepare(call: NamespacedCall, options: WriterOptions): Promise<Ingest> {
    const { ref, expected, size: wanted = 0n } = options;
    if (expected !== undefined) await this.#blobs.forgetDamaged(call, expected);
    const sharedSize = expected === undefined ? undefined : await this.#sharing.sizeOf(expected, wanted);
    const ingest = await this.context.db.write(
      (): Ingest | undefined => {
        if (expected !== undefined && this.#blobs.has(call, expected)) {
          this.#blobs.keep(call, expected);
          return undefined;
        }
        this.context.ensureNamespace(call.namespace);
        const leased = this.context.attachLease(call, "ingests", ref);
        const expires = leased ? null : nowNs() + INGEST_LIFE;
        const old = this.#row(call.namespace, ref);
        const resumes = old !== undefined && old["shared"] === null && sharedSize === undefined;
        const made = resumes
          ? this.#resume(old, options, expires)
          : this.#make(call, options, { replaces: old, sharedSize, expires });
        this.context.touch("ingest", call.namespace, ref);
        return made;
      },
      { durable: false },
    );
    if (ingest === undefined) throw alreadyExists(`content ${expected ?? ""}`);
    return ingest;
  }

  /** Inside a transaction. */
  #resume(old: Row, { size, expected }: WriterOptions, expires: bigint | null): Ingest {
    const id = int(old, "id");
    this.context.db.run("UPDATE ingests SET expires = ? WHERE id = ?", expires, id);
    return {
      id,
      namespace: text(old, "ns"),
      ref: text(old, "ref"),
      total: size !== undefined && size > 0n ? size : int(old, "total"),
      expected,
      shared: undefined,
      startedAt: int(old, "started"),
      updatedAt: int(old, "updated"),
      fresh: false,
    };
  }

  /** Inside a transaction. @param how.sharedSize size of the blob of another namespace that it stands for */
  #make(
    call: NamespacedCall,
    { ref, size = 0n, expected }: WriterOptions,
    how: { replaces: Row | undefined; sharedSize: bigint | undefined; expires: bigint | null },
  ): Ingest {
    const { db } = this.context;
    const { namespace } = call;
    const shared: Digest | undefined = how.sharedSize === undefined ? undefined : expected;
    const total = how.sharedSize ?? size;
    const now = nowNs();
    if (how.replaces !== undefined) db.run("DELETE FROM ingests WHERE id = ?", int(how.replaces, "id"));
    const { id } = db.run(
      `INSERT INTO ingests(ns, ref, shared, total, expected, started, updated, expires)
       VALUES(?, ?, ?, ?, ?, ?, ?, ?)`,
      namespace,
      ref,
      shared ?? null,
      total,
      expected ?? null,
      now,
      now,
      how.expires,
    );
    return { id, namespace, ref, total, expected, shared, startedAt: now, updatedAt: now, fresh: true };
  }

  async #status(row: Row): Promise<IngestStatus> {
    const ref = text(row, "ref");
    const open = this.#open.get(lockKey(text(row, "ns"), ref));
    if (open !== undefined) return open.status();
    const shared = maybe(row, "shared", text);
    const offset =
      shared === undefined ? BigInt(await this.files.ingestSize(int(row, "id"))) : int(row, "total");
    return {
      ref,
      offset,
      total: int(row, "total"),
      expected: maybe(row, "expected", text) as Digest | undefined,
      startedAt: int(row, "started"),
      updatedAt: int(row, "updated"),
    };
  }

  #find(call: NamespacedCall, ref: string): Row {
    const row = this.#row(call.namespace, ref);
    if (row === undefined) throw notFound(`reference ${ref}`);
    return row;
  }

  #row(namespace: string, ref: string): Row | undefined {
    return this.context.db.get(`SELECT ${COLUMNS} FROM ingests WHERE ns = ? AND ref = ?`, namespace, ref);
  }
}

function lockKey(namespace: string, ref: string): string {
  return `${namespace}\0${ref}`;
}
