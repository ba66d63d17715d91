/** THE list of plugins: one line each. Order does not matter; boot sorts by requirements. */
import type { Builtin } from "./boot.ts";
import { criPlugins } from "./cri.ts";
import { services } from "./services.ts";

export const builtins: readonly Builtin[] = [
  { uri: "io.containerd.content.v1.content", load: () => import("../../plugins/content/plugin.ts") },
  { uri: "io.containerd.metadata.v1.bolt", load: () => import("../../plugins/metadata/plugin.ts") },
  { uri: "io.containerd.gc.v1.scheduler", load: () => import("../../plugins/gc/plugin.ts") },
  { uri: "io.containerd.event.v1.exchange", load: () => import("../../plugins/events/plugin.ts") },
  { uri: "io.containerd.lease.v1.manager", load: () => import("../../plugins/leases/plugin.ts") },
  {
    uri: "io.containerd.snapshotter.v1.overlayfs",
    load: () => import("../../plugins/snapshots/overlayfs.ts"),
  },
  { uri: "io.containerd.snapshotter.v1.native", load: () => import("../../plugins/snapshots/native.ts") },
  { uri: "io.containerd.snapshotter.v1.btrfs", load: () => import("../../plugins/snapshots/btrfs.ts") },
  {
    uri: "io.containerd.snapshotter.v1.blockfile",
    load: () => import("../../plugins/snapshots/blockfile.ts"),
  },
  { uri: "io.containerd.snapshotter.v1.erofs", load: () => import("../../plugins/snapshots/erofs.ts") },
  { uri: "io.containerd.differ.v1.erofs", load: () => import("../../plugins/diff/erofs.ts") },
  { uri: "io.containerd.differ.v1.walking", load: () => import("../../plugins/diff/walking.ts") },
  { uri: "io.containerd.service.v1.diff-service", load: () => import("../../plugins/diff/service.ts") },
  { uri: "io.containerd.streaming.v1.manager", load: () => import("../../plugins/streaming/plugin.ts") },
  { uri: "io.containerd.transfer.v1.local", load: () => import("../../plugins/transfer/plugin.ts") },
  {
    uri: "io.containerd.image-verifier.v1.bindir",
    load: () => import("../../plugins/verifier/bindir.ts"),
  },
  {
    uri: "io.containerd.internal.v1.image-directory",
    load: () => import("../../plugins/image-directory/plugin.ts"),
  },
  { uri: "io.containerd.shim.v1.manager", load: () => import("../../plugins/runtime/shim-manager.ts") },
  {
    uri: "io.containerd.sandbox.controller.v1.shim",
    load: () => import("../../plugins/runtime/sandbox-plugin.ts"),
  },
  { uri: "io.containerd.runtime.v2.task", load: () => import("../../plugins/runtime/plugin.ts") },
  { uri: "io.containerd.mount-manager.v1.bolt", load: () => import("../../plugins/mounts/plugin.ts") },
  { uri: "io.containerd.sandbox.store.v1.local", load: () => import("../../plugins/sandbox/store.ts") },
  {
    uri: "io.containerd.monitor.container.v1.restart",
    load: () => import("../../plugins/restart/plugin.ts"),
  },
  { uri: "io.containerd.nri.v1.nri", load: () => import("../../plugins/nri/plugin.ts") },
  { uri: "io.containerd.monitor.container.v1.health", load: () => import("../../plugins/health/plugin.ts") },
  { uri: "io.containerd.server.v1.grpc", load: () => import("../../plugins/servers/grpc.ts") },
  { uri: "io.containerd.internal.v1.opt", load: () => import("../../plugins/opt/plugin.ts") },
  {
    uri: "io.containerd.tracing.processor.v1.otlp",
    load: () => import("../../plugins/tracing/otlp.ts"),
  },
  { uri: "io.containerd.internal.v1.tracing", load: () => import("../../plugins/tracing/tracing.ts") },
  { uri: "io.containerd.server.v1.grpc-tcp", load: () => import("../../plugins/servers/grpc-tcp.ts") },
  {
    uri: "io.containerd.metrics.v1.grpc-prometheus",
    load: () => import("../../plugins/metrics/grpc-prometheus.ts"),
  },
  {
    uri: "io.containerd.monitor.task.v1.cgroups",
    load: () => import("../../plugins/metrics/cgroups.ts"),
  },
  { uri: "io.containerd.server.v1.metrics", load: () => import("../../plugins/servers/metrics.ts") },
  { uri: "io.containerd.server.v1.debug", load: () => import("../../plugins/servers/debug.ts") },
  { uri: "io.containerd.server.v1.ttrpc", load: () => import("../../plugins/servers/ttrpc.ts") },
  ...[...services, ...criPlugins].map((definition) => ({
    uri: `${definition.kind.type}.${definition.id}`,
    load: async () => ({ default: definition }),
  })),
];
