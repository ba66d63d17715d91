/** The metrics of {@link ./descriptors.ts} for a pod and its containers. */
import { readdirSync, readFileSync, readlinkSync, statfsSync } from "node:fs";
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { MetricSchema, PodSandboxMetricsSchema } from "../../api/gen/cri/runtime/v1/api_pb.ts";
import { nowNs } from "../../lib/time.ts";
import type { PressureLine } from "../../platform/cgroups/stats.ts";
import type { Container, CriView, Pod } from "../model.ts";
import { type Descriptor, M } from "./descriptors.ts";
import type { Stats } from "./stats.ts";
import type { Use } from "./usage.ts";
import type { LayerUse } from "./writable.ts";

type MetricInit = MessageInitShape<typeof MetricSchema>;
export type PodMetricsInit = MessageInitShape<typeof PodSandboxMetricsSchema>;

/** Processes of one container whose open files are counted. */
const PROCESSES_MAX = 256;
const SECOND = 1_000_000_000n;

/** What metrics are made from. */
export interface MetricsDeps {
  readonly view: CriView;
  readonly stats: Stats;
  mountpoint(snapshotter: string): string;
}

/** Metrics of every pod that is ready. */
export async function* podMetrics(deps: MetricsDeps): AsyncGenerator<PodMetricsInit, void, undefined> {
  for (const pod of deps.view.pods()) {
    if (pod.state !== "ready") continue;
    const containers = deps.view.containers(pod.id).filter((each) => each.state === "running");
    const layers = await deps.stats.layers.of(containers);
    const sandbox = new Rows(pod.id, "POD", "", pod);
    network(sandbox, deps, pod);
    const all: { containerId: string; metrics: MetricInit[] }[] = [];
    for (const container of containers) {
      const use = await deps.stats.use(container);
      if (use === undefined) continue;
      const rows = new Rows(container.id, container.config.metadata?.name ?? "", imageOf(container), pod);
      usage(rows, use);
      pressure(rows, use);
      processes(rows, deps.stats.pids(container), container.pid, use);
      disk(rows, deps.mountpoint(container.snapshotter), layers.get(container.id));
      limits(rows, container);
      all.push({ containerId: container.id, metrics: rows.rows });
      await new Promise((resolve) => setImmediate(resolve));
    }
    yield { podSandboxId: pod.id, metrics: sandbox.rows, containerMetrics: all };
  }
}

/** Metrics of one pod or container with their common labels. */
class Rows {
  readonly rows: MetricInit[] = [];
  readonly #labels: readonly string[];
  readonly #timestamp = nowNs();

  constructor(id: string, name: string, image: string, pod: Pod) {
    const { metadata } = pod.config;
    this.#labels = [id, name, image, name, metadata?.name ?? "", metadata?.namespace ?? ""];
  }

