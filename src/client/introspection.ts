/** Introspection and version over RPC. */
import {
  type Plugin,
  Introspection as Service,
} from "../api/gen/containerd/services/introspection/v1/introspection_pb.ts";
import { Version } from "../api/gen/containerd/services/version/v1/version_pb.ts";
import type { Call } from "../core/call.ts";
import { internal } from "../core/errors.ts";
import type { Introspection, PluginStatus } from "../core/introspection/introspection.ts";
import { createClient } from "../rpc/client.ts";
import { fromAnyMaybe, fromRecord, fromTimestamp, toAny } from "../rpc/convert/basic.ts";
import { fromPlatform } from "../rpc/convert/oci.ts";
import { callOptions } from "../rpc/headers.ts";
import type { Transport } from "../rpc/types.ts";

/** Version of the server. */
export async function serverVersion(
  transport: Transport,
  call: Call,
): Promise<{ version: string; revision: string }> {
  const { version, revision } = await createClient(Version, transport).version({}, callOptions(call));
  return { version, revision };
}

/** Makes the client. */
export function introspectionClient(transport: Transport): Introspection {
  const client = createClient(Service, transport);
  return {
    async plugins(call, filters) {
      return (await client.plugins({ filters: [...filters] }, callOptions(call))).plugins.map(fromPlugin);
    },
    async server(call) {
      const s = await client.server({}, callOptions(call));
      const deprecations = s.deprecations.map((d) => ({
        id: d.id,
        message: d.message,
        lastOccurrence: fromTimestamp(d.lastOccurrence),
      }));
      return { uuid: s.uuid, pid: Number(s.pid), pidns: s.pidns, deprecations };
    },
    async pluginInfo(call, type, id, options) {
      const request = { type, id, ...(options === undefined ? {} : { options: toAny(options) }) };
      const { plugin, extra } = await client.pluginInfo(request, callOptions(call));
      if (plugin === undefined) throw internal(`read plugin "${type}.${id}": empty answer`);
      return { plugin: fromPlugin(plugin), extra: fromAnyMaybe(extra) };
    },
  };
}

function fromPlugin(p: Plugin): PluginStatus {
  const skipped = p.initErr?.message.includes("skip plugin") === true;
  return {
    type: p.type,
    id: p.id,
    requires: p.requires,
    platforms: p.platforms.map(fromPlatform),
    exports: fromRecord(p.exports),
    capabilities: p.capabilities,
    state: p.initErr === undefined ? "ok" : skipped ? "skip" : "error",
    ...(p.initErr === undefined ? {} : { error: new Error(p.initErr.message) }),
  };
}
