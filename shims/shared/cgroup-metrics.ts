/** Statistics of a cgroup as containerd's metrics messages, by cgroup version. Loaded at the first Stats call. */
import type {
  BlkioEntry,
  CgroupStats,
  Pressure,
  PressureLine,
  V1Memory,
  V1MemoryEntry,
  V1Stats,
  V2Memory,
  V2Stats,
} from "../../src/platform/cgroups/stats.ts";
import { V1Metrics, V2Metrics } from "./metrics-messages.ts";
import { encode } from "./wire.ts";

/** The metrics in an Any. */
export function metricsOf(stats: CgroupStats): { typeUrl: string; value: Uint8Array<ArrayBuffer> } {
  return stats.version === 1
    ? { typeUrl: V1Metrics.name, value: encode(V1Metrics, v1(stats)) }
    : { typeUrl: V2Metrics.name, value: encode(V2Metrics, v2(stats)) };
}

function v1(stats: V1Stats) {
  const { cpu, memory, pids, blkio, rdma } = stats;
  return {
    hugetlb: stats.hugetlb.map((h) => ({
      usage: h.usage,
      max: h.max,
      failcnt: h.failcnt,
      pagesize: h.pageSize,
    })),
    ...(pids === undefined ? {} : { pids: { current: pids.current, limit: pids.limit } }),
    ...(cpu === undefined
      ? {}
      : {
          cpu: {
            usage: { total: cpu.totalNs, kernel: cpu.kernelNs, user: cpu.userNs, perCpu: [...cpu.perCpuNs] },
            throttling: {
              periods: cpu.periods,
              throttledPeriods: cpu.throttledPeriods,
              throttledTime: cpu.throttledNs,
            },
          },
        }),
    ...(memory === undefined
      ? {}
      : {
          memory: v1Memory(memory),
          memoryOomControl: {
            oomKillDisable: memory.oom.get("oom_kill_disable") ?? 0n,
            underOom: memory.oom.get("under_oom") ?? 0n,
            oomKill: memory.oom.get("oom_kill") ?? 0n,
          },
        }),
    ...(blkio === undefined
      ? {}
      : {
          blkio: {
            ioServiceBytesRecursive: blkio.ioServiceBytesRecursive.map(blkioEntry),
            ioServicedRecursive: blkio.ioServicedRecursive.map(blkioEntry),
            ioQueuedRecursive: blkio.ioQueuedRecursive.map(blkioEntry),
            ioServiceTimeRecursive: blkio.ioServiceTimeRecursive.map(blkioEntry),
            ioWaitTimeRecursive: blkio.ioWaitTimeRecursive.map(blkioEntry),
            ioMergedRecursive: blkio.ioMergedRecursive.map(blkioEntry),
            ioTimeRecursive: blkio.ioTimeRecursive.map(blkioEntry),
            sectorsRecursive: blkio.sectorsRecursive.map(blkioEntry),
          },
        }),
    ...(rdma === undefined ? {} : { rdma: { current: [...rdma.current], limit: [...rdma.limit] } }),
  };
}

function blkioEntry(e: BlkioEntry) {
  return { op: e.op, device: "", major: BigInt(e.major), minor: BigInt(e.minor), value: e.value };
}

function memoryEntry(e: V1MemoryEntry) {
  return { limit: e.limit, usage: e.usage, max: e.max, failcnt: e.failcnt };
}

function v1Memory(memory: V1Memory) {
  const n = (name: string): bigint => memory.stat.get(name) ?? 0n;
  return {
    cache: n("cache"),
    rss: n("rss"),
    rssHuge: n("rss_huge"),
    mappedFile: n("mapped_file"),
    dirty: n("dirty"),
    writeback: n("writeback"),
    pgPgIn: n("pgpgin"),
    pgPgOut: n("pgpgout"),
    pgFault: n("pgfault"),
    pgMajFault: n("pgmajfault"),
    inactiveAnon: n("inactive_anon"),
    activeAnon: n("active_anon"),
    inactiveFile: n("inactive_file"),
    activeFile: n("active_file"),
    unevictable: n("unevictable"),
    hierarchicalMemoryLimit: n("hierarchical_memory_limit"),
    hierarchicalSwapLimit: n("hierarchical_memsw_limit"),
    totalCache: n("total_cache"),
    totalRss: n("total_rss"),
    totalRssHuge: n("total_rss_huge"),
    totalMappedFile: n("total_mapped_file"),
    totalDirty: n("total_dirty"),
    totalWriteback: n("total_writeback"),
    totalPgPgIn: n("total_pgpgin"),
    totalPgPgOut: n("total_pgpgout"),
    totalPgFault: n("total_pgfault"),
    totalPgMajFault: n("total_pgmajfault"),
    totalInactiveAnon: n("total_inactive_anon"),
    totalActiveAnon: n("total_active_anon"),
    totalInactiveFile: n("total_inactive_file"),
    totalActiveFile: n("total_active_file"),
    totalUnevictable: n("total_unevictable"),
    usage: memoryEntry(memory.usage),
    ...(memory.swap === undefined ? {} : { swap: memoryEntry(memory.swap) }),
    ...(memory.kernel === undefined ? {} : { kernel: memoryEntry(memory.kernel) }),
    ...(memory.kernelTcp === undefined ? {} : { kernelTcp: memoryEntry(memory.kernelTcp) }),
  };
}

