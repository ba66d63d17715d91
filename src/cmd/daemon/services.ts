/** The gRPC and ttrpc services as plugins: one entry each, named as containerd names them. */

import {
  EVENTS,
  LEASE,
  METADATA,
  MOUNT_MANAGER,
  POD_SANDBOX_CONTROLLER,
  RUNTIME,
  SANDBOX_CONTROLLER,
  SANDBOX_STORE,
  STREAMING,
  TRANSFER,
  VERIFIER,
} from "../../core/plugin/kinds.ts";
import { INTROSPECTION } from "../../core/plugin/own-kinds.ts";
import {
  type AnyPluginDefinition,
  type AnyRequirement,
  all,
  type Deps,
  definePlugin,
  noConfig,
  one,
  type PluginHost,
} from "../../core/plugin/plugin.ts";
import { DIFF_SERVICE } from "../../plugins/diff/service.ts";
import { GRPC_SERVICE, TTRPC_SERVICE } from "../../rpc/kinds.ts";
import type { ServiceBinding } from "../../rpc/types.ts";

type Requires = Readonly<Record<string, AnyRequirement>>;

function grpc<const R extends Requires>(
  id: string,
  requires: R,
  init: (deps: Deps<R>, host: PluginHost) => Promise<ServiceBinding>,
): AnyPluginDefinition {
  return definePlugin({
    kind: GRPC_SERVICE,
    id,
    requires,
    config: noConfig,
    onFailure: "optional",
    init: (host, deps) => init(deps, host),
  });
}

/** Every service by `type.id`. */
export const services: readonly AnyPluginDefinition[] = [
  grpc("version", {}, async (_d, host) =>
    (await import("../../services/version.ts")).versionService(host.daemon),
  ),
  grpc("healthcheck", {}, async () => (await import("../../services/health.ts")).healthService(() => true)),
  grpc("introspection", { introspection: one(INTROSPECTION) }, async (d) =>
    (await import("../../services/introspection.ts")).introspectionService(d.introspection),
  ),
  grpc("namespaces", { metadata: one(METADATA) }, async (d) =>
    (await import("../../services/namespaces.ts")).namespacesService(d.metadata.namespaces),
  ),
  grpc("containers", { metadata: one(METADATA) }, async (d) =>
    (await import("../../services/containers.ts")).containersService(d.metadata.containers),
  ),
  grpc("images", { metadata: one(METADATA), verifiers: all(VERIFIER) }, async (d) => {
    const { gatedImages } = await import("../../services/images-gate.ts");
    const { imagesService } = await import("../../services/images.ts");
    return imagesService(gatedImages(d.metadata.images, d.verifiers.values()));
  }),
  grpc("content", { metadata: one(METADATA) }, async (d) =>
    (await import("../../services/content.ts")).contentService(d.metadata.content),
  ),
  grpc("snapshots", { metadata: one(METADATA) }, async (d) =>
    (await import("../../services/snapshots.ts")).snapshotsService((name) => d.metadata.snapshotter(name)),
  ),
  grpc("leases", { leases: one(LEASE) }, async (d) =>
    (await import("../../services/leases.ts")).leasesService(d.leases),
  ),
  grpc("diff", { differ: one(DIFF_SERVICE, "diff-service") }, async (d) =>
    (await import("../../services/diff.ts")).diffService(d.differ),
  ),
  grpc("events", { events: one(EVENTS) }, async (d) =>
    (await import("../../services/events.ts")).eventsService(d.events),
  ),
  grpc("tasks", { tasks: one(RUNTIME, "task") }, async (d) =>
    (await import("../../services/tasks.ts")).tasksService(d.tasks),
  ),
  grpc("mounts", { mounts: one(MOUNT_MANAGER) }, async (d) =>
    (await import("../../services/mounts.ts")).mountsService(d.mounts),
  ),
  grpc("sandboxes", { store: one(SANDBOX_STORE) }, async (d) =>
    (await import("../../services/sandbox-store.ts")).sandboxStoreService(d.store),
  ),
  grpc(
    "sandbox-controllers",
    {
      controllers: all(SANDBOX_CONTROLLER),
      pods: all(POD_SANDBOX_CONTROLLER),
      store: one(SANDBOX_STORE),
      events: one(EVENTS),
    },
    async (d) =>
      (await import("../../services/sandbox-controller.ts")).sandboxControllerService(
        new Map([...d.controllers, ...d.pods]),
        d.store,
        d.events,
      ),
  ),
  grpc("streaming", { streams: one(STREAMING) }, async (d) =>
    (await import("../../services/streaming.ts")).streamingService(d.streams),
  ),
  grpc("transfer", { transfer: one(TRANSFER), streams: one(STREAMING) }, async (d) =>
    (await import("../../services/transfer.ts")).transferService(d.transfer, d.streams),
  ),
  definePlugin({
    kind: TTRPC_SERVICE,
    id: "events",
    requires: { events: one(EVENTS) },
    config: noConfig,
    onFailure: "fatal",
    init: async (_host, d) => (await import("../../services/events.ts")).ttrpcEventsService(d.events),
  }),
];
