/** Unpacking with our own stores: every layer streams into its own helper process; commits are in order. */
import type { NamespacedCall } from "../../core/call.ts";
import type { ExternalWriter } from "../../core/content/content.ts";
import type { StreamResult, StreamUnpack } from "../../core/diff/diff.ts";
import {
  dataLoss,
  failedPrecondition,
  isAlreadyExists,
  isCanceled,
  isDeadlineExceeded,
  isUnavailable,
} from "../../core/errors.ts";
import type { Mount } from "../../core/mounts/mount.ts";
import { traced } from "../../core/tracing/traced.ts";
import { createDeferred } from "../../lib/deferred.ts";
import { UndoStack } from "../../lib/undo-stack.ts";
import { appendAll } from "./append.ts";
import {
  addLabels,
  blobAttributes,
  blobLocked,
  findBlob,
  holdBlob,
  mergeSources,
  rangesOf,
  whenFree,
} from "./blobs.ts";
import type { LayerFlight, TransferContext, TransferStores } from "./context.ts";
import { extractKey, holdSnapshot, isCommitted, type LayerJob, type UnpackRun } from "./layer-job.ts";
import { refKey } from "./progress.ts";

type Local = NonNullable<TransferStores["local"]>;
/** Directory of a committed layer, when known. */
type Below = { readonly dir: string | undefined };

/** Compressed bytes of a layer whose files take no longer than a helper's start. */
const SMALL = 2n << 20n;

/** Unpacks the missing layers of one image. */
export async function unpackParallel(
  ctx: TransferContext,
  local: Local,
  call: NamespacedCall,
  run: UnpackRun,
): Promise<void> {
  const stop = new AbortController();
  const inner = call.until(stop.signal) as NamespacedCall;
  const lowers = new Lowers(run);
  let below: LayerFlight = { started: Promise.resolve(), done: Promise.resolve({ dir: undefined }) };
  const all = run.jobs.map((job) => {
    const parent = below;
    const flight = joinOrStart(ctx, local, inner, run, job, parent, lowers);
    flight.started.catch(() => {});
    flight.done.catch(() => stop.abort());
    below = flight;
    return flight.done;
  });
  const results = await Promise.allSettled(all);
  const failures = results.filter((r) => r.status === "rejected").map((r) => r.reason as unknown);
  if (failures.length === 0) return;
  call.check();
  // The first real failure: the others were stopped because of it.
  throw failures.find((e) => !isCanceled(e)) ?? failures[0];
}

/** Shares the work with another transfer that unpacks the same layer; takes over when that one is cancelled. */
function joinOrStart(
  ctx: TransferContext,
  local: Local,
  call: NamespacedCall,
  run: UnpackRun,
  job: LayerJob,
  parent: LayerFlight,
  lowers: Lowers,
): LayerFlight {
  const id = `${call.namespace} ${run.snapshotter} ${job.chainId}`;
  const other = ctx.layersInFlight.get(id);
  if (other !== undefined) {
    const done = other.done.then(
      async (below) => {
        await holdSnapshot(ctx, call, run.snapshotter, job.chainId);
        const info = await findBlob(ctx, call, job.desc.digest);
        if (info !== undefined) await holdBlob(ctx, call, job.desc.digest);
        if (info !== undefined && (await isCommitted(call, run.sn, job.chainId))) {
          lowers.set(job, below);
          run.progress.step(job.desc, "extracted");
          return below;
        }
        return again();
      },
      (err: unknown) => {
        if ((isCanceled(err) || isDeadlineExceeded(err)) && !call.signal.aborted) return again();
        throw err;
      },
    );
    const again = (): Promise<Below> => joinOrStart(ctx, local, call, run, job, parent, lowers).done;
    return { started: other.started, done };
  }
  const started = createDeferred<void>();
  const done = (async () => {
    await parent.started;
    using _slot = await ctx.unpackSlots.acquire(call.signal);
    started.resolve();
    return await traced(
      call,
      "unpack layer",
      (c) => new LayerRun(ctx, local, c, run, job, lowers).go(parent.done),
      blobAttributes(job.desc),
    );
  })();
  done.then(
    () => started.resolve(),
    (err: unknown) => started.reject(err),
  );
  const flight: LayerFlight = { started: started.promise, done };
  started.promise.catch(() => {});
  ctx.layersInFlight.set(id, flight);
  const forget = (): void => {
    if (ctx.layersInFlight.get(id) === flight) ctx.layersInFlight.delete(id);
  };
  done.then(forget, forget);
  return flight;
}

/** Where the files of the layers below are: what hard links and implied directories refer to. */
class Lowers {
  readonly #run: UnpackRun;
  readonly #dirs = new Map<string, string | undefined>();

