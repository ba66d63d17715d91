/** MountManager over the mounts service. */
import { Mounts } from "../api/gen/containerd/services/mounts/v1/mounts_pb.ts";
import type { ActivationInfo } from "../api/gen/containerd/types/mount_pb.ts";
import { internal } from "../core/errors.ts";
import type { Activation, MountManager } from "../core/mounts/activation.ts";
import type { Mount } from "../core/mounts/mount.ts";
import { createClient } from "../rpc/client.ts";
import { fromLabels, fromTimestamp, toRecord } from "../rpc/convert/basic.ts";
import { fromMount, toMount } from "../rpc/convert/oci.ts";
import { callOptions } from "../rpc/headers.ts";
import type { Transport } from "../rpc/types.ts";

const NONE: Mount = { type: "", source: "", target: "", options: [] };

/** Makes the manager. */
export function mountsClient(transport: Transport): MountManager {
  const client = createClient(Mounts, transport);
  return {
    async activate(call, { name, mounts, labels, temporary }) {
      const request = { name, mounts: mounts.map(toMount), labels: toRecord(labels), temporary };
      return fromWire((await client.activate(request, callOptions(call))).info);
    },
    async deactivate(call, name) {
      await client.deactivate({ name }, callOptions(call));
    },
    async update(call, name, labels, fields) {
      const request = { info: { name, labels: toRecord(labels) }, updateMask: { paths: [...fields] } };
      return fromWire((await client.update(request, callOptions(call))).info);
    },
    async info(call, name) {
      return fromWire((await client.info({ name }, callOptions(call))).info);
    },
    async list(call, filters) {
      const all: Activation[] = [];
      for await (const { info } of client.list({ filters: [...filters] }, callOptions(call)))
        all.push(fromWire(info));
      return all;
    },
  };
}

function fromWire(info: ActivationInfo | undefined): Activation {
  if (info === undefined) throw internal("read mount activation: empty answer");
  return {
    name: info.name,
    labels: fromLabels(info.labels),
    system: info.system.map(fromMount),
    active: info.active.map((a) => ({
      mount: a.mount === undefined ? NONE : fromMount(a.mount),
      mountedAt: fromTimestamp(a.mountedAt),
      mountPoint: a.mountPoint,
      data: fromLabels(a.data),
    })),
  };
}
