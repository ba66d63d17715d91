/** Snapshotter over the snapshots service. */
import { type Info, Kind, Snapshots } from "../api/gen/containerd/services/snapshots/v1/snapshots_pb.ts";
import { internal } from "../core/errors.ts";
import type { SnapshotInfo, SnapshotKind, Snapshotter } from "../core/snapshots/snapshotter.ts";
import { createClient } from "../rpc/client.ts";
import { fromLabels, fromTimestamp, toRecord } from "../rpc/convert/basic.ts";
import { fromMount } from "../rpc/convert/oci.ts";
import { callOptions } from "../rpc/headers.ts";
import type { Transport } from "../rpc/types.ts";

const KIND: ReadonlyMap<Kind, SnapshotKind> = new Map([
  [Kind.VIEW, "view"],
  [Kind.ACTIVE, "active"],
  [Kind.COMMITTED, "committed"],
]);

/** Makes the snapshotter named `snapshotter` of the server. */
export function snapshotterClient(transport: Transport, snapshotter: string): Snapshotter {
  const client = createClient(Snapshots, transport);
  return {
    async stat(call, key) {
      return fromWire((await client.stat({ snapshotter, key }, callOptions(call))).info);
    },
    async update(call, name, labels, fields) {
      const mask = fields.length === 0 ? {} : { updateMask: { paths: [...fields] } };
      return fromWire(
        (
          await client.update(
            { snapshotter, info: { name, labels: toRecord(labels) }, ...mask },
            callOptions(call),
          )
        ).info,
      );
    },
    async usage(call, key) {
      const { size, inodes } = await client.usage({ snapshotter, key }, callOptions(call));
      return { size, inodes };
    },
    async mounts(call, key) {
      return (await client.mounts({ snapshotter, key }, callOptions(call))).mounts.map(fromMount);
    },
    async prepare(call, key, parent, labels) {
      return (
        await client.prepare({ snapshotter, key, parent, labels: toRecord(labels) }, callOptions(call))
      ).mounts.map(fromMount);
    },
    async view(call, key, parent, labels) {
      return (
        await client.view({ snapshotter, key, parent, labels: toRecord(labels) }, callOptions(call))
      ).mounts.map(fromMount);
    },
    async commit(call, name, key, labels, parent = "") {
      await client.commit({ snapshotter, name, key, labels: toRecord(labels), parent }, callOptions(call));
    },
    async remove(call, key) {
      await client.remove({ snapshotter, key }, callOptions(call));
    },
    async *walk(call, filters) {
      for await (const batch of client.list({ snapshotter, filters: [...filters] }, callOptions(call)))
        for (const info of batch.info) yield fromWire(info);
    },
    async cleanup(call) {
      await client.cleanup({ snapshotter }, callOptions(call));
    },
  };
}

function fromWire(info: Info | undefined): SnapshotInfo {
  if (info === undefined) throw internal("read snapshot: empty answer");
  return {
    kind: KIND.get(info.kind) ?? "active",
    name: info.name,
    parent: info.parent,
    labels: fromLabels(info.labels),
    createdAt: fromTimestamp(info.createdAt),
    updatedAt: fromTimestamp(info.updatedAt),
  };
}
