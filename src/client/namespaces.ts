/** NamespaceStore over the namespaces service. */
import {
  Namespaces,
  type Namespace as Wire,
} from "../api/gen/containerd/services/namespaces/v1/namespace_pb.ts";
import { internal } from "../core/errors.ts";
import type { NamespaceInfo, NamespaceStore } from "../core/namespaces/namespaces.ts";
import { createClient } from "../rpc/client.ts";
import { fromLabels, toRecord } from "../rpc/convert/basic.ts";
import { callOptions } from "../rpc/headers.ts";
import type { Transport } from "../rpc/types.ts";

/** Makes the store. */
export function namespacesClient(transport: Transport): NamespaceStore {
  const client = createClient(Namespaces, transport);
  return {
    async get(call, name) {
      return fromWire((await client.get({ name }, callOptions(call))).namespace);
    },
    async list(call) {
      return (await client.list({}, callOptions(call))).namespaces.map(fromWire);
    },
    async create(call, name, labels) {
      return fromWire(
        (await client.create({ namespace: { name, labels: toRecord(labels) } }, callOptions(call))).namespace,
      );
    },
    async update(call, name, labels, fields) {
      const mask = fields.length === 0 ? {} : { updateMask: { paths: [...fields] } };
      const answer = await client.update(
        { namespace: { name, labels: toRecord(labels) }, ...mask },
        callOptions(call),
      );
      // containerd 1.7 leaves the answer empty
      return answer.namespace === undefined ? await this.get(call, name) : fromWire(answer.namespace);
    },
    async delete(call, name) {
      await client.delete({ name }, callOptions(call));
    },
  };
}

function fromWire(n: Wire | undefined): NamespaceInfo {
  if (n === undefined) throw internal("read namespace: empty answer");
  return { name: n.name, labels: fromLabels(n.labels) };
}
