/**
 * What keeps an activation: the lease it was made under, and what its labels say (`containerd.io/gc.bref.*` name objects that keep
 * it, `gc.root` and a `gc.expire` in the future keep it by themselves). One that had such a tie and lost the last is taken down.
 * One that never had a tie stays until somebody deactivates it.
 */
import type { Labels } from "../../core/any.ts";
import type { NamespacedCall } from "../../core/call.ts";
import { isInvalidArgument, isNotFound } from "../../core/errors.ts";
import { expiryOf, labelRefs } from "../../core/gc/labels.ts";
import { type NodeId, parseNode, parseSnapshotKey } from "../../core/gc/nodes.ts";
import { parseDigest } from "../../core/ids/digest.ts";
import type { MetadataStore } from "../../core/plugin/kinds.ts";
import { nowNs } from "../../lib/time.ts";

/** Stores that are asked whether the objects live. */
export type TieStores = Pick<MetadataStore, "leases" | "containers" | "images" | "content" | "snapshotter">;

/** True while something keeps an activation, or nothing ever did. */
export async function isKept(
  call: NamespacedCall,
  stores: TieStores,
  labels: Labels,
  lease: string | undefined,
): Promise<boolean> {
  const { root, backRefs } = labelRefs(call.namespace, labels);
  const expiry = expiryOf(labels);
  if (root || (expiry !== undefined && expiry > nowNs())) return true;
  if (lease === undefined && backRefs.length === 0 && expiry === undefined) return true;
  if (lease !== undefined && (await stores.leases.list(call, [`id==${JSON.stringify(lease)}`])).length > 0)
    return true;
  for (const ref of backRefs) if (await lives(call, stores, ref)) return true;
  return false;
}

async function lives(call: NamespacedCall, stores: TieStores, node: NodeId): Promise<boolean> {
  const { kind, key } = parseNode(node);
  try {
    if (kind === "container") await stores.containers.get(call, key);
    else if (kind === "image") await stores.images.get(call, key);
    else if (kind === "content") await stores.content.info(call, parseDigest(key));
    else if (kind === "snapshot") {
      const parts = parseSnapshotKey(key);
      if (parts === undefined) return false;
      await stores.snapshotter(parts.snapshotter).stat(call, parts.name);
    } else return false;
    return true;
  } catch (err) {
    if (isNotFound(err) || isInvalidArgument(err)) return false;
    throw err;
  }
}
