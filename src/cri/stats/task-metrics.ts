/** Statistics of containers that are not in a cgroup here (machines, sandboxes of other kinds): what their shim says. */
import { fromBinary } from "@bufbuild/protobuf";
import {
  type Metrics as V1,
  MetricsSchema as V1Schema,
} from "../../api/gen/containerd/cgroups/v1/metrics_pb.ts";
import {
  type Metrics as V2,
  MetricsSchema as V2Schema,
} from "../../api/gen/containerd/cgroups/v2/metrics_pb.ts";
import type { TaskService } from "../../core/tasks/tasks.ts";
import type { CgroupStats, Pressure, V1Stats, V2Stats } from "../../platform/cgroups/stats.ts";
import type { CriView } from "../model.ts";

/** Metrics of one task; undefined when its shim has none, or of a kind that is not known. */
export async function metricsOf(
  deps: { readonly view: CriView; readonly tasks: TaskService },
  id: string,
): Promise<CgroupStats | undefined> {
  const call = deps.view.call.within(2_000);
  const [metric] = await deps.tasks.metrics(call, [`id==${id}`]).catch(() => []);
  const data = metric?.data;
  if (data === undefined) return undefined;
  const type = data.typeUrl.slice(data.typeUrl.lastIndexOf("/") + 1);
  if (type === V1Schema.typeName) return fromV1(fromBinary(V1Schema, data.value));
  if (type === V2Schema.typeName) return fromV2(fromBinary(V2Schema, data.value));
  return undefined;
}

function fromV1(m: V1): V1Stats {
  const { cpu, memory, pids } = m;
  const none = { usage: 0n, max: 0n, failcnt: 0n, limit: 0n };
  return {
    version: 1,
    cpu: cpu && {
      totalNs: cpu.usage?.total ?? 0n,
      userNs: cpu.usage?.user ?? 0n,
      kernelNs: cpu.usage?.kernel ?? 0n,
      perCpuNs: cpu.usage?.perCpu ?? [],
      periods: cpu.throttling?.periods ?? 0n,
      throttledPeriods: cpu.throttling?.throttledPeriods ?? 0n,
      throttledNs: cpu.throttling?.throttledTime ?? 0n,
    },
    memory: memory && {
      usage: memory.usage ?? none,
      swap: memory.swap,
      kernel: memory.kernel,
      kernelTcp: memory.kernelTcp,
      stat: new Map([
        ["total_inactive_file", memory.totalInactiveFile],
        ["total_rss", memory.totalRss],
        ["total_cache", memory.totalCache],
        ["total_mapped_file", memory.totalMappedFile],
        ["total_pgfault", memory.totalPgFault],
        ["total_pgmajfault", memory.totalPgMajFault],
      ]),
      oom: new Map([["oom_kill", m.memoryOomControl?.oomKill ?? 0n]]),
    },
    pids: pids && { current: pids.current, limit: pids.limit },
    blkio: m.blkio && {
      ioServiceBytesRecursive: m.blkio.ioServiceBytesRecursive.map(device),
      ioServicedRecursive: m.blkio.ioServicedRecursive.map(device),
      ioQueuedRecursive: [],
      ioServiceTimeRecursive: [],
      ioWaitTimeRecursive: [],
      ioMergedRecursive: [],
      ioTimeRecursive: [],
      sectorsRecursive: [],
    },
    hugetlb: m.hugetlb.map((each) => ({
      pageSize: each.pagesize,
      usage: each.usage,
      max: each.max,
      failcnt: each.failcnt,
    })),
    rdma: undefined,
  };
}

function device(each: { major: bigint; minor: bigint; op: string; value: bigint }) {
  return { major: Number(each.major), minor: Number(each.minor), op: each.op, value: each.value };
}

function fromV2(m: V2): V2Stats {
  const { cpu, memory, pids, io } = m;
  return {
    version: 2,
    cpu:
      cpu &&
      new Map([
        ["usage_usec", cpu.usageUsec],
        ["user_usec", cpu.userUsec],
        ["system_usec", cpu.systemUsec],
        ["nr_periods", cpu.nrPeriods],
        ["nr_throttled", cpu.nrThrottled],
        ["throttled_usec", cpu.throttledUsec],
      ]),
    cpuPressure: pressure(cpu?.psi),
    memory: memory && {
      usage: memory.usage,
      limit: memory.usageLimit,
      peak: memory.maxUsage,
      swapUsage: memory.swapUsage,
      swapLimit: memory.swapLimit,
      stat: new Map([
        ["anon", memory.anon],
        ["file", memory.file],
        ["file_mapped", memory.fileMapped],
        ["inactive_file", memory.inactiveFile],
        ["kernel_stack", memory.kernelStack],
        ["slab", memory.slab],
        ["pgfault", memory.pgfault],
        ["pgmajfault", memory.pgmajfault],
      ]),
      events: new Map([
        ["max", m.memoryEvents?.max ?? 0n],
        ["oom_kill", m.memoryEvents?.oomKill ?? 0n],
      ]),
      pressure: pressure(memory.psi),
    },
    pids: pids && { current: pids.current, limit: pids.limit },
    io: io?.usage.map((each) => ({
      major: Number(each.major),
      minor: Number(each.minor),
      readBytes: each.rbytes,
      writeBytes: each.wbytes,
      readOps: each.rios,
      writeOps: each.wios,
    })),
    ioPressure: pressure(io?.psi),
    hugetlb: m.hugetlb.map((each) => ({
      pageSize: each.pagesize,
      usage: each.current,
      max: each.max,
      failcnt: each.failcnt,
    })),
    rdma: undefined,
  };
}

type Line = { avg10: number; avg60: number; avg300: number; total: bigint };

function pressure(
  psi: { some?: Line | undefined; full?: Line | undefined } | undefined,
): Pressure | undefined {
  return psi && { some: psi.some, full: psi.full };
}
