/** The metrics of pods and containers: names, texts, labels (names as the kubelet's own collector gives them). */

/** Labels that every metric has. */
export const BASE_LABELS = ["id", "name", "image", "container", "pod", "namespace"] as const;

/** MetricType of CRI. */
export const COUNTER = 0;
export const GAUGE = 1;

/** One metric. */
export interface Descriptor {
  readonly name: string;
  readonly help: string;
  readonly type: typeof COUNTER | typeof GAUGE;
  /** Labels besides {@link BASE_LABELS}. */
  readonly labels: readonly string[];
}

const all: Descriptor[] = [];

function counter(name: string, help: string, ...labels: string[]): Descriptor {
  return add({ name: `container_${name}`, help, type: COUNTER, labels });
}

function gauge(name: string, help: string, ...labels: string[]): Descriptor {
  return add({ name: `container_${name}`, help, type: GAUGE, labels });
}

function add(descriptor: Descriptor): Descriptor {
  all.push(descriptor);
  return descriptor;
}

export const M = {
  // cpu
  cpuUsage: counter("cpu_usage_seconds_total", "Processor time used, seconds.", "cpu"),
  cpuUser: counter("cpu_user_seconds_total", "Processor time used in user mode, seconds."),
  cpuSystem: counter("cpu_system_seconds_total", "Processor time used in the kernel, seconds."),
  cfsPeriods: counter("cpu_cfs_periods_total", "Enforcement periods that have passed."),
  cfsThrottled: counter(
    "cpu_cfs_throttled_periods_total",
    "Enforcement periods in which the container was held back.",
  ),
  cfsThrottledSeconds: counter(
    "cpu_cfs_throttled_seconds_total",
    "Time for which the container was held back, seconds.",
  ),
  // memory
  memoryCache: gauge("memory_cache", "Page cache, bytes."),
  memoryRss: gauge("memory_rss", "Anonymous memory, bytes."),
  memoryKernel: gauge("memory_kernel_usage", "Kernel memory, bytes."),
  memoryMapped: gauge("memory_mapped_file", "Mapped files, bytes."),
  memorySwap: gauge("memory_swap", "Swap in use, bytes."),
  memoryFailcnt: counter("memory_failcnt", "Times the limit was hit."),
  memoryUsage: gauge("memory_usage_bytes", "All memory in use, whenever it was touched last, bytes."),
  memoryMax: gauge("memory_max_usage_bytes", "Most memory ever in use, bytes."),
  memoryWorkingSet: gauge("memory_working_set_bytes", "Memory that cannot be dropped easily, bytes."),
  memoryFailures: counter("memory_failures_total", "Page faults.", "failure_type", "scope"),
  // network, of the pod
  rxBytes: counter("network_receive_bytes_total", "Bytes received.", "interface"),
  rxErrors: counter("network_receive_errors_total", "Errors while receiving.", "interface"),
  rxDropped: counter(
    "network_receive_packets_dropped_total",
    "Packets dropped while receiving.",
    "interface",
  ),
  rxPackets: counter("network_receive_packets_total", "Packets received.", "interface"),
  txBytes: counter("network_transmit_bytes_total", "Bytes sent.", "interface"),
  txErrors: counter("network_transmit_errors_total", "Errors while sending.", "interface"),
  txDropped: counter("network_transmit_packets_dropped_total", "Packets dropped while sending.", "interface"),
  txPackets: counter("network_transmit_packets_total", "Packets sent.", "interface"),
  // disk
  inodesFree: gauge("fs_inodes_free", "Inodes that are free.", "device"),
  inodesTotal: gauge("fs_inodes_total", "Inodes there are.", "device"),
  fsLimit: gauge("fs_limit_bytes", "Bytes the container's file system could hold.", "device"),
  fsUsage: gauge("fs_usage_bytes", "Bytes of the container's writable layer.", "device"),
  // diskIO
  readBytes: counter("fs_reads_bytes_total", "Bytes read.", "device"),
  reads: counter("fs_reads_total", "Reads done.", "device"),
  writeBytes: counter("fs_writes_bytes_total", "Bytes written.", "device"),
  writes: counter("fs_writes_total", "Writes done.", "device"),
  blkio: counter(
    "blkio_device_usage_total",
    "Bytes moved by block devices.",
    "device",
    "major",
    "minor",
    "operation",
  ),
  // process
  processes: gauge("processes", "Processes running."),
  threads: gauge("threads", "Threads running."),
  threadsMax: gauge("threads_max", "Most threads allowed; 0 = no limit."),
  files: gauge("file_descriptors", "Open file descriptors."),
  sockets: gauge("sockets", "Open sockets."),
  ulimits: gauge("ulimits_soft", "Soft limits of the first process.", "ulimit"),
  // misc
  lastSeen: gauge("last_seen", "When the container was seen last, seconds since the epoch."),
  startTime: gauge("start_time_seconds", "When the container was started, seconds since the epoch."),
  oomEvents: counter("oom_events_total", "Processes killed for want of memory."),
  hugetlbUsage: gauge("hugetlb_usage_bytes", "Huge pages in use, bytes.", "pagesize"),
  hugetlbMax: gauge("hugetlb_max_usage_bytes", "Most huge pages ever in use, bytes.", "pagesize"),
  // spec
  specPeriod: gauge("spec_cpu_period", "Enforcement period, microseconds."),
  specQuota: gauge("spec_cpu_quota", "Processor time allowed in a period, microseconds."),
  specShares: gauge("spec_cpu_shares", "Share of the processors."),
  specMemory: gauge("spec_memory_limit_bytes", "Memory limit, bytes; 0 = none."),
  specReservation: gauge("spec_memory_reservation_limit_bytes", "Memory reservation, bytes; 0 = none."),
  specSwap: gauge("spec_memory_swap_limit_bytes", "Limit of memory and swap, bytes; 0 = none."),
  // pressure
  cpuWaiting: counter(
    "pressure_cpu_waiting_seconds_total",
    "Time in which some task waited for a processor.",
  ),
  cpuStalled: counter("pressure_cpu_stalled_seconds_total", "Time in which no task got a processor."),
  memoryWaiting: counter(
    "pressure_memory_waiting_seconds_total",
    "Time in which some task waited for memory.",
  ),
  memoryStalled: counter(
    "pressure_memory_stalled_seconds_total",
    "Time in which every task waited for memory.",
  ),
  ioWaiting: counter("pressure_io_waiting_seconds_total", "Time in which some task waited for a disk."),
  ioStalled: counter("pressure_io_stalled_seconds_total", "Time in which every task waited for a disk."),
} as const;

/** Every metric there is. */
export const DESCRIPTORS: readonly Descriptor[] = all;
