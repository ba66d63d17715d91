/**
 * Which blobs a namespace may have without sending their bytes (`content_sharing_policy`): under `shared` all that are
 * there, else those of namespaces that say so by a label.
 */
import type { NamespacedCall } from "../../core/call.ts";
import type { Digest } from "../../core/ids/digest.ts";
import { noLabels } from "../../core/labels.ts";
import type { Blobs } from "./blobs.ts";
import { int, labels } from "./rows.ts";

/** A namespace with this label, set to "true", shares its blobs under any policy. */
const SHAREABLE = "containerd.io/namespace.shareable";

/** See the head of this file. */
export class BlobSharing {
  readonly #blobs: Blobs;
  readonly #all: boolean;

  /** @param all true = a namespace gets any blob by naming its digest */
  constructor(blobs: Blobs, all: boolean) {
    this.#blobs = blobs;
    this.#all = all;
  }

  /**
   * Size of a blob that may be had without sending it, undefined when there is none.
   * @param wanted announced size, 0n when unknown
   */
  async sizeOf(digest: Digest, wanted: bigint): Promise<bigint | undefined> {
    const { files } = this.#blobs;
    // of no namespace: a process that keeps blobs for us may have it
    const size = this.#sizeInRows(digest) ?? (this.#all ? await files.elsewhere(digest) : undefined);
    if (size === undefined) return undefined;
    if (wanted !== 0n && wanted !== size) return undefined;
    // a file that is missing or cut short is not shared: it heals when the bytes come again
    const file = await files.stat(digest);
    return file !== undefined && BigInt(file.size) === size ? size : undefined;
  }

  /** Gives a namespace a blob it may share, without an ingest. @returns false when it has to be sent */
  async adopt(call: NamespacedCall, digest: Digest, wanted: bigint): Promise<boolean> {
    const { context, files } = this.#blobs;
    if (this.#blobs.has(call, digest)) return false;
    const size = await this.sizeOf(digest, wanted);
    if (size === undefined) return false;
    using _lock = await files.locks.acquire(digest);
    if ((await files.stat(digest)) === undefined) return false;
    await context.db.write(() => {
      context.ensureNamespace(call.namespace);
      this.#blobs.add(call, { digest, size, labels: noLabels });
    });
    this.#blobs.announce(call, { digest, size });
    return true;
  }

  #sizeInRows(digest: Digest): bigint | undefined {
    const { db } = this.#blobs.context;
    const row = this.#all
      ? db.get("SELECT size FROM blobs WHERE digest = ? LIMIT 1", digest)
      : db
          .all(
            "SELECT b.size, n.labels FROM blobs b JOIN namespaces n ON n.name = b.ns WHERE b.digest = ?",
            digest,
          )
          .find((r) => labels(r).get(SHAREABLE) === "true");
    return row === undefined ? undefined : int(row, "size");
  }
}
