import type { Labels, TimeNs } from "../../core/any.ts";
import type { NamespacedCall } from "../../core/call.ts";
import type {
  BlobReader,
  ContentInfo,
  ContentWriter,
  ExternalWriter,
  IngestStatus,
  LocalContentStore,
  WriterOptions,
} from "../../core/content/content.ts";
import { alreadyExists, invalidArgument, notFound, unavailable } from "../../core/errors.ts";
import { checkFields, maskLabels } from "../../core/fieldmask.ts";
import { adaptContent, adaptIngest } from "../../core/filters/adaptors.ts";
import { compileFilters } from "../../core/filters/filter.ts";
import { type NodeId, nodeId } from "../../core/gc/nodes.ts";
import type { Digest } from "../../core/ids/digest.ts";
import { checkLabels } from "../../core/labels.ts";
import { formatRfc3339, nowNs } from "../../lib/time.ts";
import type { BlobFiles } from "./blob-files.ts";
import { FileBlobReader, MemoryBlobReader } from "./blob-reader.ts";
import type { StoreContext } from "./context.ts";
import { ExternalIngest, type Ingest, type IngestOwner, IngestWriter } from "./ingests.ts";
import { encodeLabels, int, labels, maybe, type Row, text } from "./rows.ts";

/** How long an ingest that no lease holds is kept, in nanoseconds. */
const INGEST_LIFE = 24n * 3600n * 1_000_000_000n;
/** Blobs up to this size are read in one go when the kernel has them in memory. */
const SMALL = 128 << 10;
/** Rows read at once while walking. */
const PAGE = 1000;
/** How every client of containerd's family names the ingest of a layer (the digest follows). */
const LAYER_REF = "layer-";
const COLUMNS = "rowid, digest, size, labels, created, updated";
const INGEST_COLUMNS = "id AS rowid, id, ns, ref, shared, total, expected, started, updated";

/** Content of the local store: rows say what a namespace sees, files hold the bytes once for all namespaces. */
export class SqliteContentStore implements LocalContentStore, IngestOwner {
  readonly context: StoreContext;
  readonly files: BlobFiles;
  readonly #shared: boolean;
  #onLayer: () => void = () => {};
  readonly #open = new Map<string, { readonly since: TimeNs; status: () => IngestStatus }>();

  /** @param shared content_sharing_policy: true = a namespace gets a blob by naming its digest */
  constructor(context: StoreContext, files: BlobFiles, shared: boolean) {
    this.context = context;
    this.files = files;
    this.#shared = shared;
  }

  async info(call: NamespacedCall, digest: Digest): Promise<ContentInfo> {
    return this.#find(call, digest);
  }

  async update(
    call: NamespacedCall,
    digest: Digest,
    given: Labels,
    fields: readonly string[],
  ): Promise<ContentInfo> {
    checkFields(fields, ["labels"], ["labels."], `content info "${digest}"`);
    const { db } = this.context;
    const updated = await db.write(() => {
      const old = this.#find(call, digest);
      const next = { ...old, labels: maskLabels(old.labels, given, fields), updatedAt: nowNs() };
      checkLabels(next.labels);
      db.run(
        "UPDATE blobs SET labels = ?, updated = ? WHERE ns = ? AND digest = ?",
        encodeLabels(next.labels),
        next.updatedAt,
        call.namespace,
        digest,
      );
      this.context.touch("content", call.namespace, digest);
      return next;
    });
    this.context.mutated("change");
    return updated;
  }

  async *walk(
    call: NamespacedCall,
    filters: readonly string[],
  ): AsyncGenerator<ContentInfo, void, undefined> {
    const match = compileFilters(filters);
    const { db } = this.context;
    for (let after = ""; ; ) {
      const rows = db.all(
        `SELECT ${COLUMNS} FROM blobs WHERE ns = ? AND digest > ? ORDER BY digest LIMIT ${PAGE}`,
        call.namespace,
        after,
      );
      for (const info of db.decode("blobs", rows, toInfo)) {
        if (match(adaptContent(info))) yield info;
      }
      const last = rows.at(-1);
      if (last === undefined || rows.length < PAGE) return;
      after = String(last["digest"]);
    }
  }

