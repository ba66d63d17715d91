/** Resources of CRI, of the OCI spec and of NRI, one as the other. */
import type { LinuxContainerResources } from "../../api/gen/cri/runtime/v1/api_pb.ts";
import type { NriCpu, NriMemory, NriResources, NriValue } from "../../core/nri/types.ts";
import type { Int, Resources } from "../../oci/spec/types.ts";

function big(value: Int | undefined): NriValue<bigint> | undefined {
  return value === undefined ? undefined : { value: BigInt(value) };
}

/** 0 of CRI means "not set". */
function set(value: bigint): NriValue<bigint> | undefined {
  return value === 0n ? undefined : { value };
}

/** Resources of a spec for plugins. */
export function fromSpec(resources: Resources | undefined): NriResources {
  const { memory, cpu, pids } = resources ?? {};
  return {
    memory: {
      limit: big(memory?.limit),
      reservation: big(memory?.reservation),
      swap: big(memory?.swap),
      kernel: big(memory?.kernel),
      swappiness: big(memory?.swappiness),
      disableOomKiller:
        memory?.disableOOMKiller === undefined ? undefined : { value: memory.disableOOMKiller },
    },
    cpu: {
      shares: big(cpu?.shares),
      quota: big(cpu?.quota),
      period: big(cpu?.period),
      realtimeRuntime: big(cpu?.realtimeRuntime),
      realtimePeriod: big(cpu?.realtimePeriod),
      cpus: cpu?.cpus ?? "",
      mems: cpu?.mems ?? "",
    },
    hugepageLimits: (resources?.hugepageLimits ?? []).map(({ pageSize, limit }) => ({
      pageSize,
      limit: BigInt(limit),
    })),
    unified: resources?.unified ?? {},
    devices: (resources?.devices ?? []).map((rule) => ({
      allow: rule.allow,
      type: rule.type ?? "",
      major: big(rule.major),
      minor: big(rule.minor),
      access: rule.access ?? "",
    })),
    pids: pids === undefined ? undefined : { limit: BigInt(pids.limit) },
  };
}

/** Resources of a CRI request for plugins. */
export function fromCri(resources: LinuxContainerResources): NriResources {
  return {
    memory: { limit: set(resources.memoryLimitInBytes), swap: set(resources.memorySwapLimitInBytes) },
    cpu: {
      shares: set(resources.cpuShares),
      quota: set(resources.cpuQuota),
      period: set(resources.cpuPeriod),
      cpus: resources.cpusetCpus,
      mems: resources.cpusetMems,
    },
    hugepageLimits: resources.hugepageLimits.map(({ pageSize, limit }) => ({ pageSize, limit })),
    unified: resources.unified,
    devices: [],
  };
}

/** A CRI request with the values that plugins gave it. */
export function toCri(request: LinuxContainerResources, resources: NriResources): LinuxContainerResources {
  const { memory, cpu } = resources;
  return {
    ...request,
    cpuShares: cpu?.shares?.value ?? 0n,
    cpuQuota: cpu?.quota?.value ?? 0n,
    cpuPeriod: cpu?.period?.value ?? 0n,
    cpusetCpus: cpu?.cpus ?? "",
    cpusetMems: cpu?.mems ?? "",
    memoryLimitInBytes: memory?.limit?.value ?? 0n,
    memorySwapLimitInBytes: memory?.swap?.value ?? 0n,
    hugepageLimits: resources.hugepageLimits.map(({ pageSize, limit }) => ({
      $typeName: "runtime.v1.HugepageLimit" as const,
      pageSize,
      limit,
    })),
    unified: { ...resources.unified },
  };
}

const MEMORY = [
  "limit",
  "reservation",
  "swap",
  "kernel",
  "swappiness",
] as const satisfies (keyof NriMemory)[];
const CPU = [
  "shares",
  "quota",
  "period",
  "realtimeRuntime",
  "realtimePeriod",
] as const satisfies (keyof NriCpu)[];

/**
 * Lays what plugins set over the resources of a spec, which is changed. A memory limit without a swap limit is that, too
 * (no swap beyond it), where the kernel can limit swap.
 */
export function layOver(resources: Resources, change: NriResources, swapController: boolean): void {
  const memory = { ...resources.memory };
  for (const key of MEMORY) {
    const value = change.memory?.[key]?.value;
    if (value !== undefined && (key !== "swap" || swapController)) memory[key] = value;
  }
  const limit = change.memory?.limit?.value;
  if (swapController && limit !== undefined && change.memory?.swap === undefined) memory.swap = limit;
  const oom = change.memory?.disableOomKiller?.value;
  if (oom !== undefined) memory.disableOOMKiller = oom;
  if (Object.keys(memory).length > 0) resources.memory = memory;
  const cpu = { ...resources.cpu };
  for (const key of CPU) {
    const value = change.cpu?.[key]?.value;
    if (value !== undefined) cpu[key] = value;
  }
  if (change.cpu !== undefined && change.cpu.cpus !== "") cpu.cpus = change.cpu.cpus;
  if (change.cpu !== undefined && change.cpu.mems !== "") cpu.mems = change.cpu.mems;
  if (Object.keys(cpu).length > 0) resources.cpu = cpu;
  if (change.hugepageLimits.length > 0) {
    const sizes = new Set(change.hugepageLimits.map(({ pageSize }) => pageSize));
    resources.hugepageLimits = [
      ...(resources.hugepageLimits ?? []).filter(({ pageSize }) => !sizes.has(pageSize)),
      ...change.hugepageLimits,
    ];
  }
  if (Object.keys(change.unified).length > 0) resources.unified = { ...resources.unified, ...change.unified };
  if (change.pids !== undefined) resources.pids = { limit: change.pids.limit };
  for (const rule of change.devices) {
    resources.devices = [
      ...(resources.devices ?? []),
      {
        allow: rule.allow,
        ...(rule.type === "" ? {} : { type: rule.type }),
        ...(rule.major === undefined ? {} : { major: rule.major.value }),
        ...(rule.minor === undefined ? {} : { minor: rule.minor.value }),
        access: rule.access,
      },
    ];
  }
}
