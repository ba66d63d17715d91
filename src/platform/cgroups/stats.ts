/** "No limit" in cgroup v2 numbers, as containerd reports it. */
export const UNLIMITED = 0xffffffffffffffffn;

/** Statistics of one cgroup. Times are nanoseconds, sizes bytes; a missing controller is undefined. */
export type CgroupStats = V1Stats | V2Stats;

/** One line of a blkio file. */
export interface BlkioEntry {
  readonly major: number;
  readonly minor: number;
  /** "Read", "Write", "Sync", "Async", "Total", ...; "" where the file has none. */
  readonly op: string;
  readonly value: bigint;
}

export interface V1MemoryEntry {
  readonly usage: bigint;
  readonly max: bigint;
  readonly failcnt: bigint;
  readonly limit: bigint;
}

export interface V1Memory {
  readonly usage: V1MemoryEntry;
  readonly swap: V1MemoryEntry | undefined;
  readonly kernel: V1MemoryEntry | undefined;
  readonly kernelTcp: V1MemoryEntry | undefined;
  /** memory.stat as it is: "cache", "rss", "total_inactive_file", ... */
  readonly stat: ReadonlyMap<string, bigint>;
  /** memory.oom_control: "oom_kill_disable", "under_oom", "oom_kill". */
  readonly oom: ReadonlyMap<string, bigint>;
}

export interface V1Cpu {
  readonly totalNs: bigint;
  readonly userNs: bigint;
  readonly kernelNs: bigint;
  readonly perCpuNs: readonly bigint[];
  readonly periods: bigint;
  readonly throttledPeriods: bigint;
  readonly throttledNs: bigint;
}

export interface V1Blkio {
  readonly ioServiceBytesRecursive: readonly BlkioEntry[];
  readonly ioServicedRecursive: readonly BlkioEntry[];
  readonly ioQueuedRecursive: readonly BlkioEntry[];
  readonly ioServiceTimeRecursive: readonly BlkioEntry[];
  readonly ioWaitTimeRecursive: readonly BlkioEntry[];
  readonly ioMergedRecursive: readonly BlkioEntry[];
  readonly ioTimeRecursive: readonly BlkioEntry[];
  readonly sectorsRecursive: readonly BlkioEntry[];
}

export interface PidsStats {
  readonly current: bigint;
  /** 0 (v1) or {@link UNLIMITED} (v2) for none, as containerd has it. */
  readonly limit: bigint;
}

export interface HugetlbStats {
  /** "2MB", "1GB". */
  readonly pageSize: string;
  readonly usage: bigint;
  /** v1: highest usage; v2: limit. */
  readonly max: bigint;
  readonly failcnt: bigint;
}

export interface RdmaEntry {
  readonly device: string;
  readonly hcaHandles: number;
  readonly hcaObjects: number;
}

export interface RdmaStats {
  readonly current: readonly RdmaEntry[];
  readonly limit: readonly RdmaEntry[];
}

/** From cgroup v1 controllers. */
export interface V1Stats {
  readonly version: 1;
  readonly cpu: V1Cpu | undefined;
  readonly memory: V1Memory | undefined;
  readonly pids: PidsStats | undefined;
  readonly blkio: V1Blkio | undefined;
  readonly hugetlb: readonly HugetlbStats[];
  readonly rdma: RdmaStats | undefined;
}

export interface IoEntry {
  readonly major: number;
  readonly minor: number;
  readonly readBytes: bigint;
  readonly writeBytes: bigint;
  readonly readOps: bigint;
  readonly writeOps: bigint;
}

/** A pressure stall line: averages in percent, total in microseconds. */
export interface PressureLine {
  readonly avg10: number;
  readonly avg60: number;
  readonly avg300: number;
  readonly total: bigint;
}

export interface Pressure {
  readonly some: PressureLine | undefined;
  readonly full: PressureLine | undefined;
}

export interface V2Memory {
  readonly usage: bigint;
  readonly limit: bigint;
  readonly peak: bigint | undefined;
  readonly swapUsage: bigint;
  readonly swapLimit: bigint;
  /** memory.stat as it is: "anon", "file", "inactive_file", ... */
  readonly stat: ReadonlyMap<string, bigint>;
  /** memory.events: "low", "high", "max", "oom", "oom_kill". */
  readonly events: ReadonlyMap<string, bigint>;
  readonly pressure: Pressure | undefined;
}

/** From the unified hierarchy. */
export interface V2Stats {
  readonly version: 2;
  /** cpu.stat as it is, MICROseconds: "usage_usec", "user_usec", "system_usec", "nr_periods", ... */
  readonly cpu: ReadonlyMap<string, bigint> | undefined;
  readonly cpuPressure: Pressure | undefined;
  readonly memory: V2Memory | undefined;
  readonly pids: PidsStats | undefined;
  readonly io: readonly IoEntry[] | undefined;
  readonly ioPressure: Pressure | undefined;
  readonly hugetlb: readonly HugetlbStats[];
  readonly rdma: RdmaStats | undefined;
}