  constructor(run: UnpackRun) {
    this.#run = run;
  }

  set(job: LayerJob, below: Below): void {
    this.#dirs.set(job.chainId, below.dir);
  }

  /** Mounts for the end of a layer: its own directory over everything below. */
  async mounts(call: NamespacedCall, job: LayerJob, own: readonly Mount[]): Promise<readonly Mount[]> {
    const upper = bindSource(own);
    if (job.parent === "" || upper === undefined) return own;
    const dirs: string[] = [];
    let at: string = job.parent;
    for (;;) {
      const dir = this.#dirs.get(at);
      if (dir === undefined) {
        if (at !== "") dirs.push(...(await this.#view(call, at)));
        break;
      }
      dirs.push(escapeLower(dir));
      const chainId = at;
      at = this.#run.jobs.find((j) => j.chainId === chainId)?.parent ?? "";
    }
    const options = [`lowerdir=${dirs.join(":")}`, `upperdir=${upper}`];
    return [{ type: "overlay", source: "overlay", target: "", options }];
  }

  /** Directories of a committed chain, nearest first, from the mounts of a short-lived view. */
  async #view(call: NamespacedCall, name: string): Promise<string[]> {
    const key = `view-${crypto.randomUUID()} ${name}`;
    const mounts = await this.#run.sn.view(call, key, name, new Map());
    try {
      const bind = bindSource(mounts);
      if (bind !== undefined) return [escapeLower(bind)];
      // Escaped already: passed on as it stands.
      const options = mounts[0]?.options ?? [];
      return options.flatMap((o) => (o.startsWith("lowerdir=") ? [o.slice("lowerdir=".length)] : []));
    } finally {
      await this.#run.sn.remove(call.detached(30_000), key).catch(() => {});
    }
  }
}

/** A path in a lowerdir list: the kernel takes ":" as the separator. */
function escapeLower(path: string): string {
  return path.replace(/[\\:]/g, "\\$&");
}

function bindSource(mounts: readonly Mount[]): string | undefined {
  const only = mounts[0];
  return mounts.length === 1 && only?.type === "bind" ? only.source : undefined;
}

/** One layer from its first byte to its snapshot. */
class LayerRun {
  readonly #ctx: TransferContext;
  readonly #local: Local;
  readonly #call: NamespacedCall;
  readonly #run: UnpackRun;
  readonly #job: LayerJob;
  readonly #lowers: Lowers;

  constructor(
    ctx: TransferContext,
    local: Local,
    call: NamespacedCall,
    run: UnpackRun,
    job: LayerJob,
    lowers: Lowers,
  ) {
    this.#ctx = ctx;
    this.#local = local;
    this.#call = call;
    this.#run = run;
    this.#job = job;
    this.#lowers = lowers;
  }

  async go(parent: Promise<Below>): Promise<Below> {
    for (let round = 0; ; round++) {
      try {
        return await this.#once(parent);
      } catch (err) {
        if (!(err instanceof WrongBlob) || round >= 1) throw err instanceof WrongBlob ? err.cause : err;
        this.#run.source.distrust(this.#job.desc.digest);
      }
    }
  }

  async #once(parent: Promise<Below>): Promise<Below> {
    const { sn, progress } = this.#run;
    const job = this.#job;
    const call = this.#call;
    if (await isCommitted(call, sn, job.chainId)) return this.#found();
    const key = extractKey(job.chainId);
    await using undo = new UndoStack((err) => call.log.warn("undo of a layer failed", { key, err }));
    const mounts = await sn.prepare(call, key, "", job.snapshotLabels);
    undo.push(() => sn.remove(call.detached(30_000), key));
    const { unpack, result } = await this.#stream(mounts);
    await using running = unpack;
    if (result.diff?.digest !== job.diffId)
      throw failedPrecondition(
        `wrong diff id calculated on extraction "${result.diff?.digest}", want "${job.diffId}"`,
      );
    progress.step(job.desc, "extracting");
    if (!(await isSettled(parent))) running.rest();
    await parent;
    await running.finish(await this.#lowers.mounts(call, job, mounts));
    try {
      await sn.commit(call, job.chainId, key, job.snapshotLabels, job.parent === "" ? undefined : job.parent);
      undo.commit();
    } catch (err) {
      if (isAlreadyExists(err)) return this.#found();
      throw err;
    }
    const below = { dir: bindSource(mounts) };
    this.#lowers.set(job, below);
    progress.step(job.desc, "extracted");
    return below;
  }

  async #found(): Promise<Below> {
    await holdSnapshot(this.#ctx, this.#call, this.#run.snapshotter, this.#job.chainId);
    this.#run.progress.step(this.#job.desc, "extracted");
    return { dir: undefined };
  }

