/** What the status page and `gantry status` show: read from the daemon's own services, never from the network. */
import { fromBinary } from "@bufbuild/protobuf";
import type { Call, NamespacedCall } from "../../core/call.ts";
import { parseNamespace } from "../../core/ids/namespace.ts";
import type { Introspection } from "../../core/introspection/introspection.ts";
import type { MetadataStore } from "../../core/plugin/kinds.ts";
import type { DaemonFacts } from "../../core/plugin/plugin.ts";
import type { TaskService } from "../../core/tasks/tasks.ts";
import type { RpcMetrics } from "../../rpc/interceptors/metrics.ts";

/** A container on the page. */
export interface ContainerRow {
  readonly id: string;
  readonly image: string;
  /** running, stopped, paused, ...; "none" without a task. */
  readonly status: string;
  readonly pid: number;
  readonly createdAt: string;
  /** Pod that Kubernetes' labels name: `namespace/name`; "" for none. */
  readonly pod: string;
  /** Name that Kubernetes' labels or ours give; "" for none. */
  readonly name: string;
  /** Nanoseconds of CPU since its start, as text; bytes of memory. Absent without a task. */
  readonly cpuNs?: string | undefined;
  readonly memory?: number | undefined;
}

/** Everything. */
export interface Status {
  readonly daemon: {
    readonly version: string;
    readonly pid: number;
    readonly uptimeSeconds: number;
    readonly residentBytes: number;
    readonly root: string;
    readonly ready: boolean;
  };
  /** Plugins that did not start, with the reason. */
  readonly failed: readonly { readonly plugin: string; readonly error: string }[];
  readonly namespaces: readonly {
    readonly name: string;
    readonly containers: readonly ContainerRow[];
    readonly images: readonly { readonly name: string; readonly digest: string; readonly pinned: boolean }[];
    /** Blobs that arrive now. */
    readonly transfers: readonly {
      readonly ref: string;
      readonly done: number;
      readonly total: number;
      readonly since: string;
    }[];
    readonly contentBytes: number;
  }[];
  /** Calls that run now, oldest first; long unary ones are stuck. */
  readonly calls: readonly {
    readonly method: string;
    readonly namespace: string;
    readonly seconds: number;
    readonly streaming: boolean;
  }[];
}

/** Sources. */
export interface StatusSources {
  readonly daemon: DaemonFacts;
  readonly introspection: Introspection;
  readonly metadata: MetadataStore;
  readonly tasks: TaskService;
  readonly rpc: RpcMetrics;
}

/** Sizes of content are summed at most this often. Milliseconds. */
const SIZES_MS = 10_000;
const PINNED = "io.cri-containerd.pinned";

/** Makes the reader. Sizes are kept for a while between calls. */
export function statusReader(from: StatusSources): (call: Call) => Promise<Status> {
  const sizes = new Map<string, { at: number; bytes: number }>();
  const contentBytes = async (call: NamespacedCall, name: string): Promise<number> => {
    const known = sizes.get(name);
    if (known !== undefined && performance.now() - known.at < SIZES_MS) return known.bytes;
    let bytes = 0;
    for await (const info of from.metadata.content.walk(call, [])) bytes += Number(info.size);
    sizes.set(name, { at: performance.now(), bytes });
    return bytes;
  };
  return async (call) => {
    const plugins = await from.introspection.plugins(call, []);
    const failed = plugins.filter((p) => p.state === "error");
    const namespaces = await Promise.all(
      (await from.metadata.namespaces.list(call)).map(async ({ name }) => {
        const inside = call.in(parseNamespace(name));
        return {
          name,
          containers: await containerRows(inside, from),
          images: (await from.metadata.images.list(inside, [])).map((i) => ({
            name: i.name,
            digest: i.target.digest,
            pinned: i.labels.get(PINNED) === "pinned",
          })),
          transfers: (await from.metadata.content.statuses(inside, [])).map((s) => ({
            ref: s.ref,
            done: Number(s.offset),
            total: Number(s.total),
            since: isoTime(s.startedAt),
          })),
          contentBytes: await contentBytes(inside, name),
        };
      }),
    );
    return {
      daemon: {
        version: from.daemon.version,
        pid: process.pid,
        uptimeSeconds: Math.round(process.uptime()),
        residentBytes: process.memoryUsage.rss(),
        root: from.daemon.root,
        ready: failed.length === 0,
      },
      failed: failed.map((p) => ({
        plugin: `${p.type}.${p.id}`,
        error: p.error instanceof Error ? p.error.message : String(p.error),
      })),
      namespaces,
      calls: from.rpc.open().map((c) => ({
        method: c.method,
        namespace: c.namespace,
        seconds: Math.round((performance.now() - c.since) / 100) / 10,
        streaming: c.streaming,
      })),
    };
  };
}

async function containerRows(call: NamespacedCall, from: StatusSources): Promise<ContainerRow[]> {
  const [containers, tasks, metrics] = await Promise.all([
    from.metadata.containers.list(call, []),
    from.tasks.list(call),
    from.tasks.metrics(call, []),
  ]);
  const taskOf = new Map(tasks.map((t) => [t.containerId, t]));
  const used = new Map(await Promise.all(metrics.map(async (m) => [m.id, await usageOf(m.data)] as const)));
  return containers.map((c) => {
    const task = taskOf.get(c.id);
    const label = (key: string): string => c.labels.get(key) ?? "";
    const pod = label("io.kubernetes.pod.name");
    return {
      id: c.id,
      image: c.image,
      status: task?.status ?? "none",
      pid: task?.pid ?? 0,
      createdAt: isoTime(c.createdAt),
      pod: pod === "" ? "" : `${label("io.kubernetes.pod.namespace")}/${pod}`,
      name: label("io.kubernetes.container.name") || label("gantry.name"),
      ...used.get(c.id),
    };
  });
}

async function usageOf(
  data: { readonly typeUrl: string; readonly value: Uint8Array } | undefined,
): Promise<{ cpuNs?: string; memory?: number }> {
  if (data === undefined) return {};
  if (data.typeUrl.endsWith("cgroups.v1.Metrics")) {
    const { MetricsSchema } = await import("../../api/gen/containerd/cgroups/v1/metrics_pb.ts");
    const m = fromBinary(MetricsSchema, data.value);
    return { cpuNs: String(m.cpu?.usage?.total ?? 0n), memory: Number(m.memory?.usage?.usage ?? 0n) };
  }
  if (data.typeUrl.endsWith("cgroups.v2.Metrics")) {
    const { MetricsSchema } = await import("../../api/gen/containerd/cgroups/v2/metrics_pb.ts");
    const m = fromBinary(MetricsSchema, data.value);
    return { cpuNs: String((m.cpu?.usageUsec ?? 0n) * 1000n), memory: Number(m.memory?.usage ?? 0n) };
  }
  return {};
}

function isoTime(ns: bigint): string {
  return new Date(Number(ns / 1_000_000n)).toISOString();
}
