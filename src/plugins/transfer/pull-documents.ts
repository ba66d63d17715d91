/** Manifests, indexes and configs of a pull: read from the source, verified, and stored while the layers come. */
import type { Labels } from "../../core/any.ts";
import type { NamespacedCall } from "../../core/call.ts";
import type { ContentInfo } from "../../core/content/content.ts";
import { failedPrecondition } from "../../core/errors.ts";
import type { Digest } from "../../core/ids/digest.ts";
import type { Descriptor } from "../../core/oci.ts";
import { traced } from "../../core/tracing/traced.ts";
import { createDeferred } from "../../lib/deferred.ts";
import type { Semaphore } from "../../lib/semaphore.ts";
import {
  type Index,
  MAX_CONFIG,
  MAX_MANIFEST,
  type Manifest,
  parseManifestOrIndex,
} from "../../oci/documents.ts";
import { isConfigType } from "../../oci/media-types.ts";
import {
  addLabels,
  blobAttributes,
  exclusive,
  findBlob,
  holdBlob,
  mergeSources,
  readBlob,
  storeBlob,
  storeBytes,
} from "./blobs.ts";
import type { TransferContext } from "./context.ts";
import { childLabels } from "./graph.ts";
import type { ProgressTracker } from "./progress.ts";
import type { PullSource } from "./sources.ts";

/** Where documents come from, and what goes with them. */
export interface DocumentsFrom {
  readonly source: PullSource;
  readonly progress: ProgressTracker;
  readonly downloads: Semaphore;
  /** Labels of each blob. */
  readonly labels: Labels;
}

/** See the head of this file. */
export class PullDocuments {
  readonly #ctx: TransferContext;
  readonly #call: NamespacedCall;
  readonly #from: DocumentsFrom;
  /** Documents on their way to the disk: what is in them is verified, so that nobody waits for it. */
  readonly #storing: Promise<void>[] = [];
  readonly #configs = new Map<Digest, Promise<Uint8Array>>();

  constructor(ctx: TransferContext, call: NamespacedCall, from: DocumentsFrom) {
    this.#ctx = ctx;
    this.#call = call;
    this.#from = from;
  }

  /** The verified bytes of a config, from the store or brought into it by {@link config}. */
  read(config: Descriptor): Promise<Uint8Array> {
    return this.#configs.get(config.digest) ?? readBlob(this.#ctx, this.#call, config, MAX_CONFIG);
  }

  /** Brings a config. */
  async config(desc: Descriptor): Promise<void> {
    checkConfig(desc);
    const known = this.#configs.get(desc.digest);
    if (known !== undefined) return void (await known);
    const bytes = this.#early<Uint8Array>(desc, async (give) => {
      if ((await findBlob(this.#ctx, this.#call, desc.digest)) !== undefined) {
        await this.blob(desc);
        give(await readBlob(this.#ctx, this.#call, desc, MAX_CONFIG));
        return;
      }
      const got = await this.#small(desc, MAX_CONFIG);
      give(got);
      await storeBytes(this.#ctx, this.#call, desc, got, this.#from.labels);
      this.#from.progress.step(desc, "complete");
    });
    this.#configs.set(desc.digest, bytes);
    await bytes;
  }

  /** Fetches a small document. */
  async #small(desc: Descriptor, max: number): Promise<Uint8Array> {
    using _slot = await this.#from.downloads.acquire(this.#call.signal);
    this.#from.progress.bytes(desc, 0n);
    const read = (c: NamespacedCall): Promise<Uint8Array> => this.#from.source.read(desc, max, c.signal);
    return await traced(this.#call, "fetch", read, blobAttributes(desc));
  }

  /**
   * Runs `work` for a document, one pull at a time: the others find it in the store. What follows needs the verified bytes
   * only, so it goes on when `work` gives them; {@link stored} waits for the rest.
   */
  #early<T>(desc: Descriptor, work: (give: (value: T) => void) => Promise<void>): Promise<T> {
    const given = createDeferred<T>();
    const done = exclusive(this.#ctx, this.#call, `document ${desc.digest}`, () => work(given.resolve));
    done.catch(given.reject);
    this.#storing.push(done);
    return given.promise;
  }

  /** Waits until every document is stored. @throws the first failure */
  async stored(): Promise<void> {
    await Promise.allSettled(this.#storing);
    await Promise.all(this.#storing);
  }

  /** A manifest or index: from the store when it is sound there, else from the source; labelled with its children. */
  document(desc: Descriptor): Promise<Manifest | Index> {
    return this.#early<Manifest | Index>(desc, async (give) => {
      const known = await findBlob(this.#ctx, this.#call, desc.digest);
      const doc = known === undefined ? undefined : await this.#storedDocument(desc, known);
      if (doc !== undefined) return give(doc);
      const bytes = await this.#small(desc, MAX_MANIFEST);
      const fresh = await parseManifestOrIndex(bytes, desc.mediaType);
      give(fresh);
      const labels = new Map([...this.#from.labels, ...childLabels(fresh)]);
      await storeBytes(this.#ctx, this.#call, desc, bytes, labels);
      this.#from.progress.step(desc, "complete");
    });
  }

  async #storedDocument(desc: Descriptor, known: ContentInfo): Promise<Manifest | Index | undefined> {
    try {
      const bytes = await readBlob(this.#ctx, this.#call, desc, MAX_MANIFEST);
      const doc = await parseManifestOrIndex(bytes, desc.mediaType);
      await holdBlob(this.#ctx, this.#call, desc.digest);
      const labels = new Map([...mergeSources(this.#from.labels, known.labels), ...childLabels(doc)]);
      await addLabels(this.#ctx, this.#call, known, labels);
      this.#from.progress.step(desc, "already exists");
      return doc;
    } catch (err) {
      // Damaged on disk: a pull heals it (R1).
      this.#call.log.warn("stored manifest is damaged: fetched again", { digest: desc.digest, err });
      // where it cannot be deleted, writing it again says so
      await this.#ctx.stores.content.delete(this.#call, desc.digest).catch(() => {});
      return undefined;
    }
  }

  /** Brings a blob into the store as it is. */
  async blob(desc: Descriptor): Promise<void> {
    checkConfig(desc);
    using _slot = await this.#from.downloads.acquire(this.#call.signal);
    const { source, progress, labels } = this.#from;
    await storeBlob(this.#ctx, this.#call, { desc, source, labels, progress });
  }
}

/** @throws failed-precondition when a config is too large to be one */
function checkConfig(desc: Descriptor): void {
  if (isConfigType(desc.mediaType) && desc.size > BigInt(MAX_CONFIG))
    throw failedPrecondition(`config ${desc.digest}: ${desc.size} bytes, larger than ${MAX_CONFIG}`);
}
