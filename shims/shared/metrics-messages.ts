/** Metrics messages as tables: cgroup v1 (`io.containerd.cgroups.v1`) and v2. Loaded at the first Stats call. */
import {
  double,
  type Fields,
  type MessageType,
  message,
  messages,
  nested,
  string,
  uint32,
  uint64,
  uint64s,
} from "./wire.ts";

const v1 = <const F extends Fields>(name: string, fields: F): MessageType<F> =>
  message(`io.containerd.cgroups.v1.${name}`, fields);
const v2 = <const F extends Fields>(name: string, fields: F): MessageType<F> =>
  message(`io.containerd.cgroups.v2.${name}`, fields);

export const V1HugetlbStat = v1("HugetlbStat", {
  usage: uint64(1),
  max: uint64(2),
  failcnt: uint64(3),
  pagesize: string(4),
});
export const V1PidsStat = v1("PidsStat", {
  current: uint64(1),
  limit: uint64(2),
});
export const V1CPUUsage = v1("CPUUsage", {
  total: uint64(1),
  kernel: uint64(2),
  user: uint64(3),
  perCpu: uint64s(4),
});
export const V1Throttle = v1("Throttle", {
  periods: uint64(1),
  throttledPeriods: uint64(2),
  throttledTime: uint64(3),
});
export const V1CPUStat = v1("CPUStat", {
  usage: nested(1, V1CPUUsage),
  throttling: nested(2, V1Throttle),
});
export const V1MemoryEntry = v1("MemoryEntry", {
  limit: uint64(1),
  usage: uint64(2),
  max: uint64(3),
  failcnt: uint64(4),
});
export const V1MemoryStat = v1("MemoryStat", {
  cache: uint64(1),
  rss: uint64(2),
  rssHuge: uint64(3),
  mappedFile: uint64(4),
  dirty: uint64(5),
  writeback: uint64(6),
  pgPgIn: uint64(7),
  pgPgOut: uint64(8),
  pgFault: uint64(9),
  pgMajFault: uint64(10),
  inactiveAnon: uint64(11),
  activeAnon: uint64(12),
  inactiveFile: uint64(13),
  activeFile: uint64(14),
  unevictable: uint64(15),
  hierarchicalMemoryLimit: uint64(16),
  hierarchicalSwapLimit: uint64(17),
  totalCache: uint64(18),
  totalRss: uint64(19),
  totalRssHuge: uint64(20),
  totalMappedFile: uint64(21),
  totalDirty: uint64(22),
  totalWriteback: uint64(23),
  totalPgPgIn: uint64(24),
  totalPgPgOut: uint64(25),
  totalPgFault: uint64(26),
  totalPgMajFault: uint64(27),
  totalInactiveAnon: uint64(28),
  totalActiveAnon: uint64(29),
  totalInactiveFile: uint64(30),
  totalActiveFile: uint64(31),
  totalUnevictable: uint64(32),
  usage: nested(33, V1MemoryEntry),
  swap: nested(34, V1MemoryEntry),
  kernel: nested(35, V1MemoryEntry),
  kernelTcp: nested(36, V1MemoryEntry),
});
export const V1BlkIOEntry = v1("BlkIOEntry", {
  op: string(1),
  device: string(2),
  major: uint64(3),
  minor: uint64(4),
  value: uint64(5),
});
export const V1BlkIOStat = v1("BlkIOStat", {
  ioServiceBytesRecursive: messages(1, V1BlkIOEntry),
  ioServicedRecursive: messages(2, V1BlkIOEntry),
  ioQueuedRecursive: messages(3, V1BlkIOEntry),
  ioServiceTimeRecursive: messages(4, V1BlkIOEntry),
  ioWaitTimeRecursive: messages(5, V1BlkIOEntry),
  ioMergedRecursive: messages(6, V1BlkIOEntry),
  ioTimeRecursive: messages(7, V1BlkIOEntry),
  sectorsRecursive: messages(8, V1BlkIOEntry),
});
export const V1RdmaEntry = v1("RdmaEntry", {
  device: string(1),
  hcaHandles: uint32(2),
  hcaObjects: uint32(3),
});
export const V1RdmaStat = v1("RdmaStat", {
  current: messages(1, V1RdmaEntry),
  limit: messages(2, V1RdmaEntry),
});
export const V1NetworkStat = v1("NetworkStat", {
  name: string(1),
  rxBytes: uint64(2),
  rxPackets: uint64(3),
  rxErrors: uint64(4),
  rxDropped: uint64(5),
  txBytes: uint64(6),
  txPackets: uint64(7),
  txErrors: uint64(8),
  txDropped: uint64(9),
});
export const V1CgroupStats = v1("CgroupStats", {
  nrSleeping: uint64(1),
  nrRunning: uint64(2),
  nrStopped: uint64(3),
  nrUninterruptible: uint64(4),
  nrIoWait: uint64(5),
});
export const V1MemoryOomControl = v1("MemoryOomControl", {
  oomKillDisable: uint64(1),
  underOom: uint64(2),
  oomKill: uint64(3),
});
export const V1Metrics = v1("Metrics", {
  hugetlb: messages(1, V1HugetlbStat),
  pids: nested(2, V1PidsStat),
  cpu: nested(3, V1CPUStat),
  memory: nested(4, V1MemoryStat),
  blkio: nested(5, V1BlkIOStat),
  rdma: nested(6, V1RdmaStat),
  network: messages(7, V1NetworkStat),
  cgroupStats: nested(8, V1CgroupStats),
  memoryOomControl: nested(9, V1MemoryOomControl),
});

