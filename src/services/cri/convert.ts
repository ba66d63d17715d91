/** Pods and containers as CRI messages. */
import type { Message, MessageInitShape } from "@bufbuild/protobuf";
import type { GenMessage } from "@bufbuild/protobuf/codegenv2";
import {
  type ContainerSchema,
  ContainerState,
  type ContainerStatusSchema,
  type LinuxContainerUserSchema,
  type PodSandboxSchema,
  PodSandboxState,
  type PodSandboxStatusSchema,
} from "../../api/gen/cri/runtime/v1/api_pb.ts";
import type { Container, ContainerUser, Pod } from "../../cri/model.ts";

type Init<T extends GenMessage<Message>> = MessageInitShape<T>;

const STATES = {
  created: ContainerState.CONTAINER_CREATED,
  running: ContainerState.CONTAINER_RUNNING,
  exited: ContainerState.CONTAINER_EXITED,
  unknown: ContainerState.CONTAINER_UNKNOWN,
} as const;

export function podState(pod: Pod): PodSandboxState {
  return pod.state === "ready" ? PodSandboxState.SANDBOX_READY : PodSandboxState.SANDBOX_NOTREADY;
}

export function containerState(container: Container): ContainerState {
  return STATES[container.state];
}

/** A row of ListPodSandbox. */
export function toPodSandbox(pod: Pod): Init<typeof PodSandboxSchema> {
  const { metadata, labels, annotations } = pod.config;
  return {
    id: pod.id,
    ...(metadata === undefined ? {} : { metadata }),
    state: podState(pod),
    createdAt: pod.createdAt,
    labels,
    annotations,
    runtimeHandler: pod.handler,
  };
}

/** A row of ListContainers. */
export function toContainer(container: Container): Init<typeof ContainerSchema> {
  const { metadata, image, labels, annotations } = container.config;
  return {
    id: container.id,
    podSandboxId: container.podId,
    ...(metadata === undefined ? {} : { metadata }),
    ...(image === undefined ? {} : { image }),
    imageRef: container.imageRef,
    imageId: container.imageId,
    state: containerState(container),
    createdAt: container.createdAt,
    labels,
    annotations,
  };
}

/** PodSandboxStatus. */
export function toPodStatus(pod: Pod): Init<typeof PodSandboxStatusSchema> {
  const { metadata, labels, annotations, linux } = pod.config;
  const options = linux?.securityContext?.namespaceOptions;
  const [ip = "", ...more] = pod.ips;
  return {
    id: pod.id,
    ...(metadata === undefined ? {} : { metadata }),
    state: podState(pod),
    createdAt: pod.createdAt,
    network: { ip, additionalIps: more.map((other) => ({ ip: other })) },
    ...(options === undefined ? {} : { linux: { namespaces: { options } } }),
    labels,
    annotations,
    runtimeHandler: pod.handler,
  };
}

/** ContainerStatus. */
export function toContainerStatus(container: Container): Init<typeof ContainerStatusSchema> {
  const { config } = container;
  const { metadata, image, labels, annotations, mounts } = config;
  const resources = config.linux?.resources;
  return {
    id: container.id,
    ...(metadata === undefined ? {} : { metadata }),
    state: containerState(container),
    createdAt: container.createdAt,
    startedAt: container.startedAt ?? 0n,
    finishedAt: container.finishedAt ?? 0n,
    exitCode: container.exitCode,
    ...(image === undefined ? {} : { image }),
    imageRef: container.imageRef,
    imageId: container.imageId,
    reason: container.reason,
    message: container.message,
    labels,
    annotations,
    mounts,
    logPath: container.logPath,
    ...(resources === undefined ? {} : { resources: { linux: resources } }),
    stopSignal: config.stopSignal,
    ...(container.user === undefined ? {} : { user: { linux: toUser(container.user) } }),
  };
}

function toUser({ uid, gid, groups }: ContainerUser): Init<typeof LinuxContainerUserSchema> {
  return { uid: BigInt(uid), gid: BigInt(gid), supplementalGroups: groups.map(BigInt) };
}
