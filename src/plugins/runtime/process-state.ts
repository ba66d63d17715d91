/** Questions about the state of processes: what the daemon knows is answered here, the rest by their shims. */
import type { NamespacedCall } from "../../core/call.ts";
import { isNotFound, isUnavailable } from "../../core/errors.ts";
import type { ProcessState, TaskService } from "../../core/tasks/tasks.ts";
import { warmAttachLock } from "../../platform/cgroups/attach-lock.ts";
import { fromTimestamp } from "../../rpc/convert/basic.ts";
import { fromStatus } from "../../rpc/convert/tasks.ts";
import { callOptions } from "../../rpc/headers.ts";
import { knownEnd, knownState, rememberState, seenState } from "./known-state.ts";
import type { TaskManager } from "./manager.ts";
import type { Task } from "./task.ts";

/** The part of the task service that only looks. */
export type StateQuestions = Required<Pick<TaskService, "get" | "list" | "glance" | "peek">>;

/** Answers them over the tasks of `manager`. */
export function stateQuestions(manager: TaskManager): StateQuestions {
  /** Asks each task of the call's namespace; those that are gone when they are asked are left out. */
  const each = async (
    call: NamespacedCall,
    ask: (task: Task, limited: NamespacedCall) => Promise<ProcessState>,
    onFailure: (task: Task, err: unknown) => void = () => {},
  ): Promise<ProcessState[]> => {
    // one stuck shim must not hide the others
    const limited = call.within(manager.stateTimeout);
    const states = await Promise.all(
      manager.list(call).map((task) =>
        ask(task, limited).catch((err: unknown): ProcessState | undefined => {
          if (isNotFound(err)) return undefined;
          onFailure(task, err);
          return unknownState(task);
        }),
      ),
    );
    return states.filter((state) => state !== undefined);
  };
  return {
    async get(call, id, execId) {
      const task = manager.get(call, id);
      // a client's exec begins with this question: the shim need not wake for it, and the kernel's lock can be warmed up already
      const running = execId === "" ? knownState(task) : undefined;
      if (running !== undefined) setImmediate(() => void warmAttachLock());
      return running ?? knownEnd(task, execId) ?? (await askState(call, task, execId));
    },
    list: (call) =>
      each(
        call,
        async (task, limited) => seenState(task) ?? (await askState(limited, task, "")),
        (task, err) => call.log.warn("state of task", { id: task.bundle.id, err }),
      ),
    glance: (call) =>
      each(call, async (task, limited) =>
        task.assumed ? { ...unknownState(task), status: "running" } : await askState(limited, task, ""),
      ),
    peek: (call) =>
      new Map(
        manager.list(call).map((task) => [task.bundle.id, task.exit === undefined ? task.seen : "stopped"]),
      ),
  };
}

/** What is left to say of an init that nobody can be asked about. */
export function unknownState(task: Task): ProcessState {
  return {
    containerId: task.bundle.id,
    execId: "",
    pid: task.pid,
    status: "unknown",
    ...task.stdio,
    exitStatus: 0,
  };
}

/** What the shim says; of an init whose end is known, that end when the shim says nothing any more. */
async function askState(call: NamespacedCall, task: Task, execId: string): Promise<ProcessState> {
  const s = await task.api.state({ id: task.bundle.id, execId }, callOptions(call)).catch((err: unknown) => {
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
}
