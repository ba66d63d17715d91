import type { StreamResult, StreamUnpack } from "../../core/diff/diff.ts";
import { dataLoss, failedPrecondition, isAlreadyExists } from "../../core/errors.ts";
import type { Mount } from "../../core/mounts/mount.ts";
import { traced } from "../../core/tracing/traced.ts";
import { UndoStack } from "../../lib/undo-stack.ts";
import { Arrival, WrongBlob } from "./arrival.ts";
import { blobAttributes } from "./blobs.ts";
import { extractKey, holdSnapshot, isCommitted, type LayerWork } from "./layer-job.ts";
import { type Below, bindSource, type Lowers } from "./lowers.ts";
import type { UnpackSlot } from "./unpack-slot.ts";

/** When a layer's bytes may be asked for. */
export interface FetchOrder {
  /** The layers below come, or need not. */
  readonly below: Promise<void>;
  /** Tells that this one does. */
  begun(): void;
}

/** How a layer stands to the others of its image. */
export interface LayerTurn {
  readonly lowers: Lowers;
  /** Its place among the layers unpacked at a time; not yet taken. */
  readonly slot: UnpackSlot;
  readonly order: FetchOrder;
}

/**
 * One layer from its first byte to its snapshot. It is unpacked while it arrives once it has its slot; until then what
 * arrives goes to its file.
 */
export class LayerRun {
  readonly #work: LayerWork;
  readonly #lowers: Lowers;
  readonly #slot: UnpackSlot;
  readonly #order: FetchOrder;

  constructor(work: LayerWork, { lowers, slot, order }: LayerTurn) {
    this.#work = work;
    this.#lowers = lowers;
    this.#slot = slot;
    this.#order = order;
  }

  /** @param parent the layer below, committed */
  async go(parent: Promise<Below>): Promise<Below> {
    for (let round = 0; ; round++) {
      try {
        return await this.#once(parent);
      } catch (err) {
        if (!(err instanceof WrongBlob) || round >= 1) throw err instanceof WrongBlob ? err.cause : err;
        this.#work.run.source.distrust(this.#work.job.desc.digest);
      }
    }
  }

  async #once(parent: Promise<Below>): Promise<Below> {
    const { call, run, job } = this.#work;
    const { sn, progress } = run;
    if (await isCommitted(call, sn, job.chainId)) return this.#found();
    await using arrival = await this.#arrive();
    await this.#slot.taken;
    const key = extractKey(job.chainId);
    await using undo = new UndoStack((err) => call.log.warn("undo of a layer failed", { key, err }));
    const mounts = await sn.prepare(call, key, "", job.snapshotLabels);
    undo.push(() => sn.remove(call.detached(30_000), key));
    const { unpack, result } =
      arrival === undefined
        ? await this.#fromStore(mounts)
        : await traced(call, "fetch", () => arrival.unpack(mounts), blobAttributes(job.desc));
    await using running = unpack;
    // others may want the blob, and this layer may wait long for the one below
    await arrival?.[Symbol.asyncDispose]();
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
    const { ctx, call, run, job } = this.#work;
    await holdSnapshot(ctx, call, run.snapshotter, job.chainId);
    run.progress.step(job.desc, "extracted");
    return { dir: undefined };
  }

  /** Begins to bring the layer, and goes on until it has its slot; undefined when it is in the store. */
  async #arrive(): Promise<Arrival | undefined> {
    const slot = this.#slot;
    // without a slot, connections go to the lower layers first
    if (!slot.held) await Promise.race([slot.taken, this.#order.below]);
    const first = await this.#open();
    this.#order.begun();
    if (first === undefined || slot.held) return first;
    let all = true;
    try {
      const collect = (): Promise<boolean> => first.collect(() => slot.held);
      all = await traced(this.#work.call, "fetch ahead", collect, blobAttributes(this.#work.job.desc));
    } finally {
      // all is in the file: while it waits for its slot, others may have the blob's lock
      if (all) await first[Symbol.asyncDispose]();
    }
    if (!all) return first;
    await slot.taken;
    return await this.#open();
  }

  #open(): Promise<Arrival | undefined> {
    return Arrival.open(this.#work);
  }

  async #fromStore(mounts: readonly Mount[]): Promise<{ unpack: StreamUnpack; result: StreamResult }> {
    const { local, call, run, job } = this.#work;
    const { desc } = job;
    const sourcePath = await local.content.blobPath(call, desc.digest);
    const unpack = await local.applier.start(call, {
      mediaType: desc.mediaType,
      mounts,
      sourcePath,
      progress: (bytes) => run.progress.bytes(desc, bytes, "extracting"),
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
