/** Verbose facts of pods and containers: what `crictl inspect` and `inspectp` print under `info`. */
import { toJson } from "@bufbuild/protobuf";
import { ContainerConfigSchema, PodSandboxConfigSchema } from "../../api/gen/cri/runtime/v1/api_pb.ts";
import { messageOf } from "../../core/errors.ts";
import type { Cri } from "../../cri/cri.ts";
import type { Container, Pod } from "../../cri/model.ts";
import { toExactJson, unpackSpec } from "../../oci/spec/json.ts";

/** Of a pod. */
export async function podInfo(cri: Cri, pod: Pod): Promise<Record<string, string>> {
  const record = await cri.deps.metadata.containers.get(cri.deps.call, pod.id).catch(() => undefined);
  return {
    info: toExactJson({
      pid: pod.pid,
      processStatus: pod.state === "ready" ? "running" : "deleted",
      netNamespaceClosed: pod.netnsPath === "" ? undefined : pod.state !== "ready",
      image: record?.image ?? "",
      snapshotKey: record?.snapshotKey ?? "",
      snapshotter: record?.snapshotter ?? "",
      runtimeHandler: pod.handler,
      runtimeType: pod.runtime.name,
      config: toJson(PodSandboxConfigSchema, pod.config, { useProtoFieldName: true }),
      runtimeSpec: specOf(record?.spec),
      cniResult: pod.cniResult,
      netns: pod.netnsPath,
    }),
  };
}

/** Of a container. */
export async function containerInfo(cri: Cri, container: Container): Promise<Record<string, string>> {
  const record = await cri.deps.metadata.containers.get(cri.deps.call, container.id).catch(() => undefined);
  return {
    info: toExactJson({
      sandboxID: container.podId,
      pid: container.pid,
      removing: false,
      snapshotKey: container.snapshotKey,
      snapshotter: container.snapshotter,
      runtimeType: record?.runtime.name ?? "",
      config: toJson(ContainerConfigSchema, container.config, { useProtoFieldName: true }),
      runtimeSpec: specOf(record?.spec),
    }),
  };
}

function specOf(spec: Parameters<typeof unpackSpec>[0]): unknown {
  try {
    return unpackSpec(spec);
  } catch (err) {
    return { error: messageOf(err) };
  }
}
