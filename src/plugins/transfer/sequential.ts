/** Unpacking through any content store, differ and snapshotter, ours or over RPC: download in parallel, apply in order. */
import type { NamespacedCall } from "../../core/call.ts";
import { failedPrecondition, isAlreadyExists } from "../../core/errors.ts";
import type { Mount } from "../../core/mounts/mount.ts";
import { UndoStack } from "../../lib/undo-stack.ts";
import { addLabels, findBlob, storeBlob } from "./blobs.ts";
import type { TransferContext } from "./context.ts";
import { extractKey, holdSnapshot, isCommitted, type LayerJob, type UnpackRun } from "./layer-job.ts";

/** Unpacks the missing layers. Nothing is downloaded for a layer that a remote snapshotter brings itself. */
export async function unpackSequential(
  ctx: TransferContext,
  call: NamespacedCall,
  run: UnpackRun,
): Promise<void> {
  const stop = new AbortController();
  const inner = call.until(stop.signal) as NamespacedCall;
  let downloads: Map<LayerJob, Promise<void>> | undefined;
  const fetched = (job: LayerJob): Promise<void> => {
    // All the layers above are wanted too as soon as one is.
    downloads ??= startAll(ctx, inner, run, run.jobs.slice(run.jobs.indexOf(job)));
    return downloads.get(job) ?? Promise.resolve();
  };
  try {
    for (const job of run.jobs) await unpackOne(ctx, call, run, job, () => fetched(job));
  } finally {
    stop.abort();
    await Promise.allSettled(downloads?.values() ?? []);
  }
}

function startAll(
  ctx: TransferContext,
  call: NamespacedCall,
  run: UnpackRun,
  jobs: readonly LayerJob[],
): Map<LayerJob, Promise<void>> {
  return new Map(
    jobs.map((job) => {
      const download = (async () => {
        using _slot = await run.downloads.acquire(call.signal);
        const { desc, blobLabels } = job;
        // The diff id is a claim until the layer was applied.
        const labels = new Map([...blobLabels].filter(([k]) => k !== "containerd.io/uncompressed"));
        const { source, progress, downloads: slots } = run;
        await storeBlob(ctx, call, { desc, source, labels, progress, downloads: slots });
      })();
      // waited for by its layer, which may not come to it
      download.catch(() => {});
      return [job, download] as const;
    }),
  );
}

async function unpackOne(
  ctx: TransferContext,
  call: NamespacedCall,
  run: UnpackRun,
  job: LayerJob,
  fetched: () => Promise<void>,
): Promise<void> {
  const { sn, snapshotter, progress } = run;
  for (let tries = 0; ; tries++) {
    const key = extractKey(job.chainId);
    let mounts: Mount[];
    try {
      mounts = await sn.prepare(call, key, job.parent, job.snapshotLabels);
    } catch (err) {
      // A remote snapshotter has the layer, or another pull was faster.
      if (isAlreadyExists(err) && (await isCommitted(call, sn, job.chainId))) {
        await holdSnapshot(ctx, call, snapshotter, job.chainId);
        progress.step(job.desc, "extracted");
        return;
      }
      if (isAlreadyExists(err) && tries < 3) continue;
      throw err;
    }
    await using undo = new UndoStack((err) =>
      call.log.warn("half unpacked snapshot was not removed", { key, err }),
    );
    undo.push(() => sn.remove(call.detached(30_000), key));
    await fetched();
    progress.step(job.desc, "extracting");
    const diff = await run.applier.apply(call, job.desc, mounts, {
      syncFs: run.syncFs,
      progress: (bytes) => progress.bytes(job.desc, bytes, "extracting"),
    });
    if (diff.digest !== job.diffId)
      throw failedPrecondition(
        `wrong diff id calculated on extraction "${diff.digest}", want "${job.diffId}"`,
      );
    try {
      await sn.commit(call, job.chainId, key, job.snapshotLabels);
      undo.commit();
    } catch (err) {
      if (!isAlreadyExists(err)) throw err;
    }
    await holdSnapshot(ctx, call, snapshotter, job.chainId);
    const info = await findBlob(ctx, call, job.desc.digest);
    if (info !== undefined)
      await addLabels(ctx, call, info, new Map([["containerd.io/uncompressed", job.diffId]]));
    progress.step(job.desc, "extracted");
    return;
  }
}
