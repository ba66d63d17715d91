/** The TaskService over shims: each method finds the task and asks its shim. */
import { CheckpointOptionsSchema } from "../../api/gen/containerd/types/runc/options/oci_pb.ts";
import type { ContainerStore } from "../../core/containers/containers.ts";
import type { ContentStore } from "../../core/content/content.ts";
import { isNotFound } from "../../core/errors.ts";
import type { TaskService } from "../../core/tasks/tasks.ts";
import { warmAttachLock, withWarmAttachLock } from "../../platform/cgroups/attach-lock.ts";
import { decodeAny, fromAnyMaybe, fromTimestamp, toAny, toRecord } from "../../rpc/convert/basic.ts";
import { callOptions } from "../../rpc/headers.ts";
import { exitOf } from "./exits.ts";
import { rememberExec, rememberState } from "./known-state.ts";
import type { TaskManager } from "./manager.ts";
import { metricsOfTasks } from "./metrics.ts";
import { stateQuestions, unknownState } from "./process-state.ts";

/** What the service reads besides its tasks, and where it puts checkpoints. */
export interface TaskStores {
  readonly containers: ContainerStore;
  readonly content: ContentStore;
}

/** What is done to one process of a task: its init where the exec id is "". */
type ProcessMethods = Pick<
  TaskService,
  "start" | "exec" | "kill" | "resizePty" | "closeIO" | "wait" | "deleteProcess"
>;

/** What is done to a container as a whole. */
type ContainerMethods = Pick<
  TaskService,
  "create" | "delete" | "pause" | "resume" | "pids" | "update" | "checkpoint" | "metrics"
>;

/** Makes the service. */
export function createTaskService(manager: TaskManager, stores: TaskStores): TaskService {
  return { ...stateQuestions(manager), ...processMethods(manager), ...containerMethods(manager, stores) };
}

function processMethods(manager: TaskManager): ProcessMethods {
  return {
    async exec(call, r) {
      const task = manager.get(call, r.containerId);
      const { containerId: id, execId, terminal, stdin, stdout, stderr } = r;
      // when the shim has been told: the client's start follows in a moment
      setImmediate(() => void warmAttachLock());
      await task.api.exec(
        { id, execId, terminal, stdin, stdout, stderr, spec: toAny(r.spec) },
        callOptions(call),
      );
      rememberExec(task, execId, r);
    },
    async start(call, id, execId) {
      const task = manager.get(call, id);
      const exec = task.execs.get(execId);
      const started = task.api.start({ id, execId }, callOptions(call));
      const { pid } = await (execId === "" ? started : withWarmAttachLock(started));
      if (execId === "") rememberState(task, { ...unknownState(task), pid, status: "running" });
      if (exec !== undefined) exec.pid = pid;
      return pid;
    },
    async kill(call, id, execId, signal, all) {
      await manager.get(call, id).api.kill({ id, execId, signal, all }, callOptions(call));
    },
    async resizePty(call, id, execId, width, height) {
      await manager.get(call, id).api.resizePty({ id, execId, width, height }, callOptions(call));
    },
    async closeIO(call, id, execId, stdin) {
      await manager.get(call, id).api.closeIO({ id, execId, stdin }, callOptions(call));
    },
    async wait(call, id, execId) {
      return await exitOf(call, manager.get(call, id), execId);
    },
    async deleteProcess(call, id, execId) {
      if (execId === "") return await manager.delete(call, id);
      const task = manager.get(call, id);
      const answer = await task.api.delete({ id, execId }, callOptions(call)).catch((err: unknown) => {
        if (isNotFound(err)) task.execs.delete(execId);
        throw err;
      });
      task.execs.delete(execId);
      return { pid: answer.pid, status: answer.exitStatus, exitedAt: fromTimestamp(answer.exitedAt) };
    },
  };
}

function containerMethods(manager: TaskManager, stores: TaskStores): ContainerMethods {
  return {
    async create(call, request) {
      return (await manager.create(call, request)).pid;
    },
    delete: (call, id) => manager.delete(call, id),
    async pause(call, id) {
      const task = manager.get(call, id);
      task.running = undefined;
      await task.api.pause({ id }, callOptions(call));
      task.running = undefined;
      task.seen = "paused";
    },
    async resume(call, id) {
      const task = manager.get(call, id);
      await task.api.resume({ id }, callOptions(call));
      task.seen = "running";
    },
    async pids(call, id) {
      const answer = await manager.get(call, id).api.pids({ id }, callOptions(call));
      return answer.processes.map((p) => ({ pid: p.pid, info: fromAnyMaybe(p.info) }));
    },
    async update(call, id, resources, annotations) {
      const request = {
        id,
        annotations: toRecord(annotations),
        ...(resources === undefined ? {} : { resources: toAny(resources) }),
      };
      await manager.get(call, id).api.update(request, callOptions(call));
    },
    async checkpoint(call, id, given) {
      const wanted =
        given === undefined ? undefined : decodeAny(CheckpointOptionsSchema, given, "checkpoint options");
      const task = manager.get(call, id);
      const run = async (path: string): Promise<void> => {
        const wire = { id, path, ...(given === undefined ? {} : { options: toAny(given) }) };
        await task.api.checkpoint(wire, callOptions(call));
      };
      const folder = wanted?.imagePath ?? "";
      if (folder !== "") {
        await run(folder);
        return [];
      }
      const { spec } = await stores.containers.get(call, id);
      const { checkpointToStore } = await import("./checkpoint.ts");
      return await checkpointToStore(call, stores.content, task.bundle, spec, run);
    },
    metrics: (call, filters) => metricsOfTasks(manager, call, filters),
  };
}
