/** Statistics of containers and pods as CRI shows them. */
import type { MessageInitShape } from "@bufbuild/protobuf";
import type {
  ContainerStatsSchema,
  CpuUsageSchema,
  IoUsageSchema,
  LinuxPodSandboxStatsSchema,
  MemoryUsageSchema,
  NetworkInterfaceUsageSchema,
  PodSandboxStatsSchema,
  PsiStatsSchema,
  SwapUsageSchema,
} from "../../api/gen/cri/runtime/v1/api_pb.ts";
import type { Logger } from "../../core/log.ts";
import type { Snapshotter } from "../../core/snapshots/snapshotter.ts";
import type { TaskService } from "../../core/tasks/tasks.ts";
import { nowNs } from "../../lib/time.ts";
import type { Pressure, PressureLine } from "../../platform/cgroups/stats.ts";
import type { Container, CriView, Pod } from "../model.ts";
import { KnownCgroups } from "./cgroups.ts";
import { CpuRates } from "./cpu-rate.ts";
import { type InterfaceUse, interfacesOf, mainInterface } from "./network.ts";
import { sumUse } from "./sum.ts";
import { toUse, type Use } from "./usage.ts";
import { type LayerUse, WritableLayers } from "./writable.ts";

export type ContainerStatsInit = MessageInitShape<typeof ContainerStatsSchema>;
export type PodStatsInit = MessageInitShape<typeof PodSandboxStatsSchema>;

/** What statistics are made from. */
export interface StatsDeps {
  readonly view: CriView;
  readonly tasks: TaskService;
  snapshotter(name: string): Snapshotter;
  /** Folder of a snapshotter: the id of its file system. */
  mountpoint(snapshotter: string): string;
  /** How often processor time is sampled, and how long after the last question. Milliseconds. */
  readonly periodMs: number;
  readonly retentionMs: number;
  /** How often writable layers are measured, milliseconds. */
  readonly layerPeriodMs: number;
  readonly log: Logger;
}

/** Shims whose containers are in the cgroup of their process here. Others are asked. */
const HERE = "io.containerd.runc.v2";
/** Containers read without letting others run in between. */
const SLICE = 16;