function v2(stats: V2Stats) {
  const { cpu, memory, pids, io, rdma } = stats;
  const c = (name: string): bigint => cpu?.get(name) ?? 0n;
  return {
    ...(pids === undefined ? {} : { pids: { current: pids.current, limit: pids.limit } }),
    ...(cpu === undefined
      ? {}
      : {
          cpu: {
            usageUsec: c("usage_usec"),
            userUsec: c("user_usec"),
            systemUsec: c("system_usec"),
            nrPeriods: c("nr_periods"),
            nrThrottled: c("nr_throttled"),
            throttledUsec: c("throttled_usec"),
            nrBursts: c("nr_bursts"),
            burstUsec: c("burst_usec"),
            ...psi(stats.cpuPressure),
          },
        }),
    ...(memory === undefined ? {} : v2Memory(memory)),
    ...(rdma === undefined ? {} : { rdma: { current: [...rdma.current], limit: [...rdma.limit] } }),
    ...(io === undefined
      ? {}
      : {
          io: {
            usage: io.map((e) => ({
              major: BigInt(e.major),
              minor: BigInt(e.minor),
              rbytes: e.readBytes,
              wbytes: e.writeBytes,
              rios: e.readOps,
              wios: e.writeOps,
            })),
            ...psi(stats.ioPressure),
          },
        }),
    hugetlb: stats.hugetlb.map((h) => ({
      current: h.usage,
      max: h.max,
      pagesize: h.pageSize,
      failcnt: h.failcnt,
    })),
  };
}

function psi(pressure: Pressure | undefined) {
  const line = (l: PressureLine) => ({ avg10: l.avg10, avg60: l.avg60, avg300: l.avg300, total: l.total });
  if (pressure === undefined) return {};
  return {
    psi: {
      ...(pressure.some === undefined ? {} : { some: line(pressure.some) }),
      ...(pressure.full === undefined ? {} : { full: line(pressure.full) }),
    },
  };
}

function v2Memory(memory: V2Memory) {
  const n = (name: string): bigint => memory.stat.get(name) ?? 0n;
  const e = (name: string): bigint => memory.events.get(name) ?? 0n;
  return {
    memory: {
      anon: n("anon"),
      file: n("file"),
      kernelStack: n("kernel_stack"),
      slab: n("slab"),
      sock: n("sock"),
      shmem: n("shmem"),
      fileMapped: n("file_mapped"),
      fileDirty: n("file_dirty"),
      fileWriteback: n("file_writeback"),
      anonThp: n("anon_thp"),
      inactiveAnon: n("inactive_anon"),
      activeAnon: n("active_anon"),
      inactiveFile: n("inactive_file"),
      activeFile: n("active_file"),
      unevictable: n("unevictable"),
      slabReclaimable: n("slab_reclaimable"),
      slabUnreclaimable: n("slab_unreclaimable"),
      pgfault: n("pgfault"),
      pgmajfault: n("pgmajfault"),
      workingsetRefault: n("workingset_refault_file") + n("workingset_refault"),
      workingsetActivate: n("workingset_activate_file") + n("workingset_activate"),
      workingsetNodereclaim: n("workingset_nodereclaim"),
      pgrefill: n("pgrefill"),
      pgscan: n("pgscan"),
      pgsteal: n("pgsteal"),
      pgactivate: n("pgactivate"),
      pgdeactivate: n("pgdeactivate"),
      pglazyfree: n("pglazyfree"),
      pglazyfreed: n("pglazyfreed"),
      thpFaultAlloc: n("thp_fault_alloc"),
      thpCollapseAlloc: n("thp_collapse_alloc"),
      usage: memory.usage,
      usageLimit: memory.limit,
      swapUsage: memory.swapUsage,
      swapLimit: memory.swapLimit,
      maxUsage: memory.peak ?? 0n,
      ...psi(memory.pressure),
    },
    memoryEvents: {
      low: e("low"),
      high: e("high"),
      max: e("max"),
      oom: e("oom"),
      oomKill: e("oom_kill"),
      oomGroupKill: e("oom_group_kill"),
    },
  };
}
