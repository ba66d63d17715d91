/**
 * Unpacks the layers of one image into a chain of snapshots.
 *
 * Two ways. With our own stores and a snapshotter that takes the parent at commit (`rebase`), every layer is downloaded,
 * hashed, stored and extracted at the same time by its own helper process, all layers in parallel; only the commits are in
 * order. Otherwise (`sequential.ts`) layers are downloaded in parallel and applied one after the other.
 */

import type { NamespacedCall } from "../../core/call.ts";
import { failedPrecondition, wrap } from "../../core/errors.ts";
import type { ChainId, Digest } from "../../core/ids/digest.ts";
import type { Descriptor } from "../../core/oci.ts";
import type { Snapshotter } from "../../core/snapshots/snapshotter.ts";
import { traced } from "../../core/tracing/traced.ts";
import { chainIds } from "../../oci/chain-id.ts";
import { isLayerType, isPlainLayer } from "../../oci/media-types.ts";
import type { TransferContext } from "./context.ts";
import { holdSnapshot, isCommitted, type LayerJob, type UnpackOptions, type UnpackRun } from "./layer-job.ts";
import { unpackParallel } from "./parallel.ts";
import { unpackSequential } from "./sequential.ts";

/**
 * Unpacks an image.
 * @returns chain id of the whole, undefined for an image without layers
 * @throws failed-precondition when manifest and config do not fit or a diff id differs
 */
export async function unpackImage(
  ctx: TransferContext,
  call: NamespacedCall,
  o: UnpackOptions,
): Promise<ChainId | undefined> {
  const layers = o.manifest.layers.filter((l) => isLayerType(l.mediaType));
  const { diffIds } = o.config;
  if (layers.length !== diffIds.length)
    throw failedPrecondition(
      `unpack "${o.imageName}": mismatched image rootfs and manifest layers: ${diffIds.length} and ${layers.length}`,
    );
  const chain = chainIds(diffIds);
  const top = chain.at(-1);
  if (top === undefined) return undefined;
  const sn = ctx.stores.snapshotter(o.snapshotter);
  const base = await existing(ctx, call, sn, o.snapshotter, chain);
  const jobs = layers.map((desc, i): LayerJob => {
    const chainId = chain[i] as ChainId;
    return {
      desc,
      diffId: diffIds[i] as Digest,
      chainId,
      parent: i === 0 ? "" : (chain[i - 1] as ChainId),
      snapshotLabels: new Map([
        ...inherited(desc),
        ["containerd.io/snapshot.ref", chainId as string],
        ...(o.annotate ? annotations(o, layers, i) : []),
      ]),
      blobLabels: new Map([...o.blobLabels, ["containerd.io/uncompressed", diffIds[i] as string]]),
    };
  });
  for (const job of jobs.slice(0, base)) o.progress.step(job.desc, "extracted");
  if (jobs.length === base) return top;
  const types = layers.map((l) => l.mediaType);
  const route = ctx.stores.route?.(o.snapshotter, o.config.platform, types) ?? {
    applier: ctx.stores.applier,
    streamed: true,
  };
  const run: UnpackRun = { ...o, sn, applier: route.applier, jobs: jobs.slice(base) };
  // A layer that only a stream processor can read, or a differ that is not ours, is stored first and applied then.
  const parallel =
    route.streamed &&
    types.every(isPlainLayer) &&
    ctx.stores.local !== undefined &&
    ctx.stores.capabilities(o.snapshotter).includes("rebase");
  try {
    const { local } = ctx.stores;
    await traced(
      call,
      "unpack",
      (c) =>
        parallel && local !== undefined ? unpackParallel(ctx, local, c, run) : unpackSequential(ctx, c, run),
      { "snapshotter.name": o.snapshotter, "unpack.layers": run.jobs.length },
    );
  } catch (err) {
    throw wrap(err, `failed to unpack image "${o.imageName}" on snapshotter ${o.snapshotter}`);
  }
  return top;
}

/** How many of the chain, from the bottom, are snapshots already; those are held by the call's lease. */
async function existing(
  ctx: TransferContext,
  call: NamespacedCall,
  sn: Snapshotter,
  snapshotter: string,
  chain: readonly ChainId[],
): Promise<number> {
  for (let i = chain.length - 1; i >= 0; i--) {
    const name = chain[i] as ChainId;
    if (!(await isCommitted(call, sn, name))) continue;
    await holdSnapshot(ctx, call, snapshotter, name);
    // A lease that came too late holds nothing: look again.
    if (await isCommitted(call, sn, name)) return i + 1;
  }
  return 0;
}

/** Longest label, key and value together. */
const MAX_LABEL = 4096;

const SNAPSHOT_PREFIX = "containerd.io/snapshot/";
/** What our own snapshotters read or write: an image does not say whose its files are. */
const OURS = /^containerd\.io\/snapshot\/([ug]idmapping$|overlay\.)/;

/** Annotations of a layer that are meant for the snapshotter, e.g. the digest of the table of contents of an eStargz layer. */
function inherited(layer: Descriptor): [string, string][] {
  return [...(layer.annotations ?? [])].filter(
    ([key, value]) =>
      key.startsWith(SNAPSHOT_PREFIX) && !OURS.test(key) && key.length + value.length <= MAX_LABEL,
  );
}

function annotations(o: UnpackOptions, layers: readonly Descriptor[], i: number): [string, string][] {
  const base = `${SNAPSHOT_PREFIX}cri.`;
  const listKey = `${base}image-layers`;
  let list = "";
  for (const layer of layers.slice(i)) {
    const next = list === "" ? layer.digest : `${list},${layer.digest}`;
    if (listKey.length + next.length > MAX_LABEL) break;
    list = next;
  }
  return [
    [`${base}layer-digest`, layers[i]?.digest ?? ""],
    [`${base}image-ref`, o.imageName],
    [`${base}manifest-digest`, o.manifestDesc.digest],
    [listKey, list],
  ];
}