/** See the file's comment. Samples are taken while somebody asks, and for `retentionMs` after. */
export class Stats {
  readonly layers: WritableLayers;
  readonly #deps: StatsDeps;
  readonly #rates = new CpuRates();
  readonly #cgroups = new KnownCgroups();
  #asked = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(deps: StatsDeps) {
    this.#deps = deps;
    this.layers = new WritableLayers(
      deps.view.call,
      (name) => deps.snapshotter(name),
      deps.layerPeriodMs,
      deps.log,
    );
  }

  /** @throws not-found */
  async container(id: string): Promise<ContainerStatsInit> {
    const [stats] = await this.containers([this.#deps.view.container(id)]);
    return stats ?? {};
  }

  /** Statistics of every given container; those that do not run have attributes and their layer only. */
  async containers(containers: readonly Container[]): Promise<ContainerStatsInit[]> {
    this.#ask();
    const layers = await this.layers.of(containers);
    const all: ContainerStatsInit[] = [];
    for (const [index, container] of containers.entries()) {
      if (index % SLICE === SLICE - 1) await nextTurn();
      all.push(this.#shape(container, await this.use(container, true), layers.get(container.id)));
    }
    return all;
  }

  /** @throws not-found */
  async pod(id: string): Promise<PodStatsInit> {
    return this.#pod(this.#deps.view.pod(id));
  }

  async pods(pods: readonly Pod[]): Promise<PodStatsInit[]> {
    this.#ask();
    const all: PodStatsInit[] = [];
    for (const pod of pods) all.push(await this.#pod(pod));
    return all;
  }

  /** What a running container uses; undefined when it does not run. */
  async use(container: Container, brief = false): Promise<Use | undefined> {
    if (container.state !== "running") return undefined;
    if (this.#runtime(container) === HERE) {
      const stats = this.#cgroups.of(container.id, container.pid)?.stats(brief);
      return stats === undefined ? undefined : toUse(stats);
    }
    const { metricsOf } = await import("./task-metrics.ts");
    const stats = await metricsOf(this.#deps, container.id);
    return stats === undefined ? undefined : toUse(stats);
  }

  /** What a pod uses altogether: its own cgroup when it has one, else the sum of its containers. */
  async podUse(pod: Pod, brief = false): Promise<Use | undefined> {
    const cgroup = this.#podCgroup(pod);
    const stats = cgroup?.exists() === true ? cgroup.stats(brief) : undefined;
    if (stats !== undefined) return toUse(stats);
    const uses: Use[] = [];
    const own = this.#cgroups.of(pod.id, pod.pid)?.stats(brief);
    if (own !== undefined) uses.push(toUse(own));
    for (const container of this.#deps.view.containers(pod.id)) {
      const use = await this.use(container, brief);
      if (use !== undefined) uses.push(use);
    }
    return uses.length === 0 ? undefined : sumUse(uses);
  }

  /** Interfaces of a pod with a network of its own; empty for the host's. */
  interfaces(pod: Pod): InterfaceUse[] {
    if (pod.netnsPath === "") return [];
    const pid =
      pod.pid > 0
        ? pod.pid
        : this.#deps.view.containers(pod.id).find((each) => each.state === "running")?.pid;
    return pid === undefined ? [] : interfacesOf(pid);
  }

  /** Pids of a container that runs here. */
  pids(container: Container): number[] {
    return container.state === "running"
      ? (this.#cgroups.of(container.id, container.pid)?.procs() ?? [])
      : [];
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#asked = Number.NEGATIVE_INFINITY;
  }

  async #pod(pod: Pod): Promise<PodStatsInit> {
    this.#ask();
    const { metadata, labels, annotations } = pod.config;
    const attributes = { id: pod.id, ...(metadata === undefined ? {} : { metadata }), labels, annotations };
    if (pod.state !== "ready") return { attributes };
    const containers = this.#deps.view.containers(pod.id);
    const timestamp = nowNs();
    const use = await this.podUse(pod, true);
    const linux: MessageInitShape<typeof LinuxPodSandboxStatsSchema> = {
      ...(use === undefined ? {} : this.#common(pod.id, use, timestamp, pod.createdAt)),
      process: { timestamp, processCount: { value: BigInt(this.#processes(pod, containers)) } },
      containers: await this.containers(containers.filter((each) => each.state === "running")),
    };
    const interfaces = this.interfaces(pod);
    const main = mainInterface(interfaces);
    if (main !== undefined) {
      linux.network = {
        timestamp,
        defaultInterface: toInterface(main),
        interfaces: interfaces.filter((each) => each !== main).map(toInterface),
      };
    }
    return { attributes, linux };
  }

  #processes(pod: Pod, containers: readonly Container[]): number {
    const cgroup = this.#podCgroup(pod);
    if (cgroup?.exists() === true) return cgroup.procs().length;
    const own = this.#cgroups.of(pod.id, pod.pid)?.procs().length ?? 0;
    return containers.reduce((sum, each) => sum + this.pids(each).length, own);
  }

  /** The cgroup that the kubelet made for the pod. */
  #podCgroup(pod: Pod) {
    const parent = pod.config.linux?.cgroupParent ?? "";
    if (parent === "" || parent === "/" || pod.runtime.name !== HERE) return undefined;
    if (pod.pid > 0) return this.#cgroups.above(pod.id, pod.pid);
    const running = this.#deps.view.containers(pod.id).find((each) => each.state === "running");
    return running === undefined ? undefined : this.#cgroups.above(running.id, running.pid);
  }

  #runtime(container: Container): string {
    try {
      return this.#deps.view.pod(container.podId).runtime.name;
    } catch {
      return HERE;
    }
  }

  #shape(container: Container, use: Use | undefined, layer: LayerUse | undefined): ContainerStatsInit {
    const { metadata, labels, annotations } = container.config;
    const timestamp = nowNs();
    return {
      attributes: { id: container.id, ...(metadata === undefined ? {} : { metadata }), labels, annotations },
      ...(use === undefined
        ? {}
        : {
            ...this.#common(container.id, use, timestamp, container.startedAt),
            ...(use.memory === undefined ? {} : { swap: toSwap(use.memory, timestamp) }),
          }),
      writableLayer: {
        timestamp: layer?.at ?? timestamp,
        fsId: { mountpoint: this.#deps.mountpoint(container.snapshotter) },
        usedBytes: { value: layer?.size ?? 0n },
        inodesUsed: { value: layer?.inodes ?? 0n },
      },
    };
  }

  #common(
    id: string,
    use: Use,
    timestamp: bigint,
    since: bigint | undefined,
  ): {
    cpu?: MessageInitShape<typeof CpuUsageSchema>;
    memory?: MessageInitShape<typeof MemoryUsageSchema>;
    io?: MessageInitShape<typeof IoUsageSchema>;
  } {
    const { cpu, memory, ioPressure } = use;
    return {
      ...(cpu === undefined
        ? {}
        : {
            cpu: {
              timestamp,
              usageCoreNanoSeconds: { value: cpu.totalNs },
              usageNanoCores: {
                value: this.#rates.sample(id, cpu.totalNs) ?? average(cpu.totalNs, since, timestamp),
              },
              ...toPsi(cpu.pressure),
            },
          }),
      ...(memory === undefined
        ? {}
        : {
            memory: {
              timestamp,
              workingSetBytes: { value: memory.workingSet },
              ...(memory.available === undefined ? {} : { availableBytes: { value: memory.available } }),
              usageBytes: { value: memory.usage },
              rssBytes: { value: memory.rss },
              pageFaults: { value: memory.pageFaults },
              majorPageFaults: { value: memory.majorPageFaults },
              ...toPsi(memory.pressure),
            },
          }),
      ...(ioPressure === undefined ? {} : { io: { timestamp, ...toPsi(ioPressure) } }),
    };
  }

  /** Somebody looks: samples are taken for a while. */
  #ask(): void {
    this.#asked = performance.now();
    if (this.#timer !== undefined) return;
    const next = (): void => {
      this.#timer = setTimeout(() => {
        void this.#collect().finally(() => {
          if (performance.now() - this.#asked < this.#deps.retentionMs) next();
          else {
            this.#timer = undefined;
            this.#rates.clear();
          }
        });
      }, this.#deps.periodMs);
      this.#timer.unref();
    };
    next();
  }

  async #collect(): Promise<void> {
    const { view } = this.#deps;
    const containers = view.containers();
    const pods = view.pods();
    const ids = new Set<string>();
    for (const [index, container] of containers.entries()) {
      ids.add(container.id);
      if (container.state !== "running" || this.#runtime(container) !== HERE) continue;
      if (index % SLICE === SLICE - 1) await nextTurn();
      this.#sample(container.id, this.#cgroups.of(container.id, container.pid)?.cpuNs());
    }
    for (const pod of pods) {
      ids.add(pod.id);
      if (pod.state === "ready") this.#sample(pod.id, this.#podCgroup(pod)?.cpuNs());
    }
    this.#rates.keep(ids);
    this.#cgroups.keep(ids);
    this.layers.refresh(containers);
  }

  #sample(id: string, ns: bigint | undefined): void {
    if (ns !== undefined) this.#rates.sample(id, ns);
  }
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** Before there are two samples: the average over its life. */
function average(totalNs: bigint, since: bigint | undefined, now: bigint): bigint {
  const life = since === undefined ? 0n : now - since;
  return life <= 0n ? 0n : (totalNs * 1_000_000_000n) / life;
}

function toSwap(
  memory: NonNullable<Use["memory"]>,
  timestamp: bigint,
): MessageInitShape<typeof SwapUsageSchema> {
  return {
    timestamp,
    swapUsageBytes: { value: memory.swap },
    ...(memory.swapAvailable === undefined ? {} : { swapAvailableBytes: { value: memory.swapAvailable } }),
  };
}

function toInterface(each: InterfaceUse): MessageInitShape<typeof NetworkInterfaceUsageSchema> {
  return {
    name: each.name,
    rxBytes: { value: each.rxBytes },
    rxErrors: { value: each.rxErrors },
    txBytes: { value: each.txBytes },
    txErrors: { value: each.txErrors },
  };
}

function toPsi(pressure: Pressure | undefined): { psi?: MessageInitShape<typeof PsiStatsSchema> } {
  if (pressure === undefined) return {};
  // the kernel counts microseconds, CRI nanoseconds
  const line = (each: PressureLine) => ({
    Total: each.total * 1000n,
    Avg10: each.avg10,
    Avg60: each.avg60,
    Avg300: each.avg300,
  });
  return {
    psi: {
      ...(pressure.full === undefined ? {} : { Full: line(pressure.full) }),
      ...(pressure.some === undefined ? {} : { Some: line(pressure.some) }),
    },
  };
}
