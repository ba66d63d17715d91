/** Unpacks an image in a foreign or own daemon step by step: prepare, apply, commit for every layer that is not there. */
import { contentClient } from "../../client/content.ts";
import { snapshotterClient } from "../../client/snapshots.ts";
import type { NamespacedCall } from "../../core/call.ts";
import { dataLoss, isAlreadyExists, isNotFound } from "../../core/errors.ts";
import type { Snapshotter } from "../../core/snapshots/snapshotter.ts";
import type { Transport } from "../../rpc/types.ts";
import { applyLayer } from "./apply-layer.ts";
import { chainIdOf, type ResolvedImage } from "./image-config.ts";
import { rootLabel } from "./snapshotter-name.ts";

/** @returns the chain id of the whole image; undefined for an image without layers */
export async function unpackImage(
  transport: Transport,
  call: NamespacedCall,
  snapshotter: string,
  image: ResolvedImage,
  options: { readonly syncFs?: boolean } = {},
): Promise<string | undefined> {
  const top = chainIdOf(image.diffIds);
  if (top === undefined) return undefined;
  const snapshots = snapshotterClient(transport, snapshotter);
  for (const [i, layer] of image.layers.entries()) {
    const chain = chainIdOf(image.diffIds.slice(0, i + 1)) ?? "";
    if (await exists(snapshots, call, chain)) continue;
    const parent = chainIdOf(image.diffIds.slice(0, i)) ?? "";
    const key = `extract-${process.pid}-${Date.now()} ${chain}`;
    const mounts = await snapshots.prepare(call, key, parent, rootLabel());
    try {
      const applied = await applyLayer(transport, call, layer, image.manifest, mounts, options);
      if (applied.digest !== image.diffIds[i])
        throw dataLoss(
          `unpack layer ${layer.digest}: wrong diff id ${applied.digest}, the image says ${image.diffIds[i]}`,
        );
      await snapshots.commit(call, chain, key, new Map());
    } catch (err) {
      await snapshots.remove(call.detached(10_000), key).catch(() => {});
      // somebody else unpacked the same layer meanwhile
      if (!isAlreadyExists(err)) throw err;
    }
  }
  // the config blob holds the chain against garbage collection
  const field = `containerd.io/gc.ref.snapshot.${snapshotter}`;
  await contentClient(transport).update(call, image.config, new Map([[field, top]]), [`labels.${field}`]);
  return top;
}

/** Whether a snapshot is there. */
export async function exists(snapshots: Snapshotter, call: NamespacedCall, key: string): Promise<boolean> {
  try {
    await snapshots.stat(call, key);
    return true;
  } catch (err) {
    if (isNotFound(err)) return false;
    throw err;
  }
}
