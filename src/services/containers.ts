import {
  Containers,
  type Container as Wire,
} from "../api/gen/containerd/services/containers/v1/containers_pb.ts";
import type { Container, ContainerInput, ContainerStore } from "../core/containers/containers.ts";
import { invalidArgument } from "../core/errors.ts";
import {
  fieldPaths,
  fromAny,
  fromAnyMaybe,
  fromLabels,
  toAny,
  toRecord,
  toTimestamp,
} from "../rpc/convert/basic.ts";
import { bindService, type ServiceBinding } from "../rpc/types.ts";

/** Containers service. */
export function containersService(store: ContainerStore): ServiceBinding {
  return bindService(Containers, {
    async get(request, { call }) {
      return { container: toWire(await store.get(call.namespaced(), request.id)) };
    },
    async list(request, { call }) {
      return { containers: (await store.list(call.namespaced(), request.filters)).map(toWire) };
    },
    async *listStream(request, { call }) {
      for (const container of await store.list(call.namespaced(), request.filters))
        yield { container: toWire(container) };
    },
    async create(request, { call }) {
      return { container: toWire(await store.create(call.namespaced(), fromWire(request.container))) };
    },
    async update(request, { call }) {
      const container = fromWire(request.container);
      return {
        container: toWire(await store.update(call.namespaced(), container, fieldPaths(request.updateMask))),
      };
    },
    async delete(request, { call }) {
      await store.delete(call.namespaced(), request.id);
      return {};
    },
  });
}

function toWire(c: Container) {
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
    createdAt: toTimestamp(c.createdAt),
    updatedAt: toTimestamp(c.updatedAt),
    extensions: Object.fromEntries([...c.extensions].map(([k, v]) => [k, toAny(v)])),
    sandbox: c.sandbox,
  };
}

function fromWire(c: Wire | undefined): ContainerInput {
  if (c === undefined) throw invalidArgument("container is required");
  return {
    id: c.id,
    labels: fromLabels(c.labels),
    image: c.image,
    runtime: { name: c.runtime?.name ?? "", options: fromAnyMaybe(c.runtime?.options) },
    spec: fromAnyMaybe(c.spec),
    snapshotter: c.snapshotter,
    snapshotKey: c.snapshotKey,
    extensions: new Map(Object.entries(c.extensions).map(([k, v]) => [k, fromAny(v)])),
    sandbox: c.sandbox,
  };
}
