/** Applies a layer in the daemon; one whose blob was dropped after unpacking is fetched again first. */
import { diffClient } from "../../client/diff.ts";
import type { NamespacedCall } from "../../core/call.ts";
import { isNotFound } from "../../core/errors.ts";
import type { Digest } from "../../core/ids/digest.ts";
import type { Mount } from "../../core/mounts/mount.ts";
import type { Descriptor } from "../../core/oci.ts";
import type { Transport } from "../../rpc/types.ts";

/** @param manifest tells where the layer can be had. @returns what was applied, as the diff service tells it */
export async function applyLayer(
  transport: Transport,
  call: NamespacedCall,
  layer: Descriptor,
  manifest: Digest,
  mounts: readonly Mount[],
  options: { readonly syncFs?: boolean | undefined } = {},
): Promise<Descriptor> {
  const diff = diffClient(transport);
  try {
    return await diff.apply(call, layer, mounts, options);
  } catch (err) {
    if (!isNotFound(err)) throw err;
    // Loaded only now: most commands never need a registry.
    const [{ refetch }, { transferContext }] = await Promise.all([
      import("../../plugins/transfer/refetch.ts"),
      import("./transfer-context.ts"),
    ]);
    if (!(await refetch(transferContext(transport), call, layer, manifest))) throw err;
    return await diff.apply(call, layer, mounts, options);
  }
}
