/** Resources that several plugins set, each value by one of them. */
import { Field } from "../../api/gen/nri/v1alpha1/api_pb.ts";
import type { NriCpu, NriMemory, NriResources } from "../../core/nri/types.ts";
import type { Owners } from "./owners.ts";

type Writable<T> = { -readonly [K in keyof T]: T[K] };

const MEMORY: readonly [keyof NriMemory, Field][] = [
  ["limit", Field.MemLimit],
  ["reservation", Field.MemReservation],
  ["swap", Field.MemSwapLimit],
  ["kernel", Field.MemKernelLimit],
  ["kernelTcp", Field.MemTCPLimit],
  ["swappiness", Field.MemSwappiness],
  ["disableOomKiller", Field.MemDisableOomKiller],
  ["useHierarchy", Field.MemUseHierarchy],
];
const CPU: readonly [Exclude<keyof NriCpu, "cpus" | "mems">, Field][] = [
  ["shares", Field.CPUShares],
  ["quota", Field.CPUQuota],
  ["period", Field.CPUPeriod],
  ["realtimeRuntime", Field.CPURealtimeRuntime],
  ["realtimePeriod", Field.CPURealtimePeriod],
];

/** Nothing set. */
export const noResources: NriResources = { hugepageLimits: [], unified: {}, devices: [] };

/**
 * `base` with what `change` sets.
 * @throws invalid-argument when another plugin set one of them before
 */
export function mergeResources(
  base: NriResources,
  change: NriResources,
  owners: Owners,
  container: string,
  plugin: string,
): NriResources {
  const claim = (field: Field, key?: string): void => owners.claim(container, plugin, field, key);
  const memory: Writable<NriMemory> = { ...base.memory };
  for (const [key, field] of MEMORY) {
    const value = change.memory?.[key];
    if (value === undefined) continue;
    claim(field);
    Object.assign(memory, { [key]: value });
  }
  const cpu: Writable<NriCpu> = { cpus: "", mems: "", ...base.cpu };
  for (const [key, field] of CPU) {
    const value = change.cpu?.[key];
    if (value === undefined) continue;
    claim(field);
    cpu[key] = value;
  }
  for (const [key, field] of [
    ["cpus", Field.CPUSetCPUs],
    ["mems", Field.CPUSetMems],
  ] as const) {
    const value = change.cpu?.[key] ?? "";
    if (value === "") continue;
    claim(field);
    cpu[key] = value;
  }
  for (const { pageSize } of change.hugepageLimits) claim(Field.HugepageLimits, pageSize);
  for (const key of Object.keys(change.unified)) claim(Field.CgroupsUnified, key);
  if (change.blockioClass !== undefined) claim(Field.BlockioClass);
  if (change.rdtClass !== undefined) claim(Field.RdtClass);
  if (change.pids !== undefined) claim(Field.PidsLimit);
  const sizes = new Set(change.hugepageLimits.map(({ pageSize }) => pageSize));
  return {
    memory,
    cpu,
    hugepageLimits: [
      ...base.hugepageLimits.filter(({ pageSize }) => !sizes.has(pageSize)),
      ...change.hugepageLimits,
    ],
    blockioClass: change.blockioClass ?? base.blockioClass,
    rdtClass: change.rdtClass ?? base.rdtClass,
    unified: { ...base.unified, ...change.unified },
    devices: [...base.devices, ...change.devices],
    pids: change.pids ?? base.pids,
  };
}
