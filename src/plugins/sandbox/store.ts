/** The sandbox store `io.containerd.sandbox.store.v1.local`: the metadata database's. */
import { METADATA, SANDBOX_STORE } from "../../core/plugin/kinds.ts";
import { definePlugin, noConfig, one } from "../../core/plugin/plugin.ts";

export default definePlugin({
  kind: SANDBOX_STORE,
  id: "local",
  requires: { metadata: one(METADATA) },
  config: noConfig,
  onFailure: "optional",
  init: (_host, { metadata }) => metadata.sandboxes,
});
