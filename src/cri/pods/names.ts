/** Names and ids of pods and containers. */
import { randomBytes } from "node:crypto";
import type { ContainerMetadata, PodSandboxMetadata } from "../../api/gen/cri/runtime/v1/api_pb.ts";
import { invalidArgument } from "../../core/errors.ts";

/** 64 random hexadecimal digits. */
export function newId(): string {
  return randomBytes(32).toString("hex");
}

/**
 * What would end or begin a pair of CNI's arguments, which are `K8S_POD_NAME=x;K8S_POD_UID=y`: a uid of `x;IP=10.0.0.1` would choose
 * the pod's address, and with a pair that plugins cannot read the network could never be taken down.
 */
const NOT_IN_CNI_ARGS = /[;=\0\n]/;

/** The name one pod may have at a time. @throws invalid-argument when a part is missing, or is none for CNI */
export function podName(metadata: PodSandboxMetadata | undefined): string {
  if (metadata === undefined) throw invalidArgument("sandbox config must include metadata");
  const { name, namespace, uid, attempt } = metadata;
  for (const [what, value] of [
    ["name", name],
    ["namespace", namespace],
    ["uid", uid],
  ] as const) {
    if (value === "") throw invalidArgument(`sandbox config: metadata.${what} is empty`);
    if (NOT_IN_CNI_ARGS.test(value))
      throw invalidArgument(
        `sandbox config: metadata.${what} ${JSON.stringify(value)} holds ";", "=" or a line's end`,
      );
  }
  return [name, namespace, uid, attempt].join("_");
}

/** The name one container may have at a time. @throws invalid-argument */
export function containerName(
  metadata: ContainerMetadata | undefined,
  pod: PodSandboxMetadata | undefined,
): string {
  if (metadata === undefined) throw invalidArgument("container config must include metadata");
  if (metadata.name === "") throw invalidArgument("container config: metadata.name is empty");
  return [metadata.name, pod?.name ?? "", pod?.namespace ?? "", pod?.uid ?? "", metadata.attempt].join("_");
}
