import { Diff } from "../api/gen/containerd/services/diff/v1/diff_pb.ts";
import type { Applier, Comparer } from "../core/diff/diff.ts";
import { fromAny, fromLabels, fromStoredTime } from "../rpc/convert/basic.ts";
import { fromDescriptor, fromMount, toDescriptor } from "../rpc/convert/oci.ts";
import { bindService, type ServiceBinding } from "../rpc/types.ts";

/** Diff service. */
export function diffService(differ: Applier & Comparer): ServiceBinding {
  return bindService(Diff, {
    async apply(request, { call }) {
      const applied = await differ.apply(
        call.namespaced(),
        fromDescriptor(request.diff, "apply"),
        request.mounts.map(fromMount),
        {
          syncFs: request.syncFs,
          processorPayloads: new Map(Object.entries(request.payloads).map(([k, v]) => [k, fromAny(v)])),
        },
      );
      return { applied: toDescriptor(applied) };
    },
    async diff(request, { call }) {
      const made = await differ.compare(
        call.namespaced(),
        request.left.map(fromMount),
        request.right.map(fromMount),
        {
          mediaType: request.mediaType === "" ? undefined : request.mediaType,
          ref: request.ref === "" ? undefined : request.ref,
          labels: fromLabels(request.labels),
          sourceDateEpoch: fromStoredTime(request.sourceDateEpoch, "source date epoch"),
        },
      );
      return { diff: toDescriptor(made) };
    },
  });
}
