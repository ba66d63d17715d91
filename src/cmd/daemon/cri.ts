/**
 * CRI as plugins, named as containerd names them: `cri.v1.images` (images), `cri.v1.runtime` (pods and containers) and
 * `grpc.v1.cri` (the services). Here because plugins may not import services. Nothing of CRI is loaded before it starts.
 */
import { join } from "node:path";
import type { AnyValue } from "../../core/any.ts";
import { parseNamespace } from "../../core/ids/namespace.ts";
import { NRI } from "../../core/nri/nri.ts";
import { EVENTS, LEASE, METADATA, RUNTIME, SNAPSHOTTER, TRANSFER } from "../../core/plugin/kinds.ts";
import {
  type AnyPluginDefinition,
  all,
  defineKind,
  definePlugin,
  one,
  optional,
} from "../../core/plugin/plugin.ts";
import {
  parseRuntimeConfig,
  parseServerConfig,
  runtimeDefaults,
  runtimeLive,
  serverDefaults,
} from "../../cri/config.ts";
import { type ImagesConfig, imagesDefaults, parseImagesConfig } from "../../cri/config-images.ts";
import type { Cri } from "../../cri/cri.ts";
import { CRI_NAMESPACE, type CriDeps } from "../../cri/deps.ts";
import { DIFF_SERVICE } from "../../plugins/diff/service.ts";
import { GRPC_SERVICE } from "../../rpc/kinds.ts";

const CRI_IMAGES = defineKind<ImagesConfig>("io.containerd.cri.v1");
const CRI_RUNTIME = defineKind<Cri>("io.containerd.cri.v1");

const images = definePlugin({
  kind: CRI_IMAGES,
  id: "images",
  requires: { metadata: one(METADATA), transfer: one(TRANSFER) },
  config: { defaults: imagesDefaults, live: ["registry"], parse: parseImagesConfig },
  onFailure: "optional",
  init(host, _deps, config) {
    host.describe({ exports: { snapshotter: config.snapshotter } });
    // the one resolver of all clients reads this table from the whole configuration, and is told of changes
    host.onReload(() => {});
    return config;
  },
});

const runtime = definePlugin({
  kind: CRI_RUNTIME,
  id: "runtime",
  requires: {
    images: one(CRI_IMAGES, "images"),
    metadata: one(METADATA),
    backends: all(SNAPSHOTTER),
    leases: one(LEASE),
    events: one(EVENTS),
    tasks: one(RUNTIME, "task"),
    transfer: one(TRANSFER),
    differ: one(DIFF_SERVICE, "diff-service"),
    nri: optional(NRI, "nri"),
  },
  config: { defaults: runtimeDefaults, live: runtimeLive, parse: parseRuntimeConfig },
  onFailure: "optional",
  async init(host, deps, config) {
    const [{ Cri: CriClass }, { createCodec }, { startCri }, { createImages }] = await Promise.all([
      import("../../cri/cri.ts"),
      import("../../services/cri/codec.ts"),
      import("../../cri/start.ts"),
      import("../../cri/images/service.ts"),
    ]);
    const call = host.call.in(parseNamespace(CRI_NAMESPACE));
    // every user looks at it when it makes something
    const current = { ...config };
    host.onReload((next) => void Object.assign(current, next));
    const criDeps: CriDeps = {
      call,
      log: host.log,
      // containerd's folder of CRI
      root: join(host.daemon.root, "io.containerd.grpc.v1.cri"),
      state: join(host.daemon.state, "io.containerd.grpc.v1.cri"),
      daemon: host.daemon,
      snapshotterRoot: (name) =>
        deps.backends.get(name)?.exports.get("root") ??
        join(host.daemon.root, `io.containerd.snapshotter.v1.${name}`),
      config: current,
      imagesConfig: deps.images,
      metadata: deps.metadata,
      leases: deps.leases,
      events: deps.events,
      tasks: deps.tasks,
      transfer: deps.transfer,
      differ: deps.differ,
      codec: createCodec(async (question) =>
        answersQuestions(deps.tasks) ? await deps.tasks.pluginInfo(question) : undefined,
      ),
    };
    const imageService = createImages(criDeps, host.metrics);
    host.onReady(() => imageService.start());
    const cri = new CriClass(criDeps, imageService, host.metrics);
    if (deps.nri !== undefined) {
      const { createNriHooks } = await import("../../cri/nri/bridge.ts");
      cri.nri = createNriHooks(cri, deps.nri);
    }
    startCri(cri, host);
    return cri;
  },
});

/** What introspection's PluginInfo asks plugins; the runtime answers with what its shim says of itself. */
function answersQuestions(
  value: object,
): value is { pluginInfo(question: AnyValue): Promise<AnyValue | undefined> } {
  return "pluginInfo" in value && typeof value.pluginInfo === "function";
}

const service = definePlugin({
  kind: GRPC_SERVICE,
  id: "cri",
  requires: { cri: one(CRI_RUNTIME, "runtime") },
  config: { defaults: serverDefaults, parse: parseServerConfig },
  onFailure: "optional",
  async init(_host, { cri }, config) {
    const { criServices } = await import("../../services/cri/service.ts");
    return criServices(cri, config);
  },
});

/** The three definitions. */
export const criPlugins: readonly AnyPluginDefinition[] = [images, runtime, service];
