/** Lays what plugins want over the spec of a container that is being created. */
import type {
  NriAdjustment,
  NriDevice,
  NriHooks,
  NriLinuxAdjustment,
  NriMount,
  NriSeccomp,
} from "../../core/nri/types.ts";
import { linuxOf, resourcesOf } from "../../oci/spec/options.ts";
import type { Process, Seccomp, Spec, SpecMount } from "../../oci/spec/types.ts";
import { layOver } from "./resources.ts";

/** What cannot be decided here. */
export interface AdjustHost {
  readonly swapController: boolean;
  /** oom_score_adj that can be set here. */
  oomScore(wanted: number): number;
  /** Injects CDI devices by name. @throws when one is not known */
  injectCdi(spec: Spec, names: readonly string[]): Promise<void>;
  /** Sets classes of block I/O and RDT; "" = not asked for. */
  setClasses(spec: Spec, blockio: string, rdt: string): Promise<void>;
}

/** @returns a changed copy */
export async function adjustSpec(original: Spec, adjust: NriAdjustment, host: AdjustHost): Promise<Spec> {
  const spec = structuredClone(original);
  spec.annotations = withoutMarked({ ...spec.annotations, ...adjust.annotations });
  const process: Process = spec.process ?? { user: { uid: 0, gid: 0 }, cwd: "/" };
  spec.process = process;
  adjustEnv(process, adjust.env);
  if (adjust.args.length > 0) process.args = [...adjust.args];
  if (adjust.hooks !== undefined) adjustHooks(spec, adjust.hooks);
  if (adjust.CDIDevices.length > 0)
    await host.injectCdi(
      spec,
      adjust.CDIDevices.map(({ name }) => name),
    );
  if (adjust.linux !== undefined) {
    adjustLinux(spec, process, adjust.linux, host);
    await adjustClasses(spec, adjust.linux, host);
  }
  adjustMounts(spec, adjust.mounts);
  for (const { type, hard, soft } of adjust.rlimits)
    process.rlimits = [...(process.rlimits ?? []).filter((each) => each.type !== type), { type, hard, soft }];
  return spec;
}

/** A name that begins with "-" takes away what it names. */
function withoutMarked<T>(values: Record<string, T>): Record<string, T> {
  const all = new Map(Object.entries(values));
  for (const key of Object.keys(values)) {
    if (!key.startsWith("-")) continue;
    all.delete(key);
    all.delete(key.slice(1));
  }
  return Object.fromEntries(all);
}

function adjustEnv(process: Process, changes: NriAdjustment["env"]): void {
  if (changes.length === 0) return;
  const change = new Map<string, string | undefined>();
  for (const { key, value } of changes)
    if (key.startsWith("-")) change.set(key.slice(1), undefined);
    else change.set(key, value);
  const env: string[] = [];
  for (const entry of process.env ?? []) {
    const at = entry.indexOf("=");
    const key = at < 0 ? entry : entry.slice(0, at);
    if (!change.has(key)) {
      env.push(entry);
      continue;
    }
    const value = change.get(key);
    // in its old place
    if (value !== undefined) env.push(`${key}=${value}`);
    change.delete(key);
  }
  for (const [key, value] of change) if (value !== undefined) env.push(`${key}=${value}`);
  process.env = env;
}

function adjustHooks(spec: Spec, more: NriHooks): void {
  for (const [kind, list] of Object.entries(more)) {
    if (!Array.isArray(list) || list.length === 0) continue;
    const old = spec.hooks?.[kind];
    spec.hooks = {
      ...spec.hooks,
      [kind]: [
        ...(Array.isArray(old) ? (old as unknown[]) : []),
        ...(list as NriHooks["prestart"]).map(({ path, args, env, timeout }) => ({
          path,
          args: [...args],
          env: [...env],
          ...(timeout === undefined ? {} : { timeout: Number(timeout.value) }),
        })),
      ],
    };
  }
}

function adjustLinux(spec: Spec, process: Process, want: NriLinuxAdjustment, host: AdjustHost): void {
  const linux = linuxOf(spec);
  const more = linux as typeof linux & Record<string, unknown>;
  adjustDevices(spec, want.devices);
  if (want.cgroupsPath !== "") linux.cgroupsPath = want.cgroupsPath;
  if (want.oomScoreAdj !== undefined) process.oomScoreAdj = host.oomScore(Number(want.oomScoreAdj.value));
  const extra = process as Process & Record<string, unknown>;
  if (want.ioPriority !== undefined)
    extra["ioPriority"] = {
      class: ["IOPRIO_CLASS_NONE", "IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE"][
        want.ioPriority.class
      ],
      priority: want.ioPriority.priority,
    };
  const { scheduler } = want;
  if (scheduler !== undefined)
    extra["scheduler"] = {
      policy: POLICIES[scheduler.policy],
      nice: scheduler.nice,
      priority: scheduler.priority,
      flags: scheduler.flags.map((flag) => FLAGS[flag]),
      runtime: scheduler.runtime,
      deadline: scheduler.deadline,
      period: scheduler.period,
    };
  if (want.seccompPolicy !== undefined) linux.seccomp = toSeccomp(want.seccompPolicy);
  for (const { type, path } of want.namespaces) {
    const name = type.replace(/^-/, "");
    linux.namespaces = (linux.namespaces ?? []).filter((each) => each.type !== name);
    if (type === name) linux.namespaces.push(path === "" ? { type } : { type, path });
  }
  linux.sysctl = withoutMarked({ ...linux.sysctl, ...want.sysctl });
  if (Object.keys(want.netDevices).length > 0)
    more["netDevices"] = withoutMarked({ ...(more["netDevices"] as object), ...want.netDevices });
  if (want.memoryPolicy !== undefined)
    more["memoryPolicy"] = {
      mode: MODES[want.memoryPolicy.mode],
      nodes: want.memoryPolicy.nodes,
      flags: want.memoryPolicy.flags.map((flag) => MODE_FLAGS[flag]),
    };
  const { resources, rdt } = want;
  if (resources !== undefined) {
    layOver(resourcesOf(spec), resources, host.swapController);
  }
  if (rdt !== undefined) {
    if (rdt.remove) delete linux.intelRdt;
    const intelRdt = { ...linux.intelRdt };
    if (rdt.closId !== undefined) intelRdt["closID"] = rdt.closId.value;
    if (rdt.schemata !== undefined) intelRdt["schemata"] = [...rdt.schemata.value];
    if (rdt.enableMonitoring !== undefined) intelRdt["enableMonitoring"] = rdt.enableMonitoring.value;
    if (Object.keys(intelRdt).length > 0) linux.intelRdt = intelRdt;
  }
}