  async delete(call: NamespacedCall, digest: Digest): Promise<void> {
    const { db } = this.context;
    await db.write(
      () => {
        const { changes } = db.run("DELETE FROM blobs WHERE ns = ? AND digest = ?", call.namespace, digest);
        if (changes === 0) throw notFound(`content digest ${digest}`);
        this.context.detachLease(call, "content", digest);
      },
      { frees: true },
    );
    this.context.publish(call, "/content/delete", { digest });
    this.context.mutated("delete");
    await this.removeUnused(digest);
  }

  async reader(call: NamespacedCall, digest: Digest): Promise<BlobReader> {
    this.#find(call, digest);
    const path = this.files.blob(digest);
    const small = this.files.cached.read(path, SMALL);
    if (small !== undefined) return new MemoryBlobReader(small);
    await this.files.ensure(digest);
    return await FileBlobReader.open(path, `content digest ${digest}`);
  }

  async blobPath(call: NamespacedCall, digest: Digest): Promise<string> {
    this.#find(call, digest);
    await this.files.ensure(digest);
    return this.files.blob(digest);
  }

  async status(call: NamespacedCall, ref: string): Promise<IngestStatus> {
    const row = this.#ingestRow(call.namespace, ref);
    if (row === undefined) throw notFound(`reference ${ref}`);
    return await this.#status(row);
  }

