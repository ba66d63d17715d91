/** The runtime plugin `io.containerd.runtime.v2.task`: tasks over shims. */
import { fromBinary } from "@bufbuild/protobuf";
import { RuntimeInfoSchema, RuntimeRequestSchema } from "../../api/gen/containerd/types/introspection_pb.ts";
import type { AnyValue } from "../../core/any.ts";
import { invalidArgument } from "../../core/errors.ts";
import { EVENTS, METADATA, RUNTIME } from "../../core/plugin/kinds.ts";
import { definePlugin, one } from "../../core/plugin/plugin.ts";
import { fromAnyMaybe } from "../../rpc/convert/basic.ts";
import { shimInfo } from "./launch.ts";
import { TaskManager } from "./manager.ts";
import { OWN_RUNTIME, resolveShim } from "./resolve.ts";
import { createTaskService } from "./service.ts";
import { SpareShims } from "./spares.ts";

/** Time `shim -info` gets. Milliseconds. */
const INFO_MS = 10_000;
/** Longest folder for shim sockets: the name below it has 64 characters and the kernel's limit is 107. */
const MAX_SOCKET_DIR = 42;

interface Config {
  readonly env: readonly string[];
  readonly socketDir: string;
  /** Own shims kept waiting; each costs some MB of memory. */
  readonly spares: number;
}

export default definePlugin({
  kind: RUNTIME,
  id: "task",
  requires: { metadata: one(METADATA), events: one(EVENTS) },
  config: {
    defaults: {
      platforms: [`linux/${process.arch === "x64" ? "amd64" : process.arch}`],
      env: [],
      socket_dir: "",
      spare_shims: 1,
    },
    parse(table): Config {
      const env = table["env"];
      const socketDir = String(table["socket_dir"] ?? "");
      if (socketDir.length > MAX_SOCKET_DIR)
        throw invalidArgument(`socket_dir "${socketDir}": longer than ${MAX_SOCKET_DIR} bytes`);
      const spares = Number(table["spare_shims"]);
      if (!Number.isInteger(spares) || spares < 0 || spares > 64)
        throw invalidArgument("spare_shims: must be a whole number from 0 to 64");
      return { spares, env: Array.isArray(env) ? env.map(String) : [], socketDir };
    },
  },
  onFailure: "fatal",
  async init(host, deps, config) {
    const { daemon } = host;
    const spares = new SpareShims(resolveShim(OWN_RUNTIME, undefined), config.spares, host.log);
    const manager = new TaskManager({
      spares,
      state: host.state,
      root: host.root,
      containers: deps.metadata.containers,
      events: deps.events,
      launch: { daemon, debug: false, env: config.env, socketDir: config.socketDir },
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
    host.onServe(async () => spares.fill());
    host.onStop(() => manager.stop());
    return { ...createTaskService(manager), pluginInfo: runtimeInfo };
  },
});

/** Answers introspection's PluginInfo: what a runtime's shim says of itself. */
async function runtimeInfo(question: AnyValue | undefined): Promise<AnyValue | undefined> {
  if (question === undefined) return undefined;
  const request = fromBinary(RuntimeRequestSchema, question.value);
  const shim = resolveShim(
    request.runtimePath === "" ? "io.containerd.runc.v2" : request.runtimePath,
    undefined,
  );
  return {
    typeUrl: RuntimeInfoSchema.typeName,
    value: await shimInfo(shim, fromAnyMaybe(request.options), INFO_MS),
  };
}
