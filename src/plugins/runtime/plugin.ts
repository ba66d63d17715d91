/** The runtime plugin `io.containerd.runtime.v2.task`: tasks over shims. */
import { RuntimeInfoSchema, RuntimeRequestSchema } from "../../api/gen/containerd/types/introspection_pb.ts";
import type { AnyValue } from "../../core/any.ts";
import { invalidArgument } from "../../core/errors.ts";
import { EVENTS, METADATA, RUNTIME } from "../../core/plugin/kinds.ts";
import { definePlugin, one } from "../../core/plugin/plugin.ts";
import { decodeAny, fromAnyMaybe } from "../../rpc/convert/basic.ts";
import { bundleOf } from "./bundle.ts";
import { shimInfo } from "./launch.ts";
import { TaskManager } from "./manager.ts";
import { resolveShim } from "./resolve.ts";
import { sandboxFolders } from "./sandboxes.ts";
import { createTaskService } from "./service.ts";
import { SHIMS } from "./shim-manager.ts";

/** Time `shim -info` gets. Milliseconds. */
const INFO_MS = 10_000;
export default definePlugin({
  kind: RUNTIME,
  id: "task",
  requires: { metadata: one(METADATA), events: one(EVENTS), shims: one(SHIMS) },
  config: {
    defaults: {
      platforms: [`linux/${process.arch === "x64" ? "amd64" : process.arch}`],
      refuse_old_runc: false,
    },
    parse(table): boolean {
      const refuse = table["refuse_old_runc"];
      if (typeof refuse !== "boolean") throw invalidArgument("refuse_old_runc: must be true or false");
      return refuse;
    },
  },
  onFailure: "fatal",
  async init(host, deps, refuseOldRunc) {
    const { daemon } = host;
    const sandboxes = sandboxFolders(daemon);
    const manager = new TaskManager({
      shims: deps.shims,
      refuseOldRunc,
      sandboxBundle: (namespace, id) => bundleOf(sandboxes.state, sandboxes.root, namespace, id),
      state: host.state,
      root: host.root,
      containers: deps.metadata.containers,
      content: deps.metadata.content,
      events: deps.events,
      timeouts: {
        load: daemon.timeout("io.containerd.timeout.shim.load", 5_000),
        cleanup: daemon.timeout("io.containerd.timeout.shim.cleanup", 5_000),
        shutdown: daemon.timeout("io.containerd.timeout.shim.shutdown", 3_000),
        state: daemon.timeout("io.containerd.timeout.task.state", 2_000),
      },
      call: host.call,
      log: host.log,
    });
    host.describe({
      platforms: [{ os: "linux", architecture: process.arch === "x64" ? "amd64" : process.arch }],
    });
    host.onReady(() => manager.load());
    host.onServe(async () => {
      void manager.askFound().catch((err: unknown) => host.log.error("ask shims for their tasks", { err }));
    });
    host.onStop(() => manager.stop());
    return { ...createTaskService(manager, deps.metadata), pluginInfo: runtimeInfo };
  },
});

/** Answers introspection's PluginInfo: what a runtime's shim says of itself. */
async function runtimeInfo(question: AnyValue | undefined): Promise<AnyValue | undefined> {
  if (question === undefined) return undefined;
  const request = decodeAny(RuntimeRequestSchema, question, "runtime request");
  const shim = resolveShim(
    request.runtimePath === "" ? "io.containerd.runc.v2" : request.runtimePath,
    undefined,
  );
  return {
    typeUrl: RuntimeInfoSchema.typeName,
    value: await shimInfo(shim, fromAnyMaybe(request.options), INFO_MS),
  };
}
