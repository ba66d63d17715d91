import { readBlkio, readHugetlb, readMap, readNumber, readRdma, readText } from "./read.ts";
import type { BlkioEntry, V1Blkio, V1Cpu, V1Memory, V1MemoryEntry, V1Stats } from "./stats.ts";

/** Directory of a cgroup in each v1 controller: "cpu" -> "/sys/fs/cgroup/cpu/x". */
export type V1Dirs = ReadonlyMap<string, string>;

/** cpuacct.stat counts in ticks of 1/100 second on every architecture Linux runs containers on. */
const TICK_NS = 10_000_000n;

/** Reads every v1 controller that has a directory. */
export function readV1(dirs: V1Dirs, brief = false): V1Stats {
  const hugetlb = brief ? undefined : dirs.get("hugetlb");
  const rdma = brief ? undefined : dirs.get("rdma");
  return {
    version: 1,
    cpu: readCpu(dirs, brief),
    memory: readMemory(dirs.get("memory"), brief),
    pids: readPids(dirs.get("pids")),
    blkio: brief ? undefined : readBlkioStats(dirs.get("blkio")),
    hugetlb:
      hugetlb === undefined ? [] : readHugetlb(hugetlb, "usage_in_bytes", "max_usage_in_bytes", "failcnt"),
    rdma: rdma === undefined ? undefined : readRdma(rdma),
  };
}

/** How often the kernel killed for memory here: "oom_kill" of memory.oom_control (kernel 4.13); 0 when unknown. */
export function oomKillsV1(dirs: V1Dirs): bigint {
  const dir = dirs.get("memory");
  return dir === undefined ? 0n : (readMap(dir, "memory.oom_control")?.get("oom_kill") ?? 0n);
}

/** Processor time used, nanoseconds. */
export function cpuNsV1(dirs: V1Dirs): bigint | undefined {
  const dir = dirs.get("cpuacct");
  return dir === undefined ? undefined : readNumber(dir, "cpuacct.usage");
}

function readCpu(dirs: V1Dirs, brief: boolean): V1Cpu | undefined {
  const accounting = dirs.get("cpuacct");
  const total = accounting === undefined ? undefined : readNumber(accounting, "cpuacct.usage");
  const cpu = dirs.get("cpu");
  if (accounting === undefined || total === undefined) return undefined;
  const ticks = readMap(accounting, "cpuacct.stat");
  const throttling = cpu === undefined ? undefined : readMap(cpu, "cpu.stat");
  return {
    totalNs: total,
    userNs: (ticks?.get("user") ?? 0n) * TICK_NS,
    kernelNs: (ticks?.get("system") ?? 0n) * TICK_NS,
    perCpuNs: ((brief ? undefined : readText(accounting, "cpuacct.usage_percpu")) ?? "")
      .trim()
      .split(/\s+/)
      .filter(Boolean)
      .map(BigInt),
    periods: throttling?.get("nr_periods") ?? 0n,
    throttledPeriods: throttling?.get("nr_throttled") ?? 0n,
    throttledNs: throttling?.get("throttled_time") ?? 0n,
  };
}

function readMemory(dir: string | undefined, brief: boolean): V1Memory | undefined {
  const stat = dir === undefined ? undefined : readMap(dir, "memory.stat");
  const usage = dir === undefined ? undefined : readEntry(dir, "memory");
  if (dir === undefined || stat === undefined || usage === undefined) return undefined;
  return {
    usage,
    swap: readEntry(dir, "memory.memsw"),
    kernel: brief ? undefined : readEntry(dir, "memory.kmem"),
    kernelTcp: brief ? undefined : readEntry(dir, "memory.kmem.tcp"),
    stat,
    oom: readMap(dir, "memory.oom_control") ?? new Map(),
  };
}

function readEntry(dir: string, prefix: string): V1MemoryEntry | undefined {
  const usage = readNumber(dir, `${prefix}.usage_in_bytes`);
  if (usage === undefined) return undefined;
  return {
    usage,
    max: readNumber(dir, `${prefix}.max_usage_in_bytes`) ?? 0n,
    failcnt: readNumber(dir, `${prefix}.failcnt`) ?? 0n,
    limit: readNumber(dir, `${prefix}.limit_in_bytes`) ?? 0n,
  };
}

function readPids(dir: string | undefined): V1Stats["pids"] {
  const current = dir === undefined ? undefined : readNumber(dir, "pids.current");
  if (dir === undefined || current === undefined) return undefined;
  const limit = readText(dir, "pids.max")?.trim();
  return { current, limit: limit === undefined || limit === "max" ? 0n : BigInt(limit) };
}

function readBlkioStats(dir: string | undefined): V1Blkio | undefined {
  if (dir === undefined || readText(dir, "cgroup.procs") === undefined) return undefined;
  // Which of the schedulers counts depends on the disk: the first file with numbers is the right one.
  const first = (name: string, ...more: string[]): BlkioEntry[] => {
    for (const file of [`blkio.${name}`, `blkio.bfq.${name}`, `blkio.throttle.${name}`, ...more]) {
      const entries = readBlkio(dir, file);
      if (entries.length > 0) return entries;
    }
    return [];
  };
  return {
    ioServiceBytesRecursive: first("io_service_bytes_recursive", "blkio.throttle.io_service_bytes"),
    ioServicedRecursive: first("io_serviced_recursive", "blkio.throttle.io_serviced"),
    ioQueuedRecursive: first("io_queued_recursive"),
    ioServiceTimeRecursive: first("io_service_time_recursive"),
    ioWaitTimeRecursive: first("io_wait_time_recursive"),
    ioMergedRecursive: first("io_merged_recursive"),
    ioTimeRecursive: first("time_recursive"),
    sectorsRecursive: first("sectors_recursive"),
  };
}
