import { Store } from "../api/gen/containerd/services/sandbox/v1/sandbox_pb.ts";
import type { Sandbox as Wire } from "../api/gen/containerd/types/sandbox_pb.ts";
import { invalidArgument } from "../core/errors.ts";
import type { Sandbox, SandboxInput, SandboxStore } from "../core/sandbox/sandbox.ts";
import { fromAny, fromAnyMaybe, fromLabels, toAny, toRecord, toTimestamp } from "../rpc/convert/basic.ts";
import { bindService, type ServiceBinding } from "../rpc/types.ts";

/** Sandbox store service. */
export function sandboxStoreService(store: SandboxStore): ServiceBinding {
  return bindService(Store, {
    async create(request, { call }) {
      return { sandbox: toWire(await store.create(call.namespaced(), fromWire(request.sandbox))) };
    },
    async update(request, { call }) {
      const sandbox = fromWire(request.sandbox);
      return { sandbox: toWire(await store.update(call.namespaced(), sandbox, request.fields)) };
    },
    async delete(request, { call }) {
      await store.delete(call.namespaced(), request.sandboxId);
      return {};
    },
    async list(request, { call }) {
      return { list: (await store.list(call.namespaced(), request.filters)).map(toWire) };
    },
    async get(request, { call }) {
      return { sandbox: toWire(await store.get(call.namespaced(), request.sandboxId)) };
    },
  });
}

function toWire(s: Sandbox) {
  return {
    sandboxId: s.id,
    labels: toRecord(s.labels),
    runtime: {
      name: s.runtime.name,
      ...(s.runtime.options === undefined ? {} : { options: toAny(s.runtime.options) }),
    },
    ...(s.spec === undefined ? {} : { spec: toAny(s.spec) }),
    createdAt: toTimestamp(s.createdAt),
    updatedAt: toTimestamp(s.updatedAt),
    extensions: Object.fromEntries([...s.extensions].map(([k, v]) => [k, toAny(v)])),
    sandboxer: s.sandboxer,
  };
}

/** The wire form of a record that a client sends. @throws invalid-argument when it is missing */
export function fromWire(s: Wire | undefined): SandboxInput {
  if (s === undefined) throw invalidArgument("sandbox is required");
  return {
    id: s.sandboxId,
    labels: fromLabels(s.labels),
    runtime: { name: s.runtime?.name ?? "", options: fromAnyMaybe(s.runtime?.options) },
    spec: fromAnyMaybe(s.spec),
    extensions: new Map(Object.entries(s.extensions).map(([k, v]) => [k, fromAny(v)])),
    sandboxer: s.sandboxer,
  };
}
