/** Lists of pods and containers, unary and as streams. */
import type { ContainerFilter, PodSandboxFilter } from "../../api/gen/cri/runtime/v1/api_pb.ts";
import type { Cri } from "../../cri/cri.ts";
import { succeeded } from "../../cri/metrics.ts";
import { containerState, podState, toContainer, toPodSandbox } from "./convert.ts";
import type { RuntimeMethods } from "./methods.ts";

/** Items of one message of a stream. */
const BATCH = 5_000;

export function listMethods(cri: Cri): RuntimeMethods {
  const pods = (filter: PodSandboxFilter | undefined) =>
    cri.store
      .pods()
      .filter((pod) => pod.state !== "creating")
      .filter(
        (pod) =>
          filter === undefined ||
          (pod.id.startsWith(filter.id) &&
            (filter.state === undefined || podState(pod) === filter.state.state) &&
            matches(pod.config.labels, filter.labelSelector)),
      )
      .map(toPodSandbox);
  const containers = (filter: ContainerFilter | undefined) =>
    cri.store
      .containers()
      .filter(
        (container) =>
          filter === undefined ||
          (container.id.startsWith(filter.id) &&
            container.podId.startsWith(filter.podSandboxId) &&
            (filter.state === undefined || containerState(container) === filter.state.state) &&
            matches(container.config.labels, filter.labelSelector)),
      )
      .map(toContainer);
  return {
    listPodSandbox: (r) => succeeded(cri.metrics.sandboxList, async () => ({ items: pods(r.filter) })),
    async *streamPodSandboxes(r) {
      for (const items of batches(pods(r.filter))) yield { podSandboxes: items };
    },
    listContainers: (r) =>
      succeeded(cri.metrics.containerList, async () => ({ containers: containers(r.filter) })),
    async *streamContainers(r) {
      for (const items of batches(containers(r.filter))) yield { containers: items };
    },
  };
}

/** Every pair of the selector is among the labels. */
export function matches(
  labels: Readonly<Record<string, string>>,
  selector: Readonly<Record<string, string>>,
): boolean {
  return Object.entries(selector).every(
    ([key, value]) => Object.hasOwn(labels, key) && labels[key] === value,
  );
}

/** Pieces of at most {@link BATCH} items; none when there is nothing. */
export function* batches<T>(items: readonly T[]): Generator<T[]> {
  for (let at = 0; at < items.length; at += BATCH) yield items.slice(at, at + BATCH);
}
