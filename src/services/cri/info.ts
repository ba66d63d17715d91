/** Verbose facts of pods and containers. */
import { toJson } from "@bufbuild/protobuf";
import { ContainerConfigSchema, PodSandboxConfigSchema } from "../../api/gen/cri/runtime/v1/api_pb.ts";
import type { Cri } from "../../cri/cri.ts";
import { containerFacts, podFacts } from "../../cri/inspect.ts";
import type { Container, Pod } from "../../cri/model.ts";

/** Of a pod. */
export async function podInfo(cri: Cri, pod: Pod): Promise<Record<string, string>> {
  const config = toJson(PodSandboxConfigSchema, pod.config, { useProtoFieldName: true });
  return { info: await podFacts(cri, pod, config) };
}

/** Of a container. */
export async function containerInfo(cri: Cri, container: Container): Promise<Record<string, string>> {
  const config = toJson(ContainerConfigSchema, container.config, { useProtoFieldName: true });
  return { info: await containerFacts(cri, container, config) };
}