  /** Brings the bytes to the helper, from the store when they are there, else from the source and into the store. */
  async #stream(mounts: readonly Mount[]): Promise<{ unpack: StreamUnpack; result: StreamResult }> {
    const { desc } = this.#job;
    const stored = await blobLocked(this.#ctx, this.#call, desc.digest, async () => {
      const info = await findBlob(this.#ctx, this.#call, desc.digest);
      if (info === undefined)
        return traced(this.#call, "fetch", () => this.#arriving(mounts), blobAttributes(desc));
      await holdBlob(this.#ctx, this.#call, desc.digest);
      await addLabels(this.#ctx, this.#call, info, mergeSources(this.#job.blobLabels, info.labels));
      return undefined;
    });
    return stored ?? this.#fromStore(mounts);
  }

  async #fromStore(mounts: readonly Mount[]): Promise<{ unpack: StreamUnpack; result: StreamResult }> {
    const { desc } = this.#job;
    const sourcePath = await this.#local.content.blobPath(this.#call, desc.digest);
    const unpack = await this.#local.applier.start(this.#call, {
      mediaType: desc.mediaType,
      mounts,
      sourcePath,
      progress: (bytes) => this.#run.progress.bytes(desc, bytes, "extracting"),
    });
    try {
      const result = await unpack.end();
      if (result.blob.digest !== desc.digest)
        throw dataLoss(`layer ${desc.digest}: stored bytes have digest ${result.blob.digest}`);
      return { unpack, result };
    } catch (err) {
      await unpack.abort();
      throw err;
    }
  }

  async #arriving(
    mounts: readonly Mount[],
  ): Promise<{ unpack: StreamUnpack; result: StreamResult } | undefined> {
    const { desc, blobLabels } = this.#job;
    const call = this.#call;
    const options = { ref: refKey(desc), size: desc.size, expected: desc.digest };
    using _slot = await this.#run.downloads.acquire(call.signal);
    call.check();
    const open = whenFree(call, () => this.#local.content.externalWriter(call, options));
    const writer = await open.catch((err: unknown) => {
      if (isAlreadyExists(err)) return undefined;
      throw err;
    });
    if (writer === undefined) return undefined;
    await using ingest = writer;
    const small = desc.size <= SMALL;
    let unpack: StreamUnpack | undefined;
    try {
      const bytes = this.#missing(ingest);
      // A helper finds a small layer whole in the file: it waits for no network, and one is enough for many of them.
      if (small) await appendAll(ingest.path, bytes);
      unpack = await this.#local.applier.start(call, {
        mediaType: desc.mediaType,
        blobPath: ingest.path,
        mounts,
        small,
      });
      if (!small) for await (const chunk of bytes) await unpack.write(chunk);
      const result = await unpack.end();
      if (result.blob.digest !== desc.digest || result.blob.size !== desc.size)
        throw new WrongBlob(
          failedPrecondition(`unexpected commit digest ${result.blob.digest}, expected ${desc.digest}`),
        );
      await ingest.adopt(result.blob.size, desc.digest, desc.digest, blobLabels);
      this.#run.progress.step(desc, "complete");
      return { unpack, result };
    } catch (err) {
      await unpack?.abort();
      // What came in before a break or a cancel is the right start: the next try goes on from there.
      if (!isCanceled(err) && !isDeadlineExceeded(err) && !isUnavailable(err))
        await ingest.abort().catch(() => {});
      throw err;
    }
  }

  /** The bytes that an ingest lacks. What an earlier try left is read again by the helper, not by the network. */
  async *#missing(ingest: ExternalWriter): AsyncGenerator<Uint8Array, void, undefined> {
    const { desc } = this.#job;
    let done = ingest.offset;
    this.#run.progress.bytes(desc, done);
    const ranges = rangesOf(this.#ctx, this.#run.downloads);
    for await (const chunk of this.#run.source.stream(desc, done, this.#call.signal, ranges)) {
      yield chunk;
      done += BigInt(chunk.byteLength);
      ingest.progress(done);
      this.#run.progress.bytes(desc, done);
    }
  }
}

/** True when nothing is to be waited for. */
function isSettled(promise: Promise<unknown>): Promise<boolean> {
  const yes = (): boolean => true;
  return Promise.race([promise.then(yes, yes), nextTurn()]);
}

/** Resolves behind what is settled already. */
async function nextTurn(): Promise<boolean> {
  await undefined;
  await undefined;
  return false;
}

/** The source gave other bytes than the digest says: worth one more try elsewhere. */
class WrongBlob extends Error {
  constructor(cause: Error) {
    super("wrong blob", { cause });
    this.name = "WrongBlob";
  }
}
