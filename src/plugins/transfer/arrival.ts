import type { ExternalWriter } from "../../core/content/content.ts";
import type { StreamResult, StreamUnpack } from "../../core/diff/diff.ts";
import { failedPrecondition, isAlreadyExists } from "../../core/errors.ts";
import type { Mount } from "../../core/mounts/mount.ts";
import { appendUntil } from "./append.ts";
import { addLabels, findBlob, holdBlob, lockBlob, mergeSources, rangesOf, whenFree } from "./blobs.ts";
import type { LayerWork } from "./layer-job.ts";
import { refKey } from "./progress.ts";
import { isInterruption } from "./resume.ts";

/** Compressed bytes of a layer whose files take no longer than a helper's start. */
const SMALL = 2n << 20n;

/** The source gave other bytes than the digest says: worth one more try elsewhere. */
export class WrongBlob extends Error {
  constructor(cause: Error) {
    super("wrong blob", { cause });
    this.name = "WrongBlob";
  }
}

/** What an arrival has until its end. */
interface Held {
  readonly lock: Disposable;
  readonly ingest: ExternalWriter;
  readonly connection: Disposable;
}

/** A layer that comes into the store: it has the blob's lock, an open ingest and, while bytes come, a connection. */
export class Arrival implements AsyncDisposable {
  readonly #work: LayerWork;
  readonly #lock: Disposable;
  readonly #ingest: ExternalWriter;
  readonly #bytes: AsyncGenerator<Uint8Array, void, undefined>;
  #connection: Disposable | undefined;
  #closed = false;

  /** Begins, or goes on with what an earlier try left; undefined when the blob is in the store. */
  static async open(work: LayerWork): Promise<Arrival | undefined> {
    const { ctx, local, call, run, job } = work;
    const { digest, size } = job.desc;
    const lock = await lockBlob(ctx, call, digest);
    let connection: Disposable | undefined;
    try {
      const info = await findBlob(ctx, call, digest);
      if (info !== undefined) {
        await holdBlob(ctx, call, digest);
        await addLabels(ctx, call, info, mergeSources(job.blobLabels, info.labels));
      } else {
        connection = await run.downloads.acquire(call.signal);
        call.check();
        const options = { ref: refKey(job.desc), size, expected: digest };
        const open = whenFree(call, () => local.content.externalWriter(call, options));
        const ingest = await open.catch((err: unknown) => {
          if (isAlreadyExists(err)) return undefined;
          throw err;
        });
        if (ingest !== undefined) return new Arrival(work, { lock, ingest, connection });
      }
    } catch (err) {
      connection?.[Symbol.dispose]();
      lock[Symbol.dispose]();
      throw err;
    }
    connection?.[Symbol.dispose]();
    lock[Symbol.dispose]();
    return undefined;
  }

  private constructor(work: LayerWork, { lock, ingest, connection }: Held) {
    this.#work = work;
    this.#lock = lock;
    this.#ingest = ingest;
    this.#connection = connection;
    this.#bytes = this.#missing();
  }

  /**
   * Puts what comes into the file, for a helper to find it there later.
   * @returns true when all is there, false when `enough` says that no more should be put there
   */
  async collect(enough: () => boolean): Promise<boolean> {
    return await this.#careful(() => appendUntil(this.#ingest.path, this.#bytes, enough));
  }

  /** Gives a helper what is in the file and what still comes; the blob is in the store when it resolves. */
  async unpack(mounts: readonly Mount[]): Promise<{ unpack: StreamUnpack; result: StreamResult }> {
    const { desc, blobLabels } = this.#work.job;
    const small = desc.size <= SMALL;
    // A helper finds a small layer whole in the file: it waits for no network, and one is enough for many of them.
    if (small) await this.collect(() => false);
    let unpack: StreamUnpack | undefined;
    return await this.#careful(async () => {
      try {
        unpack = await this.#work.local.applier.start(this.#work.call, {
          mediaType: desc.mediaType,
          blobPath: this.#ingest.path,
          mounts,
          small,
        });
        for await (const chunk of this.#bytes) await unpack.write(chunk);
        const result = await unpack.end();
        if (result.blob.digest !== desc.digest || result.blob.size !== desc.size)
          throw new WrongBlob(
            failedPrecondition(`unexpected commit digest ${result.blob.digest}, expected ${desc.digest}`),
          );
        await this.#ingest.adopt(result.blob.size, desc.digest, desc.digest, blobLabels);
        this.#work.run.progress.step(desc, "complete");
        return { unpack, result };
      } catch (err) {
        await unpack?.abort();
        throw err;
      }
    });
  }

  /** Lets go of everything; what has come stays for the next try. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    try {
      await this.#bytes.return();
      await this.#ingest[Symbol.asyncDispose]();
    } finally {
      this.#disconnect();
      this.#lock[Symbol.dispose]();
    }
  }

  /** What came in before a break or a cancel is the right start: the next try goes on from there. Not after other failures. */
  async #careful<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (err) {
      // an ingest that cannot be removed now goes with its lease; what failed first is what to tell
      if (!isInterruption(err)) await this.#ingest.abort().catch(() => {});
      throw err;
    }
  }

  /** The bytes that the ingest lacks. What an earlier try left is read again by the helper, not by the network. */
  async *#missing(): AsyncGenerator<Uint8Array, void, undefined> {
    const { desc } = this.#work.job;
    const { source, downloads, progress } = this.#work.run;
    let done = this.#ingest.offset;
    progress.bytes(desc, done);
    const ranges = rangesOf(this.#work.ctx, downloads);
    for await (const chunk of source.stream(desc, done, this.#work.call.signal, ranges)) {
      yield chunk;
      done += BigInt(chunk.byteLength);
      this.#ingest.progress(done);
      progress.bytes(desc, done);
    }
    this.#disconnect();
  }

  #disconnect(): void {
    this.#connection?.[Symbol.dispose]();
    this.#connection = undefined;
  }
}
