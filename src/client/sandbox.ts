/** SandboxStore over the sandbox store service. */
import { Controller, Store } from "../api/gen/containerd/services/sandbox/v1/sandbox_pb.ts";
import type { Sandbox as Wire } from "../api/gen/containerd/types/sandbox_pb.ts";
import type { NamespacedCall } from "../core/call.ts";
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
      return fromWire((await client.create({ sandbox: toWire(sandbox) }, callOptions(call))).sandbox);
    },
    async update(call, sandbox, fields) {
      const request = { sandbox: toWire(sandbox), fields: [...fields] };
      return fromWire((await client.update(request, callOptions(call))).sandbox);
    },
    async delete(call, sandboxId) {
      await client.delete({ sandboxId }, callOptions(call));
    },
  };
}

/** Asks the sandbox's controller to end it and give back what it has. @throws not-found */
export async function shutdownSandbox(
  transport: Transport,
  call: NamespacedCall,
  sandboxId: string,
  sandboxer: string,
): Promise<void> {
  await createClient(Controller, transport).shutdown({ sandboxId, sandboxer }, callOptions(call));
}

function toWire(s: SandboxInput) {
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
