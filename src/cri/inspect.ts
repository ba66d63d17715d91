/** Verbose facts of pods and containers as JSON: what `crictl inspect` and `inspectp` print under `info`. */
import type { AnyValue } from "../core/any.ts";
import { messageOf } from "../core/errors.ts";
import { toExactJson, unpackSpec } from "../oci/spec/json.ts";
import type { Cri } from "./cri.ts";
import type { Container, Pod } from "./model.ts";

/** Of a pod. @param config its configuration as JSON */
export async function podFacts(cri: Cri, pod: Pod, config: unknown): Promise<string> {
  const record = await cri.deps.metadata.containers.get(cri.deps.call, pod.id).catch(() => undefined);
  return toExactJson({
    pid: pod.pid,
    processStatus: pod.state === "ready" ? "running" : "deleted",
    netNamespaceClosed: pod.netnsPath === "" ? undefined : pod.state !== "ready",
    image: record?.image ?? "",
    snapshotKey: record?.snapshotKey ?? "",
    snapshotter: record?.snapshotter ?? "",
    runtimeHandler: pod.handler,
    runtimeType: pod.runtime.name,
    config,
    runtimeSpec: specOf(record?.spec),
    cniResult: pod.cniResult,
    netns: pod.netnsPath,
  });
}

/** Of a container. @param config its configuration as JSON */
export async function containerFacts(cri: Cri, container: Container, config: unknown): Promise<string> {
  const record = await cri.deps.metadata.containers.get(cri.deps.call, container.id).catch(() => undefined);
  return toExactJson({
    sandboxID: container.podId,
    pid: container.pid,
    removing: false,
    snapshotKey: container.snapshotKey,
    snapshotter: container.snapshotter,
    runtimeType: record?.runtime.name ?? "",
    config,
    runtimeSpec: specOf(record?.spec),
  });
}

function specOf(spec: AnyValue | undefined): unknown {
  try {
    return unpackSpec(spec);
  } catch (err) {
    return { error: messageOf(err) };
  }
}
