import { Leases } from "../api/gen/containerd/services/leases/v1/leases_pb.ts";
import { invalidArgument } from "../core/errors.ts";
import type { Lease, LeaseManager } from "../core/leases/leases.ts";
import { fromLabels, toRecord, toTimestamp } from "../rpc/convert/basic.ts";
import { bindService, type ServiceBinding } from "../rpc/types.ts";

/** Leases service. */
export function leasesService(leases: LeaseManager): ServiceBinding {
  return bindService(Leases, {
    async create(request, { call }) {
      return {
        lease: toWire(await leases.create(call.namespaced(), request.id, fromLabels(request.labels))),
      };
    },
    async delete(request, { call }) {
      await leases.delete(call.namespaced(), request.id, request.sync);
      return {};
    },
    async list(request, { call }) {
      return { leases: (await leases.list(call.namespaced(), request.filters)).map(toWire) };
    },
    async addResource(request, { call }) {
      await leases.addResource(call.namespaced(), request.id, given(request.resource));
      return {};
    },
    async deleteResource(request, { call }) {
      await leases.deleteResource(call.namespaced(), request.id, given(request.resource));
      return {};
    },
    async listResources(request, { call }) {
      return {
        resources: (await leases.listResources(call.namespaced(), request.id)).map((r) => ({
          id: r.id,
          type: r.type,
        })),
      };
    },
  });
}

function given(resource: { id: string; type: string } | undefined): { id: string; type: string } {
  if (resource === undefined) throw invalidArgument("resource is required");
  return { id: resource.id, type: resource.type };
}

function toWire(l: Lease) {
  return { id: l.id, createdAt: toTimestamp(l.createdAt), labels: toRecord(l.labels) };
}
