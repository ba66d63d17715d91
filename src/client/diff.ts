/** Applier and Comparer over the diff service. */
import { Diff } from "../api/gen/containerd/services/diff/v1/diff_pb.ts";
import type { Applier, Comparer } from "../core/diff/diff.ts";
import { createClient } from "../rpc/client.ts";
import { toAny, toRecord, toTimestamp } from "../rpc/convert/basic.ts";
import { fromDescriptor, toDescriptor, toMount } from "../rpc/convert/oci.ts";
import { callOptions } from "../rpc/headers.ts";
import type { Transport } from "../rpc/types.ts";

/** Makes the differ. */
export function diffClient(transport: Transport): Applier & Comparer {
  const client = createClient(Diff, transport);
  return {
    async apply(call, desc, mounts, options = {}) {
      const payloads = Object.fromEntries(
        [...(options.processorPayloads ?? [])].map(([k, v]) => [k, toAny(v)]),
      );
      const request = {
        diff: toDescriptor(desc),
        mounts: mounts.map(toMount),
        payloads,
        syncFs: options.syncFs ?? false,
      };
      return fromDescriptor((await client.apply(request, callOptions(call))).applied, "apply");
    },
    async compare(call, lower, upper, options = {}) {
      const request = {
        left: lower.map(toMount),
        right: upper.map(toMount),
        mediaType: options.mediaType ?? "",
        ref: options.ref ?? "",
        labels: toRecord(options.labels ?? new Map<string, string>()),
        ...(options.sourceDateEpoch === undefined
          ? {}
          : { sourceDateEpoch: toTimestamp(options.sourceDateEpoch) }),
      };
      return fromDescriptor((await client.diff(request, callOptions(call))).diff, "diff");
    },
  };
}
