/** Statistics and metrics, unary and as streams. */
import type { ContainerStatsFilter, PodSandboxStatsFilter } from "../../api/gen/cri/runtime/v1/api_pb.ts";
import type { Cri } from "../../cri/cri.ts";
import { BASE_LABELS, DESCRIPTORS } from "../../cri/stats/descriptors.ts";
import { podMetrics } from "../../cri/stats/metrics.ts";
import { Stats } from "../../cri/stats/stats.ts";
import { batches, matches } from "./list.ts";
import type { RuntimeMethods } from "./methods.ts";

export function statsMethods(cri: Cri): RuntimeMethods {
  const { deps, store } = cri;
  const stats = new Stats({
    view: store,
    tasks: deps.tasks,
    snapshotter: (name) => deps.metadata.snapshotter(name),
    mountpoint: deps.snapshotterRoot,
    periodMs: deps.config.statsCollectPeriod,
    retentionMs: deps.config.statsRetentionPeriod,
    layerPeriodMs: deps.imagesConfig.statsCollectPeriod,
    log: deps.log,
  });
  deps.call.signal.addEventListener("abort", () => stats.close(), { once: true });
  const containers = (filter: ContainerStatsFilter | undefined) =>
    stats.containers(
      store
        .containers()
        .filter(
          (each) =>
            filter === undefined ||
            (each.id.startsWith(filter.id) &&
              each.podId.startsWith(filter.podSandboxId) &&
              matches(each.config.labels, filter.labelSelector)),
        ),
    );
  const pods = (filter: PodSandboxStatsFilter | undefined) =>
    stats.pods(
      store
        .pods()
        .filter(
          (each) =>
            each.state === "ready" &&
            (filter === undefined ||
              (each.id.startsWith(filter.id) && matches(each.config.labels, filter.labelSelector))),
        ),
    );
  const metrics = () => podMetrics({ view: store, stats, mountpoint: deps.snapshotterRoot });
  return {
    containerStats: async (r) => ({ stats: await stats.container(r.containerId) }),
    listContainerStats: async (r) => ({ stats: await containers(r.filter) }),
    async *streamContainerStats(r) {
      for (const batch of batches(await containers(r.filter))) yield { containerStats: batch };
    },
    podSandboxStats: async (r) => ({ stats: await stats.pod(r.podSandboxId) }),
    listPodSandboxStats: async (r) => ({ stats: await pods(r.filter) }),
    async *streamPodSandboxStats(r) {
      for (const batch of batches(await pods(r.filter))) yield { podSandboxStats: batch };
    },
    listMetricDescriptors: () => ({
      descriptors: DESCRIPTORS.map(({ name, help, labels }) => ({
        name,
        help,
        labelKeys: [...BASE_LABELS, ...labels],
      })),
    }),
    async listPodSandboxMetrics() {
      return { podMetrics: await Array.fromAsync(metrics()) };
    },
    // pod by pod: metrics are large, and none need wait for the others
    async *streamPodSandboxMetrics() {
      for await (const one of metrics()) yield { podSandboxMetrics: [one] };
    },
  };
}
