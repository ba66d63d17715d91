import { Namespaces } from "../api/gen/containerd/services/namespaces/v1/namespace_pb.ts";
import { invalidArgument } from "../core/errors.ts";
import type { NamespaceInfo, NamespaceStore } from "../core/namespaces/namespaces.ts";
import { fieldPaths, fromLabels, toRecord } from "../rpc/convert/basic.ts";
import { bindService, type ServiceBinding } from "../rpc/types.ts";

/** Namespaces service. */
export function namespacesService(store: NamespaceStore): ServiceBinding {
  return bindService(Namespaces, {
    async get(request, { call }) {
      return { namespace: toWire(await store.get(call, request.name)) };
    },
    async list(_request, { call }) {
      return { namespaces: (await store.list(call)).map(toWire) };
    },
    async create(request, { call }) {
      const { name, labels } = given(request.namespace);
      return { namespace: toWire(await store.create(call, name, fromLabels(labels))) };
    },
    async update(request, { call }) {
      const { name, labels } = given(request.namespace);
      return {
        namespace: toWire(await store.update(call, name, fromLabels(labels), fieldPaths(request.updateMask))),
      };
    },
    async delete(request, { call }) {
      await store.delete(call, request.name);
      return {};
    },
  });
}

function given<T>(namespace: T | undefined): T {
  if (namespace === undefined) throw invalidArgument("namespace is required");
  return namespace;
}

function toWire(n: NamespaceInfo): { name: string; labels: Record<string, string> } {
  return { name: n.name, labels: toRecord(n.labels) };
}
