import { Kind, Snapshots } from "../api/gen/containerd/services/snapshots/v1/snapshots_pb.ts";
import type { Call, NamespacedCall } from "../core/call.ts";
import { invalidArgument } from "../core/errors.ts";
import type { Namespace } from "../core/ids/namespace.ts";
import type { SnapshotInfo, SnapshotKind, Snapshotter } from "../core/snapshots/snapshotter.ts";
import { fieldPaths, fromLabels, toRecord, toTimestamp } from "../rpc/convert/basic.ts";
import { toMount } from "../rpc/convert/oci.ts";
import { bindService, type ServiceBinding } from "../rpc/types.ts";

const KIND: Readonly<Record<SnapshotKind, Kind>> = {
  view: Kind.VIEW,
  active: Kind.ACTIVE,
  committed: Kind.COMMITTED,
};
/** Infos in one List message. */
const BATCH = 100;

/**
 * Snapshots service; `find` throws for a snapshotter that is not loaded.
 * @param fallback namespace of calls that name none: containerd calls its proxy snapshotters so, whose keys are unique anyway
 */
export function snapshotsService(find: (name: string) => Snapshotter, fallback?: Namespace): ServiceBinding {
  const identity = (call: Call): NamespacedCall =>
    fallback === undefined || call.namespace !== undefined ? call.namespaced() : call.in(fallback);
  return bindService(Snapshots, {
    async prepare(request, { call }) {
      const { snapshotter, key, parent, labels } = request;
      return {
        mounts: (await find(snapshotter).prepare(identity(call), key, parent, fromLabels(labels))).map(
          toMount,
        ),
      };
    },
    async view(request, { call }) {
      const { snapshotter, key, parent, labels } = request;
      return {
        mounts: (await find(snapshotter).view(identity(call), key, parent, fromLabels(labels))).map(toMount),
      };
    },
    async mounts(request, { call }) {
      return {
        mounts: (await find(request.snapshotter).mounts(identity(call), request.key)).map(toMount),
      };
    },
    async commit(request, { call }) {
      const parent = request.parent === "" ? undefined : request.parent;
      await find(request.snapshotter).commit(
        identity(call),
        request.name,
        request.key,
        fromLabels(request.labels),
        parent,
      );
      return {};
    },
    async remove(request, { call }) {
      await find(request.snapshotter).remove(identity(call), request.key);
      return {};
    },
    async stat(request, { call }) {
      return { info: toWire(await find(request.snapshotter).stat(identity(call), request.key)) };
    },
    async update(request, { call }) {
      if (request.info === undefined) throw invalidArgument("info is required");
      const { name, labels } = request.info;
      const s = find(request.snapshotter);
      return {
        info: toWire(
          await s.update(identity(call), name, fromLabels(labels), fieldPaths(request.updateMask)),
        ),
      };
    },
    async *list(request, { call }) {
      let batch: ReturnType<typeof toWire>[] = [];
      for await (const info of find(request.snapshotter).walk(identity(call), request.filters)) {
        batch.push(toWire(info));
        if (batch.length < BATCH) continue;
        yield { info: batch };
        batch = [];
      }
      if (batch.length > 0) yield { info: batch };
    },
    async usage(request, { call }) {
      const usage = await find(request.snapshotter).usage(identity(call), request.key);
      return { size: usage.size, inodes: usage.inodes };
    },
    async cleanup(request, { call }) {
      await find(request.snapshotter).cleanup(identity(call));
      return {};
    },
  });
}

function toWire(s: SnapshotInfo) {
  return {
    name: s.name,
    parent: s.parent,
    kind: KIND[s.kind],
    createdAt: toTimestamp(s.createdAt),
    updatedAt: toTimestamp(s.updatedAt),
    labels: toRecord(s.labels),
  };
}
