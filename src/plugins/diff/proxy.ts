/** A differ in another process (`[proxy_plugins.NAME] type = "diff"`): used where the diff service's list names it. */
import { diffClient } from "../../client/diff.ts";
import { notImplemented } from "../../core/errors.ts";
import { DIFFER } from "../../core/plugin/kinds.ts";
import { type AnyPluginDefinition, definePlugin, noConfig } from "../../core/plugin/plugin.ts";
import type { ProxyPlugin } from "../../core/plugin/proxy.ts";
import { createGrpcTransport } from "../../rpc/grpc/transport.ts";

/** Milliseconds a layer may take unless `[timeouts]` says otherwise. */
const LIMIT_MS = 1_800_000;

/** The plugin of one table. The socket is dialled by the first call, and again after it was lost. */
export function proxyDiffer(plugin: ProxyPlugin): AnyPluginDefinition {
  return definePlugin({
    kind: DIFFER,
    id: plugin.name,
    requires: {},
    config: noConfig,
    onFailure: "optional",
    init(host) {
      const transport = createGrpcTransport({ path: plugin.address });
      host.onStop(() => transport.close());
      host.describe({
        exports: { ...plugin.exports, address: plugin.address },
        capabilities: plugin.capabilities,
        platforms: [plugin.platform],
      });
      const client = diffClient(transport);
      const limit = host.daemon.timeout("gantry.timeout.proxy.diff", LIMIT_MS);
      return {
        apply: (call, desc, mounts, options) => client.apply(call.within(limit), desc, mounts, options),
        compare: (call, lower, upper, options) => client.compare(call.within(limit), lower, upper, options),
        start() {
          throw notImplemented(`unpack while fetching: differ "${plugin.name}" is another process`);
        },
      };
    },
  });
}
