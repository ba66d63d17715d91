/** Removes a container with everything that `run` made for it. */
import { rmSync } from "node:fs";
import { containersClient } from "../../client/containers.ts";
import { snapshotterClient } from "../../client/snapshots.ts";
import { tasksClient } from "../../client/tasks.ts";
import type { NamespacedCall } from "../../core/call.ts";
import type { Container } from "../../core/containers/containers.ts";
import { failedPrecondition, isNotFound } from "../../core/errors.ts";
import { STATUS_LABEL, STOPPED_LABEL } from "../../plugins/restart/policy.ts";
import type { Transport } from "../../rpc/types.ts";
import { nameOf, taskOf } from "./lookup.ts";
import { containerDir } from "./paths.ts";

const SIGKILL = 9;

/** @throws failed-precondition while it runs, unless `force` */
export async function removeContainer(
  transport: Transport,
  call: NamespacedCall,
  container: Container,
  force: boolean,
): Promise<void> {
  const { id } = container;
  const tasks = tasksClient(transport);
  const containers = containersClient(transport);
  const task = await taskOf(tasks, call, id);
  if (task !== undefined && task.status !== "stopped" && task.status !== "created") {
    if (!force)
      throw failedPrecondition(`remove container "${nameOf(container)}": it is ${task.status}`, {
        hint: `stop it with "gantry stop ${nameOf(container)}", or use "gantry rm -f"`,
      });
    await tellMonitor(transport, call, container, "stopped");
    const end = tasks.wait(call, id, "");
    end.catch(() => {});
    await tasks.kill(call, id, "", SIGKILL, true).catch(ignoreMissing);
    await end.catch(ignoreMissing);
  }
  if (task !== undefined) await tasks.delete(call, id).catch(ignoreMissing);
  await containers.delete(call, id).catch(ignoreMissing);
  if (container.snapshotKey !== "")
    await snapshotterClient(transport, container.snapshotter)
      .remove(call, container.snapshotKey)
      .catch(ignoreMissing);
  rmSync(containerDir(call.namespace, id), { recursive: true, force: true });
}

/**
 * Tells the restart monitor, where the container is under it, what the user wants now. A monitor leaves containers alone that are
 * neither to run nor to stop: "changing" while a client is at work.
 */
export async function tellMonitor(
  transport: Transport,
  call: NamespacedCall,
  container: Container,
  wanted: "running" | "stopped" | "changing",
): Promise<void> {
  if (!container.labels.has(STATUS_LABEL)) return;
  const labels = new Map([
    [STATUS_LABEL, wanted],
    [STOPPED_LABEL, wanted === "running" ? "" : "true"],
  ]);
  await containersClient(transport).update(
    call,
    { ...container, labels },
    [...labels.keys()].map((key) => `labels.${key}`),
  );
}

/** For what somebody else may have removed meanwhile. */
export function ignoreMissing(err: unknown): void {
  if (!isNotFound(err)) throw err;
}
