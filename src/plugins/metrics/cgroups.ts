/** `io.containerd.monitor.task.v1.cgroups`: puts what running containers use into the daemon's metrics. */
import { fromBinary } from "@bufbuild/protobuf";
import type { AnyValue } from "../../core/any.ts";
import type { NamespacedCall } from "../../core/call.ts";
import { invalidArgument } from "../../core/errors.ts";
import { parseNamespace } from "../../core/ids/namespace.ts";
import type { MetricFamily } from "../../core/metrics/metrics.ts";
import { METADATA, RUNTIME } from "../../core/plugin/kinds.ts";
import { defineKind, definePlugin, one } from "../../core/plugin/plugin.ts";
import type { TaskService, TaskStatus } from "../../core/tasks/tasks.ts";

/** Monitors of tasks. */
export const TASK_MONITOR = defineKind<undefined>("io.containerd.monitor.task.v1");

/** Longest time all shims of a namespace may take for one scrape. Milliseconds. */
const SCRAPE_MS = 10_000;

export default definePlugin({
  kind: TASK_MONITOR,
  id: "cgroups",
  requires: { metadata: one(METADATA), tasks: one(RUNTIME, "task") },
  config: {
    defaults: { no_prometheus: false },
    parse(table) {
      const off = table["no_prometheus"];
      if (typeof off !== "boolean") throw invalidArgument("no_prometheus: must be true or false");
      return { off };
    },
  },
  onFailure: "optional",
  init(host, deps, config) {
    if (config.off) return undefined;
    host.metrics.collect(async () => {
      const { Families, addV1, addV2 } = await import("./cgroup-families.ts");
      const out = new Families();
      const call = host.call.within(SCRAPE_MS);
      for (const { name } of await deps.metadata.namespaces.list(call)) {
        const inside = call.in(parseNamespace(name));
        const found = await deps.tasks.metrics(inside, []);
        const runtimes = new Map<string, string>();
        if (found.length > 0)
          for (const c of await deps.metadata.containers.list(inside, [])) runtimes.set(c.id, c.runtime.name);
        for (const { id, data } of found) {
          const labels = { container_id: id, namespace: name, runtime: runtimes.get(id) ?? "" };
          const message = data === undefined ? undefined : await decode(data);
          if (message?.version === 1) addV1(out, message.metrics, labels);
          else if (message?.version === 2) addV2(out, message.metrics, labels);
        }
      }
      return out.all();
    });
    host.metrics.collect(async (): Promise<MetricFamily[]> => {
      const samples = [];
      for (const { name } of await deps.metadata.namespaces.list(host.call))
        for (const [status, count] of countBy(
          await statuses(deps.tasks, host.call.in(parseNamespace(name))),
          (status) => status,
        ))
          samples.push({ labels: { namespace: name, status }, value: count });
      return [{ name: "containerd_tasks", type: "gauge", help: "Tasks by namespace and status", samples }];
    });
    return undefined;
  },
});

/** Those of all tasks. Shims are asked only when one's status is not known: they may sleep. */
async function statuses(tasks: TaskService, call: NamespacedCall): Promise<TaskStatus[]> {
  const known = [...(tasks.peek?.(call).values() ?? [undefined])];
  const all = known.filter((status) => status !== undefined);
  return all.length === known.length ? all : (await tasks.list(call)).map((task) => task.status);
}

type Decoded =
  | { version: 1; metrics: import("../../api/gen/containerd/cgroups/v1/metrics_pb.ts").Metrics }
  | { version: 2; metrics: import("../../api/gen/containerd/cgroups/v2/metrics_pb.ts").Metrics };

/** @returns undefined for the messages of other runtimes */
async function decode(data: AnyValue): Promise<Decoded | undefined> {
  const type = data.typeUrl.slice(data.typeUrl.lastIndexOf("/") + 1);
  if (type === "io.containerd.cgroups.v1.Metrics") {
    const { MetricsSchema } = await import("../../api/gen/containerd/cgroups/v1/metrics_pb.ts");
    return { version: 1, metrics: fromBinary(MetricsSchema, data.value) };
  }
  if (type === "io.containerd.cgroups.v2.Metrics") {
    const { MetricsSchema } = await import("../../api/gen/containerd/cgroups/v2/metrics_pb.ts");
    return { version: 2, metrics: fromBinary(MetricsSchema, data.value) };
  }
  return undefined;
}

function countBy<T>(list: readonly T[], key: (item: T) => string): Map<string, number> {
  const out = new Map<string, number>();
  for (const item of list) out.set(key(item), (out.get(key(item)) ?? 0) + 1);
  return out;
}