export const V2PidsStat = v2("PidsStat", {
  current: uint64(1),
  limit: uint64(2),
});
export const V2PSIData = v2("PSIData", {
  avg10: double(1),
  avg60: double(2),
  avg300: double(3),
  total: uint64(4),
});
export const V2PSIStats = v2("PSIStats", {
  some: nested(1, V2PSIData),
  full: nested(2, V2PSIData),
});
export const V2CPUStat = v2("CPUStat", {
  usageUsec: uint64(1),
  userUsec: uint64(2),
  systemUsec: uint64(3),
  nrPeriods: uint64(4),
  nrThrottled: uint64(5),
  throttledUsec: uint64(6),
  psi: nested(7, V2PSIStats),
  nrBursts: uint64(8),
  burstUsec: uint64(9),
});
export const V2MemoryStat = v2("MemoryStat", {
  anon: uint64(1),
  file: uint64(2),
  kernelStack: uint64(3),
  slab: uint64(4),
  sock: uint64(5),
  shmem: uint64(6),
  fileMapped: uint64(7),
  fileDirty: uint64(8),
  fileWriteback: uint64(9),
  anonThp: uint64(10),
  inactiveAnon: uint64(11),
  activeAnon: uint64(12),
  inactiveFile: uint64(13),
  activeFile: uint64(14),
  unevictable: uint64(15),
  slabReclaimable: uint64(16),
  slabUnreclaimable: uint64(17),
  pgfault: uint64(18),
  pgmajfault: uint64(19),
  workingsetRefault: uint64(20),
  workingsetActivate: uint64(21),
  workingsetNodereclaim: uint64(22),
  pgrefill: uint64(23),
  pgscan: uint64(24),
  pgsteal: uint64(25),
  pgactivate: uint64(26),
  pgdeactivate: uint64(27),
  pglazyfree: uint64(28),
  pglazyfreed: uint64(29),
  thpFaultAlloc: uint64(30),
  thpCollapseAlloc: uint64(31),
  usage: uint64(32),
  usageLimit: uint64(33),
  swapUsage: uint64(34),
  swapLimit: uint64(35),
  maxUsage: uint64(36),
  swapMaxUsage: uint64(37),
  psi: nested(38, V2PSIStats),
});
export const V2RdmaEntry = v2("RdmaEntry", {
  device: string(1),
  hcaHandles: uint32(2),
  hcaObjects: uint32(3),
});
export const V2RdmaStat = v2("RdmaStat", {
  current: messages(1, V2RdmaEntry),
  limit: messages(2, V2RdmaEntry),
});
export const V2IOEntry = v2("IOEntry", {
  major: uint64(1),
  minor: uint64(2),
  rbytes: uint64(3),
  wbytes: uint64(4),
  rios: uint64(5),
  wios: uint64(6),
});
export const V2IOStat = v2("IOStat", {
  usage: messages(1, V2IOEntry),
  psi: nested(2, V2PSIStats),
});
export const V2HugeTlbStat = v2("HugeTlbStat", {
  current: uint64(1),
  max: uint64(2),
  pagesize: string(3),
  failcnt: uint64(4),
});
export const V2MemoryEvents = v2("MemoryEvents", {
  low: uint64(1),
  high: uint64(2),
  max: uint64(3),
  oom: uint64(4),
  oomKill: uint64(5),
  oomGroupKill: uint64(6),
});
export const V2NetworkStat = v2("NetworkStat", {
  name: string(1),
  rxBytes: uint64(2),
  rxPackets: uint64(3),
  rxErrors: uint64(4),
  rxDropped: uint64(5),
  txBytes: uint64(6),
  txPackets: uint64(7),
  txErrors: uint64(8),
  txDropped: uint64(9),
});
export const V2Metrics = v2("Metrics", {
  pids: nested(1, V2PidsStat),
  cpu: nested(2, V2CPUStat),
  memory: nested(4, V2MemoryStat),
  rdma: nested(5, V2RdmaStat),
  io: nested(6, V2IOStat),
  hugetlb: messages(7, V2HugeTlbStat),
  memoryEvents: nested(8, V2MemoryEvents),
  network: messages(9, V2NetworkStat),
});
