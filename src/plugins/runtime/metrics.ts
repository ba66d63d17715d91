/** Figures of tasks: of our own shims' read here, so that they may sleep; of others asked for. */
import type { AnyValue } from "../../core/any.ts";
import type { NamespacedCall } from "../../core/call.ts";
import { messageOf } from "../../core/errors.ts";
import { compileFilters } from "../../core/filters/filter.ts";
import type { TaskService } from "../../core/tasks/tasks.ts";
import { nowNs } from "../../lib/time.ts";
import { fromAnyMaybe } from "../../rpc/convert/basic.ts";
import { callOptions } from "../../rpc/headers.ts";
import type { TaskManager } from "./manager.ts";
import type { Task } from "./task.ts";

/** The tasks of a namespace that a filter on `id` lets through. A task whose figures cannot be had is left out. */
export async function metricsOfTasks(
  manager: TaskManager,
  call: NamespacedCall,
  filters: readonly string[],
): ReturnType<TaskService["metrics"]> {
  const match = compileFilters(filters);
  const wanted = manager
    .list(call)
    .filter((t) =>
      match((path) => ({ value: path[0] === "id" ? t.bundle.id : "", present: path[0] === "id" })),
    );
  const limited = call.within(manager.stateTimeout);
  const answers = await Promise.all(
    wanted.map(async (task) => {
      const { id } = task.bundle;
      try {
        const data = (await ownStats(task)) ?? (await askStats(limited, task));
        return { id, timestamp: nowNs(), data };
      } catch (err) {
        call.log.debug("metrics of task", { id, reason: messageOf(err) });
        return undefined;
      }
    }),
  );
  return answers.filter((a) => a !== undefined);
}

async function askStats(call: NamespacedCall, task: Task): Promise<AnyValue | undefined> {
  const { stats } = await task.api.stats({ id: task.bundle.id }, callOptions(call));
  return fromAnyMaybe(stats);
}

/** What a shim of ours would answer. Undefined when it is to be asked. */
async function ownStats(task: Task): Promise<AnyValue | undefined> {
  if (!task.shim.own || task.pid <= 0 || task.exit !== undefined) return undefined;
  const { cgroupOf } = await import("../../platform/cgroups/cgroups.ts");
  const cgroup = cgroupOf(task.pid);
  // an init that has just ended is in none any more
  if (cgroup === undefined || cgroup.path === "/" || !cgroup.exists()) return undefined;
  const { metricsOf } = await import("../../../shims/shared/cgroup-metrics.ts");
  return metricsOf(cgroup.stats());
}
