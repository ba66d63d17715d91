/** The plugin `io.containerd.sandbox.controller.v1.shim`: sandboxes that shims implement. */
import { EVENTS, SANDBOX_CONTROLLER, SANDBOX_STORE } from "../../core/plugin/kinds.ts";
import { definePlugin, noConfig, one } from "../../core/plugin/plugin.ts";
import { ShimSandboxes, sandboxFolders } from "./sandboxes.ts";
import { SHIMS } from "./shim-manager.ts";

export default definePlugin({
  kind: SANDBOX_CONTROLLER,
  id: "shim",
  requires: { shims: one(SHIMS), store: one(SANDBOX_STORE), events: one(EVENTS) },
  config: noConfig,
  onFailure: "optional",
  init(host, deps) {
    const { daemon } = host;
    const controller = new ShimSandboxes({
      ...sandboxFolders(daemon),
      shims: deps.shims,
      store: deps.store,
      events: deps.events,
      timeouts: {
        load: daemon.timeout("io.containerd.timeout.shim.load", 5_000),
        cleanup: daemon.timeout("io.containerd.timeout.shim.cleanup", 5_000),
        shutdown: daemon.timeout("io.containerd.timeout.shim.shutdown", 3_000),
      },
      call: host.call,
      log: host.log,
    });
    host.onReady(() => controller.load());
    host.onStop(() => controller.close());
    return controller;
  },
});
