/**
 * A content store in another process (`[proxy_plugins.NAME] type = "content"`). It is a store of its own beside the local
 * one, which the metadata database keeps to: nothing is read from it unless a plugin asks for it by name.
 */
import { contentClient } from "../../client/content.ts";
import type { ContentStore } from "../../core/content/content.ts";
import { type AnyPluginDefinition, defineKind, definePlugin, noConfig } from "../../core/plugin/plugin.ts";
import type { ProxyPlugin } from "../../core/plugin/proxy.ts";
import { createGrpcTransport } from "../../rpc/grpc/transport.ts";
import { limitedContent } from "./limited.ts";

/** containerd's type of content stores, here with the whole interface: a process has no folder that others may use. */
const REMOTE_CONTENT = defineKind<ContentStore>("io.containerd.content.v1");

/** The plugin of one table. The socket is dialled by the first call, and again after it was lost. */
export function proxyContent(plugin: ProxyPlugin): AnyPluginDefinition {
  return definePlugin({
    kind: REMOTE_CONTENT,
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
      return limitedContent(
        contentClient(transport),
        host.daemon.timeout("gantry.timeout.proxy.read", 30_000),
      );
    },
  });
}
