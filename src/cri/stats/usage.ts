/** Numbers of a cgroup, the same for v1 and v2. Sizes are bytes, times nanoseconds. */
import type { CgroupStats, IoEntry, Pressure, V1Stats, V2Stats } from "../../platform/cgroups/stats.ts";

/** From here on a limit means "none" (v1 shows the largest page multiple, v2 "max"). */
const NO_LIMIT = 1n << 62n;

export interface CpuUse {
  readonly totalNs: bigint;
  readonly userNs: bigint;
  readonly systemNs: bigint;
  readonly periods: bigint;
  readonly throttledPeriods: bigint;
  readonly throttledNs: bigint;
  readonly pressure: Pressure | undefined;
}

export interface MemoryUse {
  readonly usage: bigint;
  /** What cannot be dropped easily: usage without the inactive file cache. */
  readonly workingSet: bigint;
  /** Limit less working set; undefined without a limit. */
  readonly available: bigint | undefined;
  readonly rss: bigint;
  readonly cache: bigint;
  readonly mapped: bigint;
  readonly kernel: bigint;
  readonly peak: bigint;
  readonly failcnt: bigint;
  readonly pageFaults: bigint;
  readonly majorPageFaults: bigint;
  readonly swap: bigint;
  /** Swap that may still be used; undefined without a limit. */
  readonly swapAvailable: bigint | undefined;
  readonly oomKills: bigint;
  readonly pressure: Pressure | undefined;
}

export interface Use {
  readonly cpu: CpuUse | undefined;
  readonly memory: MemoryUse | undefined;
  /** Threads; `limit` 0 = none. */
  readonly threads: { readonly current: bigint; readonly limit: bigint } | undefined;
  readonly io: readonly IoEntry[];
  readonly ioPressure: Pressure | undefined;
  /** `peak` is known on v1 only. */
  readonly hugetlb: readonly {
    readonly pageSize: string;
    readonly usage: bigint;
    readonly peak: bigint | undefined;
  }[];
}

/** Statistics as read from cgroup files, or decoded from a task's metrics. */
export function toUse(stats: CgroupStats): Use {
  return stats.version === 1 ? fromV1(stats) : fromV2(stats);
}

function fromV1(s: V1Stats): Use {
  const stat = (key: string): bigint => s.memory?.stat.get(key) ?? 0n;
  const m = s.memory;
  return {
    cpu: s.cpu && {
      totalNs: s.cpu.totalNs,
      userNs: s.cpu.userNs,
      systemNs: s.cpu.kernelNs,
      periods: s.cpu.periods,
      throttledPeriods: s.cpu.throttledPeriods,
      throttledNs: s.cpu.throttledNs,
      pressure: undefined,
    },
    memory: m && {
      usage: m.usage.usage,
      ...working(m.usage.usage, stat("total_inactive_file"), m.usage.limit),
      rss: stat("total_rss"),
      cache: stat("total_cache"),
      mapped: stat("total_mapped_file"),
      kernel: m.kernel?.usage ?? 0n,
      peak: m.usage.max,
      failcnt: m.usage.failcnt,
      pageFaults: stat("total_pgfault"),
      majorPageFaults: stat("total_pgmajfault"),
      ...swapV1(m.usage, m.swap),
      oomKills: m.oom.get("oom_kill") ?? 0n,
      pressure: undefined,
    },
    threads: s.pids,
    io: byDevice(s),
    ioPressure: undefined,
    hugetlb: s.hugetlb.map(({ pageSize, usage, max }) => ({ pageSize, usage, peak: max })),
  };
}

function fromV2(s: V2Stats): Use {
  const cpu = (key: string): bigint => (s.cpu?.get(key) ?? 0n) * 1000n;
  const stat = (key: string): bigint => s.memory?.stat.get(key) ?? 0n;
  const m = s.memory;
  return {
    cpu: s.cpu && {
      totalNs: cpu("usage_usec"),
      userNs: cpu("user_usec"),
      systemNs: cpu("system_usec"),
      periods: s.cpu.get("nr_periods") ?? 0n,
      throttledPeriods: s.cpu.get("nr_throttled") ?? 0n,
      throttledNs: cpu("throttled_usec"),
      pressure: s.cpuPressure,
    },
    memory: m && {
      usage: m.usage,
      ...working(m.usage, stat("inactive_file"), m.limit),
      rss: stat("anon"),
      cache: stat("file"),
      mapped: stat("file_mapped"),
      kernel: stat("kernel") === 0n ? stat("kernel_stack") + stat("slab") : stat("kernel"),
      peak: m.peak ?? 0n,
      failcnt: m.events.get("max") ?? 0n,
      pageFaults: stat("pgfault"),
      majorPageFaults: stat("pgmajfault"),
      swap: m.swapUsage,
      swapAvailable: m.swapLimit >= NO_LIMIT ? undefined : floor(m.swapLimit - m.swapUsage),
      oomKills: m.events.get("oom_kill") ?? 0n,
      pressure: m.pressure,
    },
    threads:
      s.pids === undefined
        ? undefined
        : { current: s.pids.current, limit: s.pids.limit >= NO_LIMIT ? 0n : s.pids.limit },
    io: s.io ?? [],
    ioPressure: s.ioPressure,
    hugetlb: s.hugetlb.map(({ pageSize, usage }) => ({ pageSize, usage, peak: undefined })),
  };
}

function working(
  usage: bigint,
  inactiveFile: bigint,
  limit: bigint,
): { workingSet: bigint; available: bigint | undefined } {
  const workingSet = floor(usage - inactiveFile);
  return { workingSet, available: limit >= NO_LIMIT || limit === 0n ? undefined : floor(limit - workingSet) };
}

/** v1 counts memory and swap together. */
function swapV1(
  memory: { readonly usage: bigint; readonly limit: bigint },
  both: { readonly usage: bigint; readonly limit: bigint } | undefined,
): { swap: bigint; swapAvailable: bigint | undefined } {
  if (both === undefined) return { swap: 0n, swapAvailable: undefined };
  const swap = floor(both.usage - memory.usage);
  const free = both.limit >= NO_LIMIT ? undefined : floor(both.limit - memory.limit - swap);
  return { swap, swapAvailable: free };
}

function byDevice(s: V1Stats): IoEntry[] {
  const devices = new Map<string, { -readonly [K in keyof IoEntry]: IoEntry[K] }>();
  const add = (
    entries: readonly { major: number; minor: number; op: string; value: bigint }[],
    read: "readBytes" | "readOps",
    write: "writeBytes" | "writeOps",
  ): void => {
    for (const { major, minor, op, value } of entries) {
      const key = `${major}:${minor}`;
      const device = devices.get(key) ?? {
        major,
        minor,
        readBytes: 0n,
        writeBytes: 0n,
        readOps: 0n,
        writeOps: 0n,
      };
      if (op === "Read") device[read] += value;
      else if (op === "Write") device[write] += value;
      devices.set(key, device);
    }
  };
  add(s.blkio?.ioServiceBytesRecursive ?? [], "readBytes", "writeBytes");
  add(s.blkio?.ioServicedRecursive ?? [], "readOps", "writeOps");
  return [...devices.values()];
}

function floor(value: bigint): bigint {
  return value < 0n ? 0n : value;
}
