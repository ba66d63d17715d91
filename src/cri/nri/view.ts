/** Pods and containers as NRI plugins see them. */
import {
  NRI_STATE,
  type NriContainer,
  type NriHook,
  type NriHooks,
  type NriNamespace,
  type NriPod,
  type NriSeccomp,
} from "../../core/nri/types.ts";
import type { Seccomp, Spec } from "../../oci/spec/types.ts";
import type { Container, Pod } from "../model.ts";
import { fromCri, fromSpec } from "./resources.ts";

/** @param spec the spec of the pod's own process, when there is one */
export function toNriPod(pod: Pod, spec: Spec | undefined): NriPod {
  const { metadata, labels, annotations, linux } = pod.config;
  return {
    id: pod.id,
    name: metadata?.name ?? "",
    uid: metadata?.uid ?? "",
    namespace: metadata?.namespace ?? "",
    labels,
    annotations,
    runtimeHandler: pod.handler,
    pid: pod.pid,
    ips: pod.ips,
    linux: {
      podOverhead: linux?.overhead === undefined ? undefined : fromCri(linux.overhead),
      podResources: linux?.resources === undefined ? undefined : fromCri(linux.resources),
      cgroupParent: linux?.cgroupParent ?? "",
      cgroupsPath: spec?.linux?.cgroupsPath ?? "",
      namespaces: namespaces(spec),
      resources: spec === undefined ? undefined : fromSpec(spec.linux?.resources),
    },
  };
}

const STATES = {
  created: NRI_STATE.created,
  running: NRI_STATE.running,
  exited: NRI_STATE.stopped,
  unknown: NRI_STATE.unknown,
} as const;

/** What a container is known by while it is made and after. */
export type Seen = Pick<Container, "id" | "podId" | "config" | "imageRef" | "imageId" | "createdAt"> &
  Partial<Container>;

/** SecurityProfile.ProfileType of NRI is that of CRI. */
const UNCONFINED = 1;

export function toNriContainer(container: Seen, spec: Spec): NriContainer {
  const { config } = container;
  const { process, linux } = spec;
  const profile = config.linux?.securityContext?.seccomp;
  const user = process?.user;
  return {
    id: container.id,
    podSandboxId: container.podId,
    name: config.metadata?.name ?? "",
    state: container.state === undefined ? NRI_STATE.unknown : STATES[container.state],
    labels: config.labels,
    annotations: config.annotations,
    args: process?.args ?? [],
    env: process?.env ?? [],
    mounts: (spec.mounts ?? []).map((mount) => ({
      destination: mount.destination,
      type: mount.type ?? "",
      source: mount.source ?? "",
      options: mount.options ?? [],
    })),
    hooks: hooks(spec.hooks),
    linux: {
      namespaces: namespaces(spec),
      devices: (linux?.devices ?? []).map((device) => ({
        path: device.path,
        type: device.type,
        major: BigInt(device.major),
        minor: BigInt(device.minor),
        fileMode: optional(device.fileMode),
        uid: optional(device.uid),
        gid: optional(device.gid),
      })),
      resources: fromSpec(linux?.resources),
      oomScoreAdj: process?.oomScoreAdj === undefined ? undefined : { value: BigInt(process.oomScoreAdj) },
      cgroupsPath: linux?.cgroupsPath ?? "",
      seccompProfile: {
        profileType: profile?.profileType ?? UNCONFINED,
        localhostRef: profile?.localhostRef ?? "",
      },
      seccompPolicy: seccomp(linux?.seccomp),
      sysctl: linux?.sysctl ?? {},
      netDevices: {},
    },
    pid: container.pid ?? 0,
    rlimits: (process?.rlimits ?? []).map(({ type, hard, soft }) => ({
      type,
      hard: BigInt(hard),
      soft: BigInt(soft),
    })),
    createdAt: container.createdAt,
    startedAt: container.startedAt ?? 0n,
    finishedAt: container.finishedAt ?? 0n,
    exitCode: container.exitCode ?? 0,
    statusReason: container.reason ?? "",
    statusMessage: container.message ?? "",
    CDIDevices: config.CDIDevices.map(({ name }) => ({ name })),
    ...(user === undefined
      ? {}
      : { user: { uid: user.uid, gid: user.gid, additionalGids: user.additionalGids ?? [] } }),
    image: {
      name: config.image?.userSpecifiedImage || config.image?.image || "",
      digest: container.imageRef,
      configDigest: container.imageId,
    },
  };
}

function optional<T>(value: T | undefined): { readonly value: T } | undefined {
  return value === undefined ? undefined : { value };
}

function namespaces(spec: Spec | undefined): NriNamespace[] {
  return (spec?.linux?.namespaces ?? []).map(({ type, path }) => ({ type, path: path ?? "" }));
}

function seccomp(policy: Seccomp | undefined): NriSeccomp | undefined {
  if (policy === undefined) return undefined;
  return {
    defaultAction: policy.defaultAction,
    defaultErrno: optional(policy.defaultErrnoRet),
    architectures: policy.architectures ?? [],
    flags: policy.flags ?? [],
    listenerPath: "",
    listenerMetadata: "",
    syscalls: (policy.syscalls ?? []).map((rule) => ({
      names: rule.names,
      action: rule.action,
      errnoRet: optional(rule.errnoRet),
      args: (rule.args ?? []).map((arg) => ({
        index: arg.index,
        value: BigInt(arg.value),
        valueTwo: BigInt(arg.valueTwo ?? 0),
        op: arg.op,
      })),
    })),
  };
}

/** A spec's hooks are not looked at elsewhere: they are as they were written. */
function hooks(all: Readonly<Record<string, unknown>> | undefined): NriHooks {
  const of = (kind: string): NriHook[] => {
    const list = all?.[kind];
    if (!Array.isArray(list)) return [];
    return list.map((each: { path?: string; args?: string[]; env?: string[]; timeout?: number }) => ({
      path: each.path ?? "",
      args: each.args ?? [],
      env: each.env ?? [],
      timeout: each.timeout === undefined ? undefined : { value: BigInt(each.timeout) },
    }));
  };
  return {
    prestart: of("prestart"),
    createRuntime: of("createRuntime"),
    createContainer: of("createContainer"),
    startContainer: of("startContainer"),
    poststart: of("poststart"),
    poststop: of("poststop"),
  };
}
