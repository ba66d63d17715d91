import { Introspection as Service } from "../api/gen/containerd/services/introspection/v1/introspection_pb.ts";
import { messageOf } from "../core/errors.ts";
import type { Introspection, PluginStatus } from "../core/introspection/introspection.ts";
import { fromAnyMaybe, toAny, toRecord, toTimestamp } from "../rpc/convert/basic.ts";
import { toPlatform } from "../rpc/convert/oci.ts";
import { toStatus } from "../rpc/status.ts";
import { bindService, type ServiceBinding } from "../rpc/types.ts";

/** Introspection service. */
export function introspectionService(introspection: Introspection): ServiceBinding {
  return bindService(Service, {
    async plugins(request, { call }) {
      return { plugins: (await introspection.plugins(call, request.filters)).map(toPlugin) };
    },
    async server(_request, { call }) {
      const s = await introspection.server(call);
      return {
        uuid: s.uuid,
        pid: BigInt(s.pid),
        pidns: s.pidns,
        deprecations: s.deprecations.map((d) => ({
          id: d.id,
          message: d.message,
          lastOccurrence: toTimestamp(d.lastOccurrence),
        })),
      };
    },
    async pluginInfo(request, { call }) {
      const { plugin, extra } = await introspection.pluginInfo(
        call,
        request.type,
        request.id,
        fromAnyMaybe(request.options),
      );
      return { plugin: toPlugin(plugin), ...(extra === undefined ? {} : { extra: toAny(extra) }) };
    },
  });
}

function toPlugin(p: PluginStatus) {
  return {
    type: p.type,
    id: p.id,
    requires: [...p.requires],
    platforms: p.platforms.map(toPlatform),
    exports: toRecord(p.exports),
    capabilities: [...p.capabilities],
    ...(p.state === "ok" ? {} : { initErr: initError(p) }),
  };
}

function initError(p: PluginStatus): { code: number; message: string } {
  const message = messageOf(p.error ?? "failed");
  // clients tell a skipped plugin by containerd's wording
  return { code: toStatus(p.error).code, message: p.state === "skip" ? `${message}: skip plugin` : message };
}
