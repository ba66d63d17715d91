/** The mount manager `io.containerd.mount-manager.v1.bolt`; named as containerd's, whose records are in such a database. */
import { MOUNT_MANAGER } from "../../core/plugin/kinds.ts";
import { definePlugin, noConfig } from "../../core/plugin/plugin.ts";
import { FileMountManager } from "./manager.ts";

export default definePlugin({
  kind: MOUNT_MANAGER,
  id: "bolt",
  requires: {},
  config: noConfig,
  onFailure: "optional",
  async init(host) {
    const manager = new FileMountManager(host.state, host.log);
    await manager.load();
    return manager;
  },
});