  async statuses(call: NamespacedCall, filters: readonly string[]): Promise<IngestStatus[]> {
    const match = compileFilters(filters);
    const { db } = this.context;
    const rows = db.all(`SELECT ${INGEST_COLUMNS} FROM ingests WHERE ns = ? ORDER BY ref`, call.namespace);
    const all = await Promise.all(db.decode("ingests", rows, (row) => this.#status(row)));
    return all.filter((s) => match(adaptIngest(s)));
  }

  async abort(call: NamespacedCall, ref: string): Promise<void> {
    const row = this.#ingestRow(call.namespace, ref);
    if (row === undefined) throw notFound(`reference ${ref}`);
    await this.dropIngest(call, { id: int(row, "id"), ref });
    this.context.mutated("delete");
  }

  async writer(call: NamespacedCall, options: WriterOptions): Promise<ContentWriter> {
    return await this.#openIngest(call, options, (ingest) => IngestWriter.open(this, call, ingest));
  }

  onLayer(listener: () => void): void {
    this.#onLayer = listener;
  }

  async externalWriter(call: NamespacedCall, options: WriterOptions): Promise<ExternalWriter> {
    const { expected } = options;
    if (expected !== undefined && (await this.#adoptShared(call, expected, options.size ?? 0n)))
      throw alreadyExists(`content ${expected}`);
    return await this.#openIngest(call, options, (ingest) => ExternalIngest.open(this, call, ingest));
  }

  /** Ingests that are open now: they stay whatever holds them. */
  openIngests(): NodeId[] {
    return [...this.#open.keys()].map((key) => {
      const nul = key.indexOf("\0");
      return nodeId("ingest", key.slice(0, nul), key.slice(nul + 1));
    });
  }

  /** Removes the bytes of a blob that no namespace has and no shared ingest waits for. */
  async removeUnused(digest: Digest): Promise<void> {
    using _lock = await this.files.locks.acquire(digest);
    const { db } = this.context;
    if (db.get("SELECT 1 FROM blobs WHERE digest = ? LIMIT 1", digest) !== undefined) return;
    if (db.get("SELECT 1 FROM ingests WHERE shared = ? LIMIT 1", digest) !== undefined) return;
    await this.files
      .remove(digest)
      .catch((err: unknown) => this.context.log.warn("blob was not removed", { digest, err }));
  }

  /** Forgets a blob whose file is missing or cut short, so that it can be written again. @returns true when it did */
  async forgetDamaged(call: NamespacedCall, digest: Digest): Promise<boolean> {
    const row = this.#row(call, digest);
    if (row === undefined) return false;
    using _lock = await this.files.locks.acquire(digest);
    const size = (await this.files.stat(digest))?.size;
    if (size !== undefined && BigInt(size) === int(row, "size")) return false;
    const { db, log } = this.context;
    log.error("blob is damaged: forgotten so that it can be fetched again", {
      digest,
      size,
      want: row["size"],
    });
    await db.write(() => db.run("DELETE FROM blobs WHERE ns = ? AND digest = ?", call.namespace, digest));
    return true;
  }

  /** See {@link IngestOwner}. */
  release(ingest: Ingest): void {
    this.#open.delete(lockKey(ingest.namespace, ingest.ref));
  }

  /** See {@link IngestOwner}. */
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

  /** See {@link IngestOwner}. */
  async record(
    call: NamespacedCall,
    ingest: Ingest,
    blob: { digest: Digest; size: bigint; labels: Labels },
    place: () => Promise<void>,
  ): Promise<void> {
    checkLabels(blob.labels);
    this.context.requireLease(call);
    const { db } = this.context;
    using _lock = await this.files.locks.acquire(blob.digest);
    if (this.#row(call, blob.digest) === undefined) await place();
    const isNew = await db.write(() => {
      const now = nowNs();
      const { changes } = db.run(
        "INSERT OR IGNORE INTO blobs(ns, digest, size, labels, created, updated) VALUES(?, ?, ?, ?, ?, ?)",
        call.namespace,
        blob.digest,
        blob.size,
        encodeLabels(blob.labels),
        now,
        now,
      );
      db.run("DELETE FROM ingests WHERE id = ?", ingest.id);
      this.context.detachLease(call, "ingests", ingest.ref);
      this.context.attachLease(call, "content", blob.digest);
      this.context.touch("content", call.namespace, blob.digest);
      return changes > 0;
    });
    await this.files.removeIngest(ingest.id);
    if (!isNew) throw alreadyExists(`content ${blob.digest}`);
    this.context.publish(call, "/content/create", { digest: blob.digest, size: blob.size });
    this.context.mutated("change");
  }

  /** Takes the ref's lock, finds or makes its row, then opens the writer. */
  async #openIngest<T extends { status(): IngestStatus }>(
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
      const ingest = await this.#prepareIngest(call, options);
      const writer = await start(ingest);
      entry.status = () => writer.status();
      return writer;
    } catch (err) {
      this.#open.delete(key);
      throw err;
    }
  }

  async #prepareIngest(call: NamespacedCall, options: WriterOptions): Promise<Ingest> {
    const { db } = this.context;
    const { ref, expected } = options;
    if (expected !== undefined) await this.forgetDamaged(call, expected);
    const sharedSize =
      expected === undefined ? undefined : await this.#sharedSize(expected, options.size ?? 0n);
    const ingest = await db.write(
      (): Ingest | undefined => {
        if (expected !== undefined && this.#row(call, expected) !== undefined) {
          this.context.attachLease(call, "content", expected);
          this.context.touch("content", call.namespace, expected);
          return undefined;
        }
        this.context.ensureNamespace(call.namespace);
        const now = nowNs();
        const leased = this.context.attachLease(call, "ingests", ref);
        const expires = leased ? null : now + INGEST_LIFE;
        const total = sharedSize ?? options.size ?? 0n;
        const old = this.#ingestRow(call.namespace, ref);
        const wasShared = old !== undefined && old["shared"] !== null;
        const shared = sharedSize === undefined ? undefined : expected;
        if (old !== undefined && !wasShared && shared === undefined) {
          db.run("UPDATE ingests SET expires = ? WHERE id = ?", expires, int(old, "id"));
          this.context.touch("ingest", call.namespace, ref);
          return {
            id: int(old, "id"),
            namespace: call.namespace,
            ref,
            total: options.size !== undefined && options.size > 0n ? options.size : int(old, "total"),
            expected,
            shared: undefined,
            startedAt: int(old, "started"),
            updatedAt: int(old, "updated"),
            fresh: false,
          };
        }
        if (old !== undefined) db.run("DELETE FROM ingests WHERE id = ?", int(old, "id"));
        const { id } = db.run(
          `INSERT INTO ingests(ns, ref, shared, total, expected, started, updated, expires)
           VALUES(?, ?, ?, ?, ?, ?, ?, ?)`,
          call.namespace,
          ref,
          shared ?? null,
          total,
          expected ?? null,
          now,
          now,
          expires,
        );
        this.context.touch("ingest", call.namespace, ref);
        return {
          id,
          namespace: call.namespace,
          ref,
          total,
          expected,
          shared,
          startedAt: now,
          updatedAt: now,
          fresh: true,
        };
      },
      { durable: false },
    );
    if (ingest === undefined) throw alreadyExists(`content ${expected ?? ""}`);
    return ingest;
  }

  /** Size of a blob that another namespace has and this one may take without sending it. */
  async #sharedSize(digest: Digest, wanted: bigint): Promise<bigint | undefined> {
    const { db } = this.context;
    const row = this.#shared
      ? db.get("SELECT size FROM blobs WHERE digest = ? LIMIT 1", digest)
      : db
          .all(
            "SELECT b.size, n.labels FROM blobs b JOIN namespaces n ON n.name = b.ns WHERE b.digest = ?",
            digest,
          )
          .find((r) => labels(r).get("containerd.io/namespace.shareable") === "true");
    const size = row !== undefined ? int(row, "size") : await this.#sizeElsewhere(digest);
    if (size === undefined) return undefined;
    if (wanted !== 0n && wanted !== size) return undefined;
    // a file that is missing or cut short is not shared: it heals when the bytes come again
    const file = await this.files.stat(digest);
    return file !== undefined && BigInt(file.size) === size ? size : undefined;
  }