/** An empty class takes one away. */
async function adjustClasses(
  spec: Spec,
  { resources, rdt }: NriLinuxAdjustment,
  host: AdjustHost,
): Promise<void> {
  const blockio = resources?.blockioClass?.value;
  const group = resources?.rdtClass?.value;
  if (blockio === "") delete resourcesOf(spec).blockIO;
  // what the adjustment says of RDT itself goes before the class
  if (group === "" && rdt === undefined) delete linuxOf(spec).intelRdt;
  await host.setClasses(spec, blockio ?? "", rdt === undefined ? (group ?? "") : "");
}

const POLICIES = [
  "",
  "SCHED_OTHER",
  "SCHED_FIFO",
  "SCHED_RR",
  "SCHED_BATCH",
  "SCHED_ISO",
  "SCHED_IDLE",
  "SCHED_DEADLINE",
];
const FLAGS = [
  "SCHED_FLAG_RESET_ON_FORK",
  "SCHED_FLAG_RECLAIM",
  "SCHED_FLAG_DL_OVERRUN",
  "SCHED_FLAG_KEEP_POLICY",
  "SCHED_FLAG_KEEP_PARAMS",
  "SCHED_FLAG_UTIL_CLAMP_MIN",
  "SCHED_FLAG_UTIL_CLAMP_MAX",
];
const MODES = [
  "MPOL_DEFAULT",
  "MPOL_PREFERRED",
  "MPOL_BIND",
  "MPOL_INTERLEAVE",
  "MPOL_LOCAL",
  "MPOL_PREFERRED_MANY",
  "MPOL_WEIGHTED_INTERLEAVE",
];
const MODE_FLAGS = ["MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES", "MPOL_F_NUMA_BALANCING"];

function adjustDevices(spec: Spec, devices: readonly NriDevice[]): void {
  const linux = linuxOf(spec);
  for (const { path, type, major, minor, fileMode, uid, gid } of devices) {
    const name = path.replace(/^-/, "");
    linux.devices = (linux.devices ?? []).filter((each) => each.path !== name);
    if (path !== name) continue;
    linux.devices.push({
      path,
      type,
      major,
      minor,
      ...(fileMode === undefined ? {} : { fileMode: fileMode.value }),
      ...(uid === undefined ? {} : { uid: uid.value }),
      ...(gid === undefined ? {} : { gid: gid.value }),
    });
    const resources = resourcesOf(spec);
    resources.devices = [...(resources.devices ?? []), { allow: true, type, major, minor, access: "rwm" }];
  }
}

function adjustMounts(spec: Spec, mounts: readonly NriMount[]): void {
  if (mounts.length === 0) return;
  let all: SpecMount[] = spec.mounts ?? [];
  for (const { destination, type, source, options } of mounts) {
    const name = destination.replace(/^-/, "");
    all = all.filter((each) => each.destination !== name);
    if (destination !== name) continue;
    all.push({ destination, type, source, options: [...options] });
    const linux = linuxOf(spec);
    // what comes in from the host must be able to
    if (options.includes("rshared") || options.includes("shared")) linux.rootfsPropagation = "rshared";
    else if (
      (options.includes("rslave") || options.includes("slave")) &&
      linux.rootfsPropagation !== "rshared"
    )
      linux.rootfsPropagation = "rslave";
  }
  // a mount must not hide one that was made before it
  const depth = (mount: SpecMount): number => mount.destination.split("/").filter(Boolean).length;
  spec.mounts = all
    .map((mount, index) => ({ mount, index }))
    .sort((a, b) => depth(a.mount) - depth(b.mount) || a.index - b.index)
    .map(({ mount }) => mount);
}

function toSeccomp(policy: NriSeccomp): Seccomp & Record<string, unknown> {
  return {
    defaultAction: policy.defaultAction,
    ...(policy.defaultErrno === undefined ? {} : { defaultErrnoRet: policy.defaultErrno.value }),
    architectures: [...policy.architectures],
    flags: [...policy.flags],
    ...(policy.listenerPath === "" ? {} : { listenerPath: policy.listenerPath }),
    ...(policy.listenerMetadata === "" ? {} : { listenerMetadata: policy.listenerMetadata }),
    syscalls: policy.syscalls.map((rule) => ({
      names: [...rule.names],
      action: rule.action,
      ...(rule.errnoRet === undefined ? {} : { errnoRet: rule.errnoRet.value }),
      args: rule.args.map(({ index, value, valueTwo, op }) => ({ index, value, valueTwo, op })),
    })),
  };
}
