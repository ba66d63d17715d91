/**
 * What NRI plugins see of pods and containers, and what they may change: plain records with the names of the NRI messages
 * (64-bit numbers are bigint). A wrapper `{ value }` tells "set to zero" from "not set".
 */

/** A number, text or flag that may be absent. */
export interface NriValue<T> {
  readonly value: T;
}

export interface NriPod {
  readonly id: string;
  readonly name: string;
  readonly uid: string;
  readonly namespace: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly runtimeHandler: string;
  /** 0 without a process of its own. */
  readonly pid: number;
  readonly ips: readonly string[];
  readonly linux: NriLinuxPod;
}

export interface NriLinuxPod {
  readonly podOverhead?: NriResources | undefined;
  readonly podResources?: NriResources | undefined;
  readonly cgroupParent: string;
  readonly cgroupsPath: string;
  readonly namespaces: readonly NriNamespace[];
  readonly resources?: NriResources | undefined;
}

/** ContainerState of NRI. */
export const NRI_STATE = { unknown: 0, created: 1, paused: 2, running: 3, stopped: 4 } as const;

export interface NriContainer {
  readonly id: string;
  readonly podSandboxId: string;
  readonly name: string;
  readonly state: number;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly args: readonly string[];
  /** "KEY=VALUE". */
  readonly env: readonly string[];
  readonly mounts: readonly NriMount[];
  readonly hooks: NriHooks;
  readonly linux: NriLinuxContainer;
  readonly pid: number;
  readonly rlimits: readonly NriRlimit[];
  /** Nanoseconds since the epoch; 0 = not yet. */
  readonly createdAt: bigint;
  readonly startedAt: bigint;
  readonly finishedAt: bigint;
  readonly exitCode: number;
  readonly statusReason: string;
  readonly statusMessage: string;
  readonly CDIDevices: readonly { readonly name: string }[];
  readonly user?: { readonly uid: number; readonly gid: number; readonly additionalGids: readonly number[] };
  readonly image?: { readonly name: string; readonly digest: string; readonly configDigest: string };
}

export interface NriLinuxContainer {
  readonly namespaces: readonly NriNamespace[];
  readonly devices: readonly NriDevice[];
  readonly resources?: NriResources | undefined;
  readonly oomScoreAdj?: NriValue<bigint> | undefined;
  readonly cgroupsPath: string;
  readonly ioPriority?: NriIoPriority | undefined;
  readonly seccompProfile?: { readonly profileType: number; readonly localhostRef: string } | undefined;
  readonly seccompPolicy?: NriSeccomp | undefined;
  readonly sysctl: Readonly<Record<string, string>>;
  readonly netDevices: Readonly<Record<string, { readonly name: string }>>;
  readonly scheduler?: NriScheduler | undefined;
  readonly rdt?: NriRdt | undefined;
}

export interface NriMount {
  readonly destination: string;
  readonly type: string;
  readonly source: string;
  readonly options: readonly string[];
}

export interface NriHook {
  readonly path: string;
  readonly args: readonly string[];
  readonly env: readonly string[];
  /** Seconds. */
  readonly timeout?: NriValue<bigint> | undefined;
}

export interface NriHooks {
  readonly prestart: readonly NriHook[];
  readonly createRuntime: readonly NriHook[];
  readonly createContainer: readonly NriHook[];
  readonly startContainer: readonly NriHook[];
  readonly poststart: readonly NriHook[];
  readonly poststop: readonly NriHook[];
}

export interface NriNamespace {
  readonly type: string;
  readonly path: string;
}

export interface NriDevice {
  readonly path: string;
  readonly type: string;
  readonly major: bigint;
  readonly minor: bigint;
  readonly fileMode?: NriValue<number> | undefined;
  readonly uid?: NriValue<number> | undefined;
  readonly gid?: NriValue<number> | undefined;
}

export interface NriDeviceRule {
  readonly allow: boolean;
  readonly type: string;
  readonly major?: NriValue<bigint> | undefined;
  readonly minor?: NriValue<bigint> | undefined;
  readonly access: string;
}

export interface NriMemory {
  readonly limit?: NriValue<bigint> | undefined;
  readonly reservation?: NriValue<bigint> | undefined;
  readonly swap?: NriValue<bigint> | undefined;
  readonly kernel?: NriValue<bigint> | undefined;
  readonly kernelTcp?: NriValue<bigint> | undefined;
  readonly swappiness?: NriValue<bigint> | undefined;
  readonly disableOomKiller?: NriValue<boolean> | undefined;
  readonly useHierarchy?: NriValue<boolean> | undefined;
}