  add(descriptor: Descriptor, value: bigint, ...labels: string[]): void {
    this.rows.push({
      name: descriptor.name,
      timestamp: this.#timestamp,
      metricType: descriptor.type,
      labelValues: [...this.#labels, ...labels],
      value: { value: value < 0n ? 0n : value },
    });
  }

  seconds(descriptor: Descriptor, ns: bigint, ...labels: string[]): void {
    this.add(descriptor, ns / SECOND, ...labels);
  }
}

function imageOf(container: Container): string {
  const { image } = container.config;
  return image?.userSpecifiedImage || image?.image || container.imageRef;
}

function network(rows: Rows, deps: MetricsDeps, pod: Pod): void {
  for (const each of deps.stats.interfaces(pod)) {
    rows.add(M.rxBytes, each.rxBytes, each.name);
    rows.add(M.rxErrors, each.rxErrors, each.name);
    rows.add(M.rxDropped, each.rxDropped, each.name);
    rows.add(M.rxPackets, each.rxPackets, each.name);
    rows.add(M.txBytes, each.txBytes, each.name);
    rows.add(M.txErrors, each.txErrors, each.name);
    rows.add(M.txDropped, each.txDropped, each.name);
    rows.add(M.txPackets, each.txPackets, each.name);
  }
}

function usage(rows: Rows, use: Use): void {
  const { cpu, memory } = use;
  if (cpu !== undefined) {
    rows.seconds(M.cpuUsage, cpu.totalNs, "total");
    rows.seconds(M.cpuUser, cpu.userNs);
    rows.seconds(M.cpuSystem, cpu.systemNs);
    rows.add(M.cfsPeriods, cpu.periods);
    rows.add(M.cfsThrottled, cpu.throttledPeriods);
    rows.seconds(M.cfsThrottledSeconds, cpu.throttledNs);
  }
  if (memory !== undefined) {
    rows.add(M.memoryCache, memory.cache);
    rows.add(M.memoryRss, memory.rss);
    rows.add(M.memoryKernel, memory.kernel);
    rows.add(M.memoryMapped, memory.mapped);
    rows.add(M.memorySwap, memory.swap);
    rows.add(M.memoryFailcnt, memory.failcnt);
    rows.add(M.memoryUsage, memory.usage);
    rows.add(M.memoryMax, memory.peak);
    rows.add(M.memoryWorkingSet, memory.workingSet);
    rows.add(M.memoryFailures, memory.pageFaults, "pgfault", "container");
    rows.add(M.memoryFailures, memory.majorPageFaults, "pgmajfault", "container");
    rows.add(M.oomEvents, memory.oomKills);
  }
  for (const each of use.io) {
    const device = `${each.major}:${each.minor}`;
    rows.add(M.readBytes, each.readBytes, device);
    rows.add(M.reads, each.readOps, device);
    rows.add(M.writeBytes, each.writeBytes, device);
    rows.add(M.writes, each.writeOps, device);
    const where = [device, `${each.major}`, `${each.minor}`];
    rows.add(M.blkio, each.readBytes, ...where, "Read");
    rows.add(M.blkio, each.writeBytes, ...where, "Write");
  }
  for (const each of use.hugetlb) {
    rows.add(M.hugetlbUsage, each.usage, each.pageSize);
    if (each.peak !== undefined) rows.add(M.hugetlbMax, each.peak, each.pageSize);
  }
}

function pressure(rows: Rows, use: Use): void {
  // the kernel counts microseconds
  const line = (descriptor: Descriptor, each: PressureLine | undefined): void => {
    if (each !== undefined) rows.seconds(descriptor, each.total * 1000n);
  };
  line(M.cpuWaiting, use.cpu?.pressure?.some);
  line(M.cpuStalled, use.cpu?.pressure?.full);
  line(M.memoryWaiting, use.memory?.pressure?.some);
  line(M.memoryStalled, use.memory?.pressure?.full);
  line(M.ioWaiting, use.ioPressure?.some);
  line(M.ioStalled, use.ioPressure?.full);
}

function processes(rows: Rows, pids: readonly number[], init: number, use: Use): void {
  let files = 0n;
  let sockets = 0n;
  for (const pid of pids.slice(0, PROCESSES_MAX)) {
    const open = openFiles(pid);
    files += open.files;
    sockets += open.sockets;
  }
  rows.add(M.processes, BigInt(pids.length));
  rows.add(M.threads, use.threads?.current ?? BigInt(pids.reduce((sum, pid) => sum + threadsOf(pid), 0)));
  rows.add(M.threadsMax, use.threads?.limit ?? 0n);
  rows.add(M.files, files);
  rows.add(M.sockets, sockets);
  const limit = openFilesLimit(init);
  if (limit !== undefined) rows.add(M.ulimits, limit, "max_open_files");
}

function threadsOf(pid: number): number {
  try {
    return readdirSync(`/proc/${pid}/task`).length;
  } catch {
    return 0;
  }
}

function openFiles(pid: number): { files: bigint; sockets: bigint } {
  let files = 0n;
  let sockets = 0n;
  try {
    for (const name of readdirSync(`/proc/${pid}/fd`)) {
      files += 1n;
      if (isSocket(`/proc/${pid}/fd/${name}`)) sockets += 1n;
    }
  } catch {
    // the process is gone
  }
  return { files, sockets };
}

function isSocket(link: string): boolean {
  try {
    return readlinkSync(link).startsWith("socket:");
  } catch {
    return false;
  }
}

function openFilesLimit(pid: number): bigint | undefined {
  try {
    const soft = /^Max open files\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/limits`, "utf8"))?.[1];
    return soft === undefined ? undefined : BigInt(soft);
  } catch {
    return undefined;
  }
}

function disk(rows: Rows, mountpoint: string, layer: LayerUse | undefined): void {
  try {
    const fs = statfsSync(mountpoint, { bigint: true });
    rows.add(M.inodesFree, fs.ffree, mountpoint);
    rows.add(M.inodesTotal, fs.files, mountpoint);
    rows.add(M.fsLimit, fs.blocks * fs.bsize, mountpoint);
  } catch {
    // the snapshotter keeps its files elsewhere
  }
  rows.add(M.fsUsage, layer?.size ?? 0n, mountpoint);
}

function limits(rows: Rows, container: Container): void {
  const resources = container.config.linux?.resources;
  rows.add(M.specPeriod, resources?.cpuPeriod ?? 0n);
  if ((resources?.cpuQuota ?? 0n) > 0n) rows.add(M.specQuota, resources?.cpuQuota ?? 0n);
  rows.add(M.specShares, resources?.cpuShares ?? 0n);
  rows.add(M.specMemory, resources?.memoryLimitInBytes ?? 0n);
  rows.add(M.specReservation, 0n);
  rows.add(M.specSwap, resources?.memorySwapLimitInBytes ?? 0n);
  rows.add(M.startTime, (container.startedAt ?? container.createdAt) / SECOND);
  rows.add(M.lastSeen, nowNs() / SECOND);
}
