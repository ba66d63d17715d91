/** LeaseManager over the leases service. */
import { Leases, type Lease as Wire } from "../api/gen/containerd/services/leases/v1/leases_pb.ts";
import { internal } from "../core/errors.ts";
import type { Lease, LeaseManager } from "../core/leases/leases.ts";
import { createClient } from "../rpc/client.ts";
import { fromLabels, fromTimestamp, toRecord } from "../rpc/convert/basic.ts";
import { callOptions } from "../rpc/headers.ts";
import type { Transport } from "../rpc/types.ts";

/** Makes the manager. */
export function leasesClient(transport: Transport): LeaseManager {
  const client = createClient(Leases, transport);
  return {
    async create(call, id, labels) {
      return fromWire((await client.create({ id, labels: toRecord(labels) }, callOptions(call))).lease);
    },
    async delete(call, id, sync = false) {
      await client.delete({ id, sync }, callOptions(call));
    },
    async list(call, filters) {
      return (await client.list({ filters: [...filters] }, callOptions(call))).leases.map(fromWire);
    },
    async addResource(call, id, resource) {
      await client.addResource({ id, resource: { ...resource } }, callOptions(call));
    },
    async deleteResource(call, id, resource) {
      await client.deleteResource({ id, resource: { ...resource } }, callOptions(call));
    },
    async listResources(call, id) {
      return (await client.listResources({ id }, callOptions(call))).resources.map((r) => ({
        type: r.type,
        id: r.id,
      }));
    },
  };
}

function fromWire(l: Wire | undefined): Lease {
  if (l === undefined) throw internal("read lease: empty answer");
  return { id: l.id, createdAt: fromTimestamp(l.createdAt), labels: fromLabels(l.labels) };
}
