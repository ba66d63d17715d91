import type { Labels } from "../../core/any.ts";
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
import { alreadyExists, notFound } from "../../core/errors.ts";
import { checkFields, maskLabels } from "../../core/fieldmask.ts";
import { adaptContent, adaptIngest } from "../../core/filters/adaptors.ts";
import { compileFilters } from "../../core/filters/filter.ts";
import type { Digest } from "../../core/ids/digest.ts";
import { checkLabels } from "../../core/labels.ts";
import { nowNs } from "../../lib/time.ts";
import type { BlobFiles } from "./blob-files.ts";
import { FileBlobReader, MemoryBlobReader } from "./blob-reader.ts";
import { BlobSharing } from "./blob-sharing.ts";
import { BLOB_COLUMNS, Blobs, toInfo } from "./blobs.ts";
import type { StoreContext } from "./context.ts";
import { IngestTable } from "./ingest-table.ts";
import { ExternalIngest, IngestWriter } from "./ingest-writers.ts";
import { encodeLabels } from "./rows.ts";

/** Blobs up to this size are read in one go when the kernel has them in memory. */
const SMALL = 128 << 10;
/** Rows read at once while walking. */
const PAGE = 1000;

/** The content store of this machine: what clients ask of it, over {@link Blobs} and {@link IngestTable}. */
export class SqliteContentStore implements LocalContentStore {
  readonly blobs: Blobs;
  readonly ingests: IngestTable;
  readonly #context: StoreContext;
  readonly #sharing: BlobSharing;

  /** @param shared content_sharing_policy: true = a namespace gets a blob by naming its digest */
  constructor(context: StoreContext, files: BlobFiles, shared: boolean) {
    this.#context = context;
    this.blobs = new Blobs(context, files);
    this.#sharing = new BlobSharing(this.blobs, shared);
    this.ingests = new IngestTable(this.blobs, this.#sharing);
  }

  async info(call: NamespacedCall, digest: Digest): Promise<ContentInfo> {
    return this.blobs.find(call, digest);
  }

  async update(
    call: NamespacedCall,
    digest: Digest,
    given: Labels,
    fields: readonly string[],
  ): Promise<ContentInfo> {
    checkFields(fields, ["labels"], ["labels."], `content info "${digest}"`);
    const { db } = this.#context;
    const updated = await db.write(() => {
      const old = this.blobs.find(call, digest);
      const next = { ...old, labels: maskLabels(old.labels, given, fields), updatedAt: nowNs() };
      checkLabels(next.labels);
      db.run(
        "UPDATE blobs SET labels = ?, updated = ? WHERE ns = ? AND digest = ?",
        encodeLabels(next.labels),
        next.updatedAt,
        call.namespace,
        digest,
      );
      this.#context.touch("content", call.namespace, digest);
      return next;
    });
    this.#context.mutated("change");
    return updated;
  }

  async *walk(
    call: NamespacedCall,
    filters: readonly string[],
  ): AsyncGenerator<ContentInfo, void, undefined> {
    const match = compileFilters(filters);
    const { db } = this.#context;
    for (let after = ""; ; ) {
      const rows = db.all(
        `SELECT ${BLOB_COLUMNS} FROM blobs WHERE ns = ? AND digest > ? ORDER BY digest LIMIT ${PAGE}`,
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
    const { db } = this.#context;
    await db.write(
      () => {
        const { changes } = db.run("DELETE FROM blobs WHERE ns = ? AND digest = ?", call.namespace, digest);
        if (changes === 0) throw notFound(`content digest ${digest}`);
        this.#context.detachLease(call, "content", digest);
      },
      { frees: true },
    );
    this.#context.publish(call, "/content/delete", { digest });
    this.#context.mutated("delete");
    await this.blobs.removeUnused(digest);
  }

  async reader(call: NamespacedCall, digest: Digest): Promise<BlobReader> {
    this.blobs.find(call, digest);
    const { files } = this.blobs;
    const path = files.blob(digest);
    const small = files.cached.read(path, SMALL);
    if (small !== undefined) return new MemoryBlobReader(small);
    await files.ensure(digest);
    return await FileBlobReader.open(path, `content digest ${digest}`);
  }

  async blobPath(call: NamespacedCall, digest: Digest): Promise<string> {
    this.blobs.find(call, digest);
    const { files } = this.blobs;
    await files.ensure(digest);
    return files.blob(digest);
  }

  async status(call: NamespacedCall, ref: string): Promise<IngestStatus> {
    return await this.ingests.status(call, ref);
  }

  async statuses(call: NamespacedCall, filters: readonly string[]): Promise<IngestStatus[]> {
    const match = compileFilters(filters);
    return (await this.ingests.statuses(call)).filter((s) => match(adaptIngest(s)));
  }

  async abort(call: NamespacedCall, ref: string): Promise<void> {
    await this.ingests.abort(call, ref);
  }

  async writer(call: NamespacedCall, options: WriterOptions): Promise<ContentWriter> {
    const { ingests } = this;
    return await ingests.open(call, options, (ingest) => IngestWriter.open(ingests, call, ingest));
  }

  async externalWriter(call: NamespacedCall, options: WriterOptions): Promise<ExternalWriter> {
    const { expected } = options;
    if (expected !== undefined && (await this.#sharing.adopt(call, expected, options.size ?? 0n)))
      throw alreadyExists(`content ${expected}`);
    const { ingests } = this;
    return await ingests.open(call, options, (ingest) => ExternalIngest.open(ingests, call, ingest));
  }

  onLayer(listener: () => void): void {
    this.ingests.onLayer(listener);
  }
}
