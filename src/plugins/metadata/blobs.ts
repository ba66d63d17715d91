/**
 * Blobs of the local store: rows say which namespace sees which digest, files hold the bytes once for all of them. A file is
 * there before the first row that names it and goes after the last, under the digest's lock.
 */
import type { Labels } from "../../core/any.ts";
import type { NamespacedCall } from "../../core/call.ts";
import type { ContentInfo } from "../../core/content/content.ts";
import { notFound } from "../../core/errors.ts";
import type { Digest } from "../../core/ids/digest.ts";
import { nowNs } from "../../lib/time.ts";
import type { BlobFiles } from "./blob-files.ts";
import type { StoreContext } from "./context.ts";
import { encodeLabels, int, labels, type Row, text } from "./rows.ts";

/** Columns that {@link toInfo} reads. */
export const BLOB_COLUMNS = "rowid, digest, size, labels, created, updated";

/** A blob that is about to be seen by a namespace. */
export interface NewBlob {
  readonly digest: Digest;
  readonly size: bigint;
  readonly labels: Labels;
}

/** See the head of this file. */
export class Blobs {
  readonly context: StoreContext;
  readonly files: BlobFiles;

  constructor(context: StoreContext, files: BlobFiles) {
    this.context = context;
    this.files = files;
  }

  /** True when the call's namespace sees the blob. */
  has(call: NamespacedCall, digest: Digest): boolean {
    return this.#row(call, digest) !== undefined;
  }

  /** @throws not-found, data-loss (the record is damaged) */
  find(call: NamespacedCall, digest: Digest): ContentInfo {
    const row = this.#row(call, digest);
    if (row === undefined) throw notFound(`content digest ${digest}`);
    return this.context.db.decodeOne("blobs", row, toInfo);
  }

  /**
   * Lets the call's namespace see a blob and adds it to the call's lease; inside a transaction, with the digest locked.
   * @returns false when the namespace saw it already
   */
  add(call: NamespacedCall, blob: NewBlob): boolean {
    const now = nowNs();
    const { changes } = this.context.db.run(
      "INSERT OR IGNORE INTO blobs(ns, digest, size, labels, created, updated) VALUES(?, ?, ?, ?, ?, ?)",
      call.namespace,
      blob.digest,
      blob.size,
      encodeLabels(blob.labels),
      now,
      now,
    );
    this.keep(call, blob.digest);
    return changes > 0;
  }

  /** Adds a blob that the namespace sees to the call's lease; inside a transaction. */
  keep(call: NamespacedCall, digest: Digest): void {
    this.context.attachLease(call, "content", digest);
    this.context.touch("content", call.namespace, digest);
  }

  /** Tells of a blob that a namespace sees now; after the transaction. */
  announce(call: NamespacedCall, { digest, size }: Pick<NewBlob, "digest" | "size">): void {
    this.context.publish(call, "/content/create", { digest, size });
    this.context.mutated("change");
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

  /** Forgets a blob whose file is missing or cut short, so that it can be written again. */
  async forgetDamaged(call: NamespacedCall, digest: Digest): Promise<void> {
    const row = this.#row(call, digest);
    if (row === undefined) return;
    using _lock = await this.files.locks.acquire(digest);
    const size = (await this.files.stat(digest))?.size;
    if (size !== undefined && BigInt(size) === int(row, "size")) return;
    const { db, log } = this.context;
    log.error("blob is damaged: forgotten so that it can be fetched again", {
      digest,
      size,
      want: row["size"],
    });
    await db.write(() => db.run("DELETE FROM blobs WHERE ns = ? AND digest = ?", call.namespace, digest));
  }

  #row(call: NamespacedCall, digest: Digest): Row | undefined {
    return this.context.db.get(
      `SELECT ${BLOB_COLUMNS} FROM blobs WHERE ns = ? AND digest = ?`,
      call.namespace,
      digest,
    );
  }
}

/** Decodes a row of {@link BLOB_COLUMNS}. */
export function toInfo(row: Row): ContentInfo {
  return {
    digest: text(row, "digest") as Digest,
    size: int(row, "size"),
    createdAt: int(row, "created"),
    updatedAt: int(row, "updated"),
    labels: labels(row),
  };
}
