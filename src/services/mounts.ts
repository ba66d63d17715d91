import { Mounts } from "../api/gen/containerd/services/mounts/v1/mounts_pb.ts";
import { invalidArgument } from "../core/errors.ts";
import type { Activation, MountManager } from "../core/mounts/activation.ts";
import { fieldPaths, fromLabels, toRecord, toTimestamp } from "../rpc/convert/basic.ts";
import { fromMount, toMount } from "../rpc/convert/oci.ts";
import { bindService, type ServiceBinding } from "../rpc/types.ts";

/** Mounts service. */
export function mountsService(manager: MountManager): ServiceBinding {
  return bindService(Mounts, {
    async activate(r, { call }) {
      const made = await manager.activate(call.namespaced(), {
        name: r.name,
        mounts: r.mounts.map(fromMount),
        labels: fromLabels(r.labels),
        temporary: r.temporary,
      });
      return { info: toWire(made) };
    },
    async deactivate(r, { call }) {
      await manager.deactivate(call.namespaced(), r.name);
      return {};
    },
    async info(r, { call }) {
      return { info: toWire(await manager.info(call.namespaced(), r.name)) };
    },
    async update(r, { call }) {
      if (r.info === undefined) throw invalidArgument("mount activation is required");
      const { name, labels } = r.info;
      const fields = fieldPaths(r.updateMask);
      return { info: toWire(await manager.update(call.namespaced(), name, fromLabels(labels), fields)) };
    },
    async *list(r, { call }) {
      for (const found of await manager.list(call.namespaced(), r.filters)) yield { info: toWire(found) };
    },
  });
}

function toWire(a: Activation) {
  return {
    name: a.name,
    active: a.active.map((m) => ({
      mount: toMount(m.mount),
      mountedAt: toTimestamp(m.mountedAt),
      mountPoint: m.mountPoint,
      data: toRecord(m.data),
    })),
    system: a.system.map(toMount),
    labels: toRecord(a.labels),
  };
}
