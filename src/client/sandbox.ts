/** SandboxStore over the sandbox store service. */
import { Store } from "../api/gen/containerd/services/sandbox/v1/sandbox_pb.ts";
import type { Sandbox as Wire } from "../api/gen/containerd/types/sandbox_pb.ts";
import { internal } from "../core/errors.ts";
import type { Sandbox, SandboxInput, SandboxStore } from "../core/sandbox/sandbox.ts";
import { createClient } from "../rpc/client.ts";
import { fromAny, fromAnyMaybe, fromLabels, fromTimestamp, toAny, toRecord } from "../rpc/convert/basic.ts";
import { callOptions } from "../rpc/headers.ts";
import type { Transport } from "../rpc/types.ts";

/** Makes the store. */
export function sandboxesClient(transport: Transport): SandboxStore {
  const client = createClient(Store, transport);
  return {
    async get(call, sandboxId) {
      return fromWire((await client.get({ sandboxId }, callOptions(call))).sandbox);
    },
    async list(call, filters) {
      return (await client.list({ filters: [...filters] }, callOptions(call))).list.map(fromWire);
    },
    async create(call, sandbox) {
      return fromWire((await client.create({ sandbox: sandboxToWire(sandbox) }, callOptions(call))).sandbox);
    },
    async update(call, sandbox, fields) {
      const request = { sandbox: sandboxToWire(sandbox), fields: [...fields] };
      return fromWire((await client.update(request, callOptions(call))).sandbox);
    },
    async delete(call, sandboxId) {
      await client.delete({ sandboxId }, callOptions(call));
    },
  };
}

/** The wire form of a record. */
export function sandboxToWire(s: SandboxInput) {
  return {
    sandboxId: s.id,
    labels: toRecord(s.labels),
    runtime: {
      name: s.runtime.name,
      ...(s.runtime.options === undefined ? {} : { options: toAny(s.runtime.options) }),
    },
    ...(s.spec === undefined ? {} : { spec: toAny(s.spec) }),
    extensions: Object.fromEntries([...s.extensions].map(([k, v]) => [k, toAny(v)])),
    sandboxer: s.sandboxer,
  };
}

function fromWire(s: Wire | undefined): Sandbox {
  if (s === undefined) throw internal("read sandbox: empty answer");
  return {
    id: s.sandboxId,
    labels: fromLabels(s.labels),
    runtime: { name: s.runtime?.name ?? "", options: fromAnyMaybe(s.runtime?.options) },
    spec: fromAnyMaybe(s.spec),
    createdAt: fromTimestamp(s.createdAt),
    updatedAt: fromTimestamp(s.updatedAt),
    extensions: new Map(Object.entries(s.extensions).map(([k, v]) => [k, fromAny(v)])),
    sandboxer: s.sandboxer,
  };
}
