/**
 * The OCI runtime spec (runtime-spec config.md) as far as the engine reads or writes it. Unknown members are kept. 64-bit
 * numbers may be bigint: they are written exactly by {@link ./json.ts}.
 */

/** A whole number that may not fit a JavaScript number. */
export type Int = number | bigint;

export interface Spec {
  ociVersion: string;
  process?: Process;
  root?: { path: string; readonly?: boolean };
  hostname?: string;
  domainname?: string;
  mounts?: SpecMount[];
  hooks?: Record<string, unknown>;
  annotations?: Record<string, string>;
  linux?: Linux;
}

export interface SpecMount {
  destination: string;
  type?: string;
  source?: string;
  options?: string[];
  uidMappings?: IdMapping[];
  gidMappings?: IdMapping[];
}

export interface Process {
  terminal?: boolean;
  consoleSize?: { height: number; width: number };
  user: User;
  args?: string[];
  env?: string[];
  cwd: string;
  capabilities?: Capabilities;
  rlimits?: { type: string; hard: Int; soft: Int }[];
  noNewPrivileges?: boolean;
  apparmorProfile?: string;
  oomScoreAdj?: number;
  selinuxLabel?: string;
}

export interface User {
  uid: number;
  gid: number;
  umask?: number;
  additionalGids?: number[];
  username?: string;
}

export interface Capabilities {
  bounding?: string[];
  effective?: string[];
  inheritable?: string[];
  permitted?: string[];
  ambient?: string[];
}

export interface IdMapping {
  containerID: number;
  hostID: number;
  size: number;
}

export interface Linux {
  uidMappings?: IdMapping[];
  gidMappings?: IdMapping[];
  sysctl?: Record<string, string>;
  resources?: Resources;
  cgroupsPath?: string;
  namespaces?: { type: string; path?: string }[];
  devices?: Device[];
  seccomp?: Seccomp;
  rootfsPropagation?: string;
  maskedPaths?: string[];
  readonlyPaths?: string[];
  mountLabel?: string;
  intelRdt?: Record<string, unknown>;
  personality?: Record<string, unknown>;
}

export interface Device {
  path: string;
  type: string;
  major: Int;
  minor: Int;
  fileMode?: number;
  uid?: number;
  gid?: number;
}

export interface DeviceRule {
  allow: boolean;
  type?: string;
  major?: Int;
  minor?: Int;
  access?: string;
}

export interface Resources {
  devices?: DeviceRule[];
  memory?: {
    limit?: Int;
    reservation?: Int;
    swap?: Int;
    kernel?: Int;
    swappiness?: Int;
    disableOOMKiller?: boolean;
  };
  cpu?: {
    shares?: Int;
    quota?: Int;
    period?: Int;
    realtimeRuntime?: Int;
    realtimePeriod?: Int;
    cpus?: string;
    mems?: string;
  };
  pids?: { limit: Int };
  blockIO?: Record<string, unknown>;
  hugepageLimits?: { pageSize: string; limit: Int }[];
  unified?: Record<string, string>;
}

export interface Seccomp {
  defaultAction: string;
  defaultErrnoRet?: number;
  architectures?: string[];
  flags?: string[];
  syscalls?: SeccompRule[];
}

export interface SeccompRule {
  names: string[];
  action: string;
  errnoRet?: number;
  args?: { index: number; value: Int; valueTwo?: Int; op: string }[];
}
