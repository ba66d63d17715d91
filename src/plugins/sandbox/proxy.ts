/**
 * A sandbox controller in another process (`[proxy_plugins.NAME] type = "sandbox"`): sandboxes whose `sandboxer` is NAME are
 * made and ended by it.
 */
import { sandboxControllerClient } from "../../client/sandbox-controller.ts";
import { SANDBOX_CONTROLLER } from "../../core/plugin/kinds.ts";
import { type AnyPluginDefinition, definePlugin, noConfig } from "../../core/plugin/plugin.ts";
import type { ProxyPlugin } from "../../core/plugin/proxy.ts";
import type { SandboxController } from "../../core/sandbox/sandbox.ts";
import { createGrpcTransport } from "../../rpc/grpc/transport.ts";

/** How long the process may take to answer. Milliseconds. */
export interface SandboxLimits {
  /** Create, start, stop (on top of its own timeout), shutdown, update: machines may be made here. */
  readonly change: number;
  /** Status, platform, metrics. */
  readonly read: number;
}

/** `remote` with an end to every call but the one that waits for the end of a sandbox. */
export function limitedController(remote: SandboxController, limits: SandboxLimits): SandboxController {
  return {
    create: (call, request) => remote.create(call.within(limits.change), request),
    start: (call, id) => remote.start(call.within(limits.change), id),
    platform: (call, id) => remote.platform(call.within(limits.read), id),
    stop: (call, id, seconds) => remote.stop(call.within(limits.change + seconds * 1000), id, seconds),
    wait: (call, id) => remote.wait(call, id),
    status: (call, id, verbose) => remote.status(call.within(limits.read), id, verbose),
    shutdown: (call, id) => remote.shutdown(call.within(limits.change), id),
    metrics: (call, id) => remote.metrics(call.within(limits.read), id),
    update: (call, sandbox, fields) => remote.update(call.within(limits.change), sandbox, fields),
  };
}

/** The plugin of one table. The socket is dialled by the first call, and again after it was lost. */
export function proxySandbox(plugin: ProxyPlugin): AnyPluginDefinition {
  return definePlugin({
    kind: SANDBOX_CONTROLLER,
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
      return limitedController(sandboxControllerClient(transport, plugin.name), {
        change: host.daemon.timeout("gantry.timeout.proxy.change", 600_000),
        read: host.daemon.timeout("gantry.timeout.proxy.read", 30_000),
      });
    },
  });
}