  /** Of a blob that no namespace has, but the process that keeps them. */
  async #sizeElsewhere(digest: Digest): Promise<bigint | undefined> {
    return this.#shared ? await this.files.elsewhere(digest) : undefined;
  }

  /** Gives a namespace a blob it may share, without an ingest. */
  async #adoptShared(call: NamespacedCall, digest: Digest, wanted: bigint): Promise<boolean> {
    if (this.#row(call, digest) !== undefined) return false;
    const size = await this.#sharedSize(digest, wanted);
    if (size === undefined) return false;
    using _lock = await this.files.locks.acquire(digest);
    if ((await this.files.stat(digest)) === undefined) return false;
    const { db } = this.context;
    await db.write(() => {
      this.context.ensureNamespace(call.namespace);
      const now = nowNs();
      db.run(
        "INSERT OR IGNORE INTO blobs(ns, digest, size, labels, created, updated) VALUES(?, ?, ?, '{}', ?, ?)",
        call.namespace,
        digest,
        size,
        now,
        now,
      );
      this.context.attachLease(call, "content", digest);
      this.context.touch("content", call.namespace, digest);
    });
    this.context.publish(call, "/content/create", { digest, size });
    this.context.mutated("change");
    return true;
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

  #ingestRow(namespace: string, ref: string): Row | undefined {
    return this.context.db.get(
      `SELECT ${INGEST_COLUMNS} FROM ingests WHERE ns = ? AND ref = ?`,
      namespace,
      ref,
    );
  }

  #row(call: NamespacedCall, digest: Digest): Row | undefined {
    return this.context.db.get(
      `SELECT ${COLUMNS} FROM blobs WHERE ns = ? AND digest = ?`,
      call.namespace,
      digest,
    );
  }

  #find(call: NamespacedCall, digest: Digest): ContentInfo {
    const row = this.#row(call, digest);
    if (row === undefined) throw notFound(`content digest ${digest}`);
    return this.context.db.decodeOne("blobs", row, toInfo);
  }
}

function toInfo(row: Row): ContentInfo {
  return {
    digest: text(row, "digest") as Digest,
    size: int(row, "size"),
    createdAt: int(row, "created"),
    updatedAt: int(row, "updated"),
    labels: labels(row),
  };
}

function lockKey(namespace: string, ref: string): string {
  return `${namespace}\0${ref}`;
}