export interface NriCpu {
  readonly shares?: NriValue<bigint> | undefined;
  readonly quota?: NriValue<bigint> | undefined;
  readonly period?: NriValue<bigint> | undefined;
  readonly realtimeRuntime?: NriValue<bigint> | undefined;
  readonly realtimePeriod?: NriValue<bigint> | undefined;
  /** "" = not set. */
  readonly cpus: string;
  readonly mems: string;
}

export interface NriResources {
  readonly memory?: NriMemory | undefined;
  readonly cpu?: NriCpu | undefined;
  readonly hugepageLimits: readonly { readonly pageSize: string; readonly limit: bigint }[];
  readonly blockioClass?: NriValue<string> | undefined;
  readonly rdtClass?: NriValue<string> | undefined;
  readonly unified: Readonly<Record<string, string>>;
  readonly devices: readonly NriDeviceRule[];
  readonly pids?: { readonly limit: bigint } | undefined;
}

export interface NriRlimit {
  readonly type: string;
  readonly hard: bigint;
  readonly soft: bigint;
}

export interface NriIoPriority {
  /** 0 none, 1 real time, 2 best effort, 3 idle. */
  readonly class: number;
  readonly priority: number;
}

export interface NriScheduler {
  readonly policy: number;
  readonly nice: number;
  readonly priority: number;
  readonly flags: readonly number[];
  readonly runtime: bigint;
  readonly deadline: bigint;
  readonly period: bigint;
}

export interface NriSeccomp {
  readonly defaultAction: string;
  readonly defaultErrno?: NriValue<number> | undefined;
  readonly architectures: readonly string[];
  readonly flags: readonly string[];
  readonly listenerPath: string;
  readonly listenerMetadata: string;
  readonly syscalls: readonly {
    readonly names: readonly string[];
    readonly action: string;
    readonly errnoRet?: NriValue<number> | undefined;
    readonly args: readonly {
      readonly index: number;
      readonly value: bigint;
      readonly valueTwo: bigint;
      readonly op: string;
    }[];
  }[];
}

export interface NriRdt {
  readonly closId?: NriValue<string> | undefined;
  readonly schemata?: { readonly value: readonly string[] } | undefined;
  readonly enableMonitoring?: NriValue<boolean> | undefined;
  readonly remove: boolean;
}

export interface NriMemoryPolicy {
  readonly mode: number;
  readonly nodes: string;
  readonly flags: readonly number[];
}

/** Changes to a container that is being created. Keys and names that begin with "-" ask for removal. */
export interface NriAdjustment {
  readonly annotations: Readonly<Record<string, string>>;
  readonly mounts: readonly NriMount[];
  readonly env: readonly { readonly key: string; readonly value: string }[];
  readonly hooks?: NriHooks | undefined;
  readonly linux?: NriLinuxAdjustment | undefined;
  readonly rlimits: readonly NriRlimit[];
  readonly CDIDevices: readonly { readonly name: string }[];
  /** Empty = unchanged. */
  readonly args: readonly string[];
}

export interface NriLinuxAdjustment {
  readonly devices: readonly NriDevice[];
  readonly resources?: NriResources | undefined;
  readonly cgroupsPath: string;
  readonly oomScoreAdj?: NriValue<bigint> | undefined;
  readonly ioPriority?: NriIoPriority | undefined;
  readonly seccompPolicy?: NriSeccomp | undefined;
  readonly namespaces: readonly NriNamespace[];
  readonly sysctl: Readonly<Record<string, string>>;
  readonly netDevices: Readonly<Record<string, { readonly name: string }>>;
  readonly scheduler?: NriScheduler | undefined;
  readonly rdt?: NriRdt | undefined;
  readonly memoryPolicy?: NriMemoryPolicy | undefined;
}

/** Changes to the resources of a container that exists. */
export interface NriUpdate {
  readonly containerId: string;
  readonly linux?: { readonly resources?: NriResources | undefined } | undefined;
  /** The request goes on when this update cannot be done. */
  readonly ignoreFailure: boolean;
}

export interface NriEviction {
  readonly containerId: string;
  readonly reason: string;
}
