/** ContainerStore over the containers service. */
import {
  Containers,
  type Container as Wire,
} from "../api/gen/containerd/services/containers/v1/containers_pb.ts";
import type { Container, ContainerInput, ContainerStore } from "../core/containers/containers.ts";
import { internal } from "../core/errors.ts";
import { createClient } from "../rpc/client.ts";
import { fromAny, fromAnyMaybe, fromLabels, fromTimestamp, toAny, toRecord } from "../rpc/convert/basic.ts";
import { callOptions } from "../rpc/headers.ts";
import type { Transport } from "../rpc/types.ts";

/** Makes the store. */
export function containersClient(transport: Transport): ContainerStore {
  const client = createClient(Containers, transport);
  return {
    async get(call, id) {
      return fromWire((await client.get({ id }, callOptions(call))).container);
    },
    async list(call, filters) {
      return (await client.list({ filters: [...filters] }, callOptions(call))).containers.map(fromWire);
    },
    async create(call, container) {
      return fromWire((await client.create({ container: toWire(container) }, callOptions(call))).container);
    },
    async update(call, container, fields) {
      const request = {
        container: toWire(container),
        ...(fields.length === 0 ? {} : { updateMask: { paths: [...fields] } }),
      };
      return fromWire((await client.update(request, callOptions(call))).container);
    },
    async delete(call, id) {
      await client.delete({ id }, callOptions(call));
    },
  };
}

function toWire(c: ContainerInput) {
  return {
    id: c.id,
    labels: toRecord(c.labels),
    image: c.image,
    runtime: {
      name: c.runtime.name,
      ...(c.runtime.options === undefined ? {} : { options: toAny(c.runtime.options) }),
    },
    ...(c.spec === undefined ? {} : { spec: toAny(c.spec) }),
    snapshotter: c.snapshotter,
    snapshotKey: c.snapshotKey,
    extensions: Object.fromEntries([...c.extensions].map(([k, v]) => [k, toAny(v)])),
    sandbox: c.sandbox,
  };
}

function fromWire(c: Wire | undefined): Container {
  if (c === undefined) throw internal("read container: empty answer");
  return {
    id: c.id,
    labels: fromLabels(c.labels),
    image: c.image,
    runtime: { name: c.runtime?.name ?? "", options: fromAnyMaybe(c.runtime?.options) },
    spec: fromAnyMaybe(c.spec),
    snapshotter: c.snapshotter,
    snapshotKey: c.snapshotKey,
    createdAt: fromTimestamp(c.createdAt),
    updatedAt: fromTimestamp(c.updatedAt),
    extensions: new Map(Object.entries(c.extensions).map(([k, v]) => [k, fromAny(v)])),
    sandbox: c.sandbox,
  };
}
