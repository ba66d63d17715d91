/** The TaskService over shims: each method finds the task and asks its shim. */

import { CheckpointOptionsSchema } from "../../api/gen/containerd/types/runc/options/oci_pb.ts";
import type { AnyValue } from "../../core/any.ts";
import type { NamespacedCall } from "../../core/call.ts";
import type { ContainerStore } from "../../core/containers/containers.ts";
import type { ContentStore } from "../../core/content/content.ts";
import { codeOf, isNotFound, isUnavailable, messageOf } from "../../core/errors.ts";
import { compileFilters } from "../../core/filters/filter.ts";
import type { Exit, ProcessState, TaskService } from "../../core/tasks/tasks.ts";
import { nowNs } from "../../lib/time.ts";
import { warmAttachLock, withWarmAttachLock } from "../../platform/cgroups/attach-lock.ts";
import { decodeAny, fromAnyMaybe, fromTimestamp, toAny, toRecord } from "../../rpc/convert/basic.ts";
import { fromStatus } from "../../rpc/convert/tasks.ts";
import { callOptions } from "../../rpc/headers.ts";
import { knownState, rememberState, seenState } from "./known-state.ts";
import type { TaskManager } from "./manager.ts";
import type { Task } from "./task.ts";

/** Makes the service. */
export function createTaskService(
  manager: TaskManager,
  stores: { readonly containers: ContainerStore; readonly content: ContentStore },
): TaskService {
  const options = callOptions;
  const state = async (call: NamespacedCall, task: Task, execId: string): Promise<ProcessState> => {
    const s = await task.api.state({ id: task.bundle.id, execId }, options(call)).catch((err: unknown) => {
      // its shim was killed after the container had ended, or was told to forget it by somebody else: the end is known
      const gone = isUnavailable(err) || isNotFound(err);
      if (gone && execId === "" && task.exit !== undefined) return undefined;
      throw err;
    });
    if (s === undefined)
      return {
        ...unknownState(task),
        status: "stopped",
        exitStatus: task.exit?.status ?? 0,
        exitedAt: task.exit?.exitedAt,
      };
    const answer: ProcessState = {
      containerId: task.bundle.id,
      execId,
      pid: s.pid,
      status: fromStatus(s.status),
      stdin: s.stdin,
      stdout: s.stdout,
      stderr: s.stderr,
      terminal: s.terminal,
      exitStatus: s.exitStatus,
      exitedAt: s.exitedAt === undefined || s.exitedAt.seconds <= 0n ? undefined : fromTimestamp(s.exitedAt),
    };
    if (execId === "") rememberState(task, answer);
    return answer;
  };
  return {
    async create(call, request) {
      return (await manager.create(call, request)).pid;
    },
    async start(call, id, execId) {
      const task = manager.get(call, id);
      const started = task.api.start({ id, execId }, options(call));
      const { pid } = await (execId === "" ? started : withWarmAttachLock(started));
      if (execId === "") rememberState(task, { ...unknownState(task), pid, status: "running" });
      return pid;
    },
    delete: (call, id) => manager.delete(call, id),
    async deleteProcess(call, id, execId) {
      if (execId === "") return await manager.delete(call, id);
      const answer = await manager.get(call, id).api.delete({ id, execId }, options(call));
      return { pid: answer.pid, status: answer.exitStatus, exitedAt: fromTimestamp(answer.exitedAt) };
    },
    async get(call, id, execId) {
      const task = manager.get(call, id);
      // a client's exec begins with this question: the shim need not wake for it
      return (execId === "" ? knownState(task) : undefined) ?? (await state(call, task, execId));
    },
    peek: (call) =>
      new Map(
        manager.list(call).map((task) => [task.bundle.id, task.exit === undefined ? task.seen : "stopped"]),
      ),
    async glance(call) {
      const limited = call.within(manager.stateTimeout);
      const all = await Promise.all(
        manager.list(call).map(async (task): Promise<ProcessState | undefined> => {
          if (task.assumed) return { ...unknownState(task), status: "running" };
          return await state(limited, task, "").catch((err: unknown) =>
            isNotFound(err) ? undefined : unknownState(task),
          );
        }),
      );
      return all.filter((s) => s !== undefined);
    },
    async list(call) {
      // one stuck shim must not hide the others
      const limited = call.within(manager.stateTimeout);
      const all = await Promise.all(
        manager.list(call).map(async (task) => {
          const seen = seenState(task);
          if (seen !== undefined) return seen;
          return await state(limited, task, "").catch((err: unknown): ProcessState | undefined => {
            if (isNotFound(err)) return undefined;
            call.log.warn("state of task", { id: task.bundle.id, err });
            return unknownState(task);
          });
        }),
      );
      return all.filter((s) => s !== undefined);
    },
    async kill(call, id, execId, signal, all) {
      await manager.get(call, id).api.kill({ id, execId, signal, all }, options(call));
    },
    async exec(call, r) {
      const task = manager.get(call, r.containerId);
      const { containerId: id, execId, terminal, stdin, stdout, stderr } = r;
      // when the shim has been told: the client's start follows in a moment
      setImmediate(() => void warmAttachLock());
      await task.api.exec(
        { id, execId, terminal, stdin, stdout, stderr, spec: toAny(r.spec) },
        options(call),
      );
    },
    async resizePty(call, id, execId, width, height) {
      await manager.get(call, id).api.resizePty({ id, execId, width, height }, options(call));
    },
    async closeIO(call, id, execId, stdin) {
      await manager.get(call, id).api.closeIO({ id, execId, stdin }, options(call));
    },
    async pause(call, id) {
      const task = manager.get(call, id);
      task.running = undefined;
      await task.api.pause({ id }, options(call));
      task.running = undefined;
      task.seen = "paused";
    },
    async resume(call, id) {
      const task = manager.get(call, id);
      await task.api.resume({ id }, options(call));
      task.seen = "running";
    },
    async pids(call, id) {
      const answer = await manager.get(call, id).api.pids({ id }, options(call));
      return answer.processes.map((p) => ({ pid: p.pid, info: fromAnyMaybe(p.info) }));
    },
    async checkpoint(call, id, given) {
      const wanted =
        given === undefined ? undefined : decodeAny(CheckpointOptionsSchema, given, "checkpoint options");
      const task = manager.get(call, id);
      const run = async (path: string): Promise<void> => {
        const wire = { id, path, ...(given === undefined ? {} : { options: toAny(given) }) };
        await task.api.checkpoint(wire, options(call));
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
    async update(call, id, resources, annotations) {
      const request = {
        id,
        annotations: toRecord(annotations),
        ...(resources === undefined ? {} : { resources: toAny(resources) }),
      };
      await manager.get(call, id).api.update(request, options(call));
    },
    async metrics(call, filters) {
      const match = compileFilters(filters);
      const wanted = manager
        .list(call)
        .filter((t) =>
          match((path) => ({ value: path[0] === "id" ? t.bundle.id : "", present: path[0] === "id" })),
        );
      const limited = call.within(manager.stateTimeout);
      const answers = await Promise.all(
        wanted.map(async (task) => {
          try {
            const own = await ownStats(task);
            if (own !== undefined) return { id: task.bundle.id, timestamp: nowNs(), data: own };
            const { stats } = await task.api.stats({ id: task.bundle.id }, options(limited));
            return { id: task.bundle.id, timestamp: nowNs(), data: fromAnyMaybe(stats) };
          } catch (err) {
            call.log.debug("metrics of task", { id: task.bundle.id, reason: messageOf(err) });
            return undefined;
          }
        }),
      );
      return answers.filter((a) => a !== undefined);
    },
    async wait(call, id, execId) {
      const task = manager.get(call, id);
      if (execId === "") return await untilEnded(call, task.ended.promise);
      return await waitExec(call, task, id, execId);
    },
  };
}

/** What a shim of ours would answer, read here: it may sleep. Undefined when it is to be asked. */
async function ownStats(task: Task): Promise<AnyValue | undefined> {
  if (!task.shim.own || task.pid <= 0 || task.exit !== undefined) return undefined;
  const { cgroupOf } = await import("../../platform/cgroups/cgroups.ts");
  const cgroup = cgroupOf(task.pid);
  // an init that has just ended is in none any more
  if (cgroup === undefined || cgroup.path === "/" || !cgroup.exists()) return undefined;
  const { metricsOf } = await import("../../../shims/shared/cgroup-metrics.ts");
  return metricsOf(cgroup.stats());
}

async function waitExec(call: NamespacedCall, task: Task, id: string, execId: string): Promise<Exit> {
  try {
    const answer = await task.api.wait({ id, execId }, callOptions(call));
    return { pid: 0, status: answer.exitStatus, exitedAt: fromTimestamp(answer.exitedAt) };
  } catch (err) {
    // the container took its execs along when its shim was lost
    if (codeOf(err) === "unavailable" && task.exit !== undefined) return task.exit;
    throw err;
  }
}

function untilEnded<T>(call: NamespacedCall, promise: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const stop = (): void => {
      try {
        call.check();
      } catch (err) {
        reject(err);
      }
    };
    call.signal.addEventListener("abort", stop, { once: true });
    promise.then(resolve, reject).finally(() => call.signal.removeEventListener("abort", stop));
    if (call.signal.aborted) stop();
  });
}

function unknownState(task: Task): ProcessState {
  return {
    containerId: task.bundle.id,
    execId: "",
    pid: task.pid,
    status: "unknown",
    ...task.stdio,
    exitStatus: 0,
  };
}
