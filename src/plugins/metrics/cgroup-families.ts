/** Metrics of containers' control groups under containerd's names (its cgroups task monitor), from a task's metrics message. */
import type { BlkIOEntry, Metrics as MetricsV1 } from "../../api/gen/containerd/cgroups/v1/metrics_pb.ts";
import type { Metrics as MetricsV2 } from "../../api/gen/containerd/cgroups/v2/metrics_pb.ts";
import type { MetricFamily, MetricLabels, Sample } from "../../core/metrics/metrics.ts";

type Value = bigint | number | undefined;

/** Collects samples of many containers into families. */
export class Families {
  readonly #families = new Map<string, { help: string; type: "gauge" | "counter"; samples: Sample[] }>();

  add(name: string, help: string, labels: MetricLabels, value: Value): void {
    if (value === undefined) return;
    let family = this.#families.get(name);
    if (family === undefined) {
      family = { help, type: "gauge", samples: [] };
      this.#families.set(name, family);
    }
    family.samples.push({ labels, value: Number(value) });
  }

  all(): MetricFamily[] {
    return [...this.#families].map(([name, f]) => ({ name, ...f }));
  }
}

/** Fields of the v1 memory message by the middle of their metric's name; all in bytes, as containerd labels them. */
const MEMORY_V1 = {
  cache: "cache",
  rss: "rss",
  rss_huge: "rssHuge",
  mapped_file: "mappedFile",
  dirty: "dirty",
  writeback: "writeback",
  pgpgin: "pgPgIn",
  pgpgout: "pgPgOut",
  pgfault: "pgFault",
  pgmajfault: "pgMajFault",
  inactive_anon: "inactiveAnon",
  active_anon: "activeAnon",
  inactive_file: "inactiveFile",
  active_file: "activeFile",
  unevictable: "unevictable",
  hierarchical_memory_limit: "hierarchicalMemoryLimit",
  hierarchical_memsw_limit: "hierarchicalSwapLimit",
  total_cache: "totalCache",
  total_rss: "totalRss",
  total_rss_huge: "totalRssHuge",
  total_mapped_file: "totalMappedFile",
  total_dirty: "totalDirty",
  total_writeback: "totalWriteback",
  total_pgpgin: "totalPgPgIn",
  total_pgpgout: "totalPgPgOut",
  total_pgfault: "totalPgFault",
  total_pgmajfault: "totalPgMajFault",
  total_inactive_anon: "totalInactiveAnon",
  total_active_anon: "totalActiveAnon",
  total_inactive_file: "totalInactiveFile",
  total_active_file: "totalActiveFile",
  total_unevictable: "totalUnevictable",
} as const;

/** Adds a container of a cgroup v1 host. */
export function addV1(out: Families, m: MetricsV1, labels: MetricLabels): void {
  const { cpu, memory } = m;
  const ns = (name: string, help: string, value: Value): void =>
    out.add(`container_${name}_nanoseconds`, help, labels, value);
  ns("cpu_total", "The total cpu time", cpu?.usage?.total);
  ns("cpu_kernel", "The total kernel cpu time", cpu?.usage?.kernel);
  ns("cpu_user", "The total user cpu time", cpu?.usage?.user);
  for (const [i, value] of cpu?.usage?.perCpu.entries() ?? [])
    out.add(
      "container_per_cpu_nanoseconds",
      "The total cpu time per cpu",
      { ...labels, cpu: String(i) },
      value,
    );
  const throttle = cpu?.throttling;
  out.add(
    "container_cpu_throttle_periods_total",
    "The total cpu throttle periods",
    labels,
    throttle?.periods,
  );
  out.add(
    "container_cpu_throttled_periods_total",
    "The total cpu throttled periods",
    labels,
    throttle?.throttledPeriods,
  );
  ns("cpu_throttled_time", "The total cpu throttled time", throttle?.throttledTime);
  for (const [name, field] of Object.entries(MEMORY_V1))
    out.add(`container_memory_${name}_bytes`, `The ${name} amount`, labels, memory?.[field]);
  for (const kind of ["usage", "swap", "kernel", "kerneltcp"] as const) {
    const entry = memory?.[kind === "kerneltcp" ? "kernelTcp" : kind];
    out.add(`container_memory_${kind}_failcnt_total`, `The ${kind} failcnt`, labels, entry?.failcnt);
    out.add(`container_memory_${kind}_limit_bytes`, `The ${kind} limit`, labels, entry?.limit);
    out.add(`container_memory_${kind}_max_bytes`, `The ${kind} maximum`, labels, entry?.max);
    out.add(`container_memory_${kind}_usage_bytes`, `The ${kind} in use`, labels, entry?.usage);
  }
  out.add(
    "container_memory_oom_total",
    "Processes killed for lack of memory",
    labels,
    m.memoryOomControl?.oomKill,
  );
  addPids(out, m.pids, labels);
  const blkio = m.blkio;
  const io = (name: string, unit: "bytes" | "total", entries: readonly BlkIOEntry[] | undefined): void => {
    for (const e of entries ?? [])
      out.add(
        `container_blkio_${name}_recursive_${unit}`,
        `The blkio ${name.replaceAll("_", " ")}`,
        { ...labels, op: e.op, device: e.device, major: String(e.major), minor: String(e.minor) },
        e.value,
      );
  };
  io("io_merged", "total", blkio?.ioMergedRecursive);
  io("io_queued", "total", blkio?.ioQueuedRecursive);
  io("io_service_bytes", "bytes", blkio?.ioServiceBytesRecursive);
  io("io_service_time", "total", blkio?.ioServiceTimeRecursive);
  io("io_serviced", "total", blkio?.ioServicedRecursive);
  io("io_time", "total", blkio?.ioTimeRecursive);
  io("sectors", "total", blkio?.sectorsRecursive);
  for (const page of m.hugetlb) {
    const l = { ...labels, page: page.pagesize };
    out.add("container_hugetlb_usage_bytes", "The hugetlb usage", l, page.usage);
    out.add("container_hugetlb_failcnt_total", "The hugetlb failcnt", l, page.failcnt);
    out.add("container_hugetlb_max_bytes", "The hugetlb maximum usage", l, page.max);
  }
}

/** Fields of the v2 memory message by the middle of their metric's name. */
const MEMORY_V2 = {
  usage: "usage",
  usage_limit: "usageLimit",
  swap_usage: "swapUsage",
  swap_limit: "swapLimit",
  file_mapped: "fileMapped",
  file_dirty: "fileDirty",
  file_writeback: "fileWriteback",
  pgactivate: "pgactivate",
  pgdeactivate: "pgdeactivate",
  pgfault: "pgfault",
  pgmajfault: "pgmajfault",
  pglazyfree: "pglazyfree",
  pgrefill: "pgrefill",
  pglazyfreed: "pglazyfreed",
  pgscan: "pgscan",
  pgsteal: "pgsteal",
  inactive_anon: "inactiveAnon",
  active_anon: "activeAnon",
  inactive_file: "inactiveFile",
  active_file: "activeFile",
  unevictable: "unevictable",
  anon: "anon",
  file: "file",
  kernel_stack: "kernelStack",
  slab: "slab",
  sock: "sock",
  shmem: "shmem",
  anon_thp: "anonThp",
  slab_reclaimable: "slabReclaimable",
  slab_unreclaimable: "slabUnreclaimable",
  workingset_refault: "workingsetRefault",
  workingset_activate: "workingsetActivate",
  workingset_nodereclaim: "workingsetNodereclaim",
  thp_fault_alloc: "thpFaultAlloc",
  thp_collapse_alloc: "thpCollapseAlloc",
} as const;

/** Adds a container of a cgroup v2 host. */
export function addV2(out: Families, m: MetricsV2, labels: MetricLabels): void {
  const { cpu, memory } = m;
  const usec = (name: string, value: Value): void =>
    out.add(`container_cpu_${name}_microseconds`, `Total cpu time (${name})`, labels, value);
  usec("usage_usec", cpu?.usageUsec);
  usec("user_usec", cpu?.userUsec);
  usec("system_usec", cpu?.systemUsec);
  usec("throttled_usec", cpu?.throttledUsec);
  out.add("container_cpu_nr_periods_total", "Current cpu cgroup periods", labels, cpu?.nrPeriods);
  out.add(
    "container_cpu_nr_throttled_total",
    "Periods in which the cgroup was throttled",
    labels,
    cpu?.nrThrottled,
  );
  for (const [name, field] of Object.entries(MEMORY_V2))
    out.add(`container_memory_${name}_bytes`, `The ${name} amount`, labels, memory?.[field]);
  out.add("container_memory_oom_total", "Times the container ran out of memory", labels, m.memoryEvents?.oom);
  addPids(out, m.pids, labels);
  for (const e of m.io?.usage ?? []) {
    const l = { ...labels, major: String(e.major), minor: String(e.minor) };
    out.add("container_io_rbytes_bytes", "IO bytes read", l, e.rbytes);
    out.add("container_io_wbytes_bytes", "IO bytes written", l, e.wbytes);
    out.add("container_io_rios_total", "Number of read IOs", l, e.rios);
    out.add("container_io_wios_total", "Number of write IOs", l, e.wios);
  }
}

function addPids(
  out: Families,
  pids: { readonly limit: bigint; readonly current: bigint } | undefined,
  labels: MetricLabels,
): void {
  out.add("container_pids_limit", "The limit to the number of pids allowed", labels, pids?.limit);
  out.add("container_pids_current", "The current number of pids", labels, pids?.current);
}
