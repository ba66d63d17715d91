/**
 * A content store in another process (`[proxy_plugins.NAME] type = "content"`). As in containerd it takes the place of the local
 * store where that is disabled (`disabled_plugins = ["io.containerd.content.v1.content"]`); beside it, nothing is asked of it.
 */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { contentClient } from "../../client/content.ts";
import { BLOBS } from "../../core/plugin/kinds.ts";
import { type AnyPluginDefinition, definePlugin, noConfig } from "../../core/plugin/plugin.ts";
import type { ProxyPlugin } from "../../core/plugin/proxy.ts";
import { createGrpcTransport } from "../../rpc/grpc/transport.ts";
import { limitedContent } from "./limited.ts";

/** The plugin of one table. The socket is dialled by the first call, and again after it was lost. */
export function proxyContent(plugin: ProxyPlugin): AnyPluginDefinition {
  return definePlugin({
    kind: BLOBS,
    id: plugin.name,
    requires: {},
    config: noConfig,
    onFailure: "optional",
    async init(host) {
      await mkdir(join(host.root, "blobs", "sha256"), { recursive: true, mode: 0o700 });
      await mkdir(join(host.root, "ingest"), { recursive: true, mode: 0o700 });
      const transport = createGrpcTransport({ path: plugin.address });
      host.onStop(() => transport.close());
      host.describe({
        exports: { ...plugin.exports, address: plugin.address },
        capabilities: plugin.capabilities,
        platforms: [plugin.platform],
      });
      const limit = host.daemon.timeout("gantry.timeout.proxy.read", 30_000);
      return { root: host.root, remote: limitedContent(contentClient(transport), limit) };
    },
  });
}
