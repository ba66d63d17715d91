/** Unpacking with our own stores: every layer streams into its own helper process; commits are in order. */
import type { NamespacedCall } from "../../core/call.ts";
import { isCanceled, isDeadlineExceeded } from "../../core/errors.ts";
import { traced } from "../../core/tracing/traced.ts";
import { createDeferred } from "../../lib/deferred.ts";
import { blobAttributes, findBlob, holdBlob } from "./blobs.ts";
import type { LayerFlight, LocalStores, TransferContext } from "./context.ts";
import { holdSnapshot, isCommitted, type LayerWork, type UnpackRun } from "./layer-job.ts";
import { LayerRun } from "./layer-run.ts";
import { type Below, Lowers } from "./lowers.ts";
import { settle } from "./settle.ts";
import { UnpackSlot } from "./unpack-slot.ts";

/** Unpacks the missing layers of one image. */
export async function unpackParallel(
  ctx: TransferContext,
  local: LocalStores,
  call: NamespacedCall,
  run: UnpackRun,
): Promise<void> {
  const stop = new AbortController();
  const inner = call.until(stop.signal) as NamespacedCall;
  const lowers = new Lowers(run);
  let below: LayerFlight = {
    started: Promise.resolve(),
    fetching: Promise.resolve(),
    done: Promise.resolve({ dir: undefined }),
  };
  const all = run.jobs.map((job) => {
    const parent = below;
    const flight = joinOrStart({ ctx, local, call: inner, run, job }, parent, lowers);
    // `done` tells the same
    flight.started.catch(() => {});
    flight.done.catch(() => stop.abort());
    below = flight;
    return flight.done;
  });
  const failure = await settle(all);
  if (failure === undefined) return;
  call.check();
  throw failure;
}

/** Shares the work with another transfer that unpacks the same layer; takes over when that one is cancelled. */
function joinOrStart(work: LayerWork, parent: LayerFlight, lowers: Lowers): LayerFlight {
  const { ctx, call, run, job } = work;
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
    const again = (): Promise<Below> => joinOrStart(work, parent, lowers).done;
    // when the other one gave up before it began, this one takes its place
    const started = other.started.catch(async () => void (await done));
    return { started, fetching: other.fetching, done };
  }
  const started = createDeferred<void>();
  const fetching = createDeferred<void>();
  const done = (async () => {
    using slot = new UnpackSlot(ctx.unpackSlots, parent.started, call.signal);
    slot.taken.then(started.resolve, started.reject);
    const order = { below: parent.fetching, begun: fetching.resolve };
    return await traced(
      call,
      "unpack layer",
      (c) => new LayerRun({ ...work, call: c }, { lowers, slot, order }).go(parent.done),
      blobAttributes(job.desc),
    );
  })();
  done.then(
    () => started.resolve(),
    (err: unknown) => started.reject(err),
  );
  const fetched = (): void => fetching.resolve();
  done.then(fetched, fetched);
  const flight: LayerFlight = {
    started: started.promise,
    fetching: Promise.all([parent.fetching, fetching.promise]).then(() => {}),
    done,
  };
  // `done` tells the same
  started.promise.catch(() => {});
  ctx.layersInFlight.set(id, flight);
  const forget = (): void => {
    if (ctx.layersInFlight.get(id) === flight) ctx.layersInFlight.delete(id);
  };
  done.then(forget, forget);
  return flight;
}
