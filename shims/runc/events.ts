/** The shim's events: containerd's topics and payloads. */
import type { Exit, Stdio } from "../../src/core/tasks/tasks.ts";
import { nowNs, splitNs } from "../../src/lib/time.ts";
import type { Mount } from "../../src/platform/mounts/options.ts";
import {
  type EnvelopeInit,
  TaskCheckpointed,
  TaskCreate,
  TaskDelete,
  TaskExecAdded,
  TaskExecStarted,
  TaskExit,
  TaskOOM,
  TaskPaused,
  TaskResumed,
  TaskStart,
} from "../shared/messages.ts";
import { encode, type Fields, type MessageInit, type MessageType } from "../shared/wire.ts";

/** What a container was made from, as far as its create event tells. */
export interface CreatedFacts extends Stdio {
  readonly id: string;
  readonly bundle: string;
  readonly rootfs: readonly Mount[];
  readonly checkpoint: string;
}

/** What happens to containers, told once each. */
export interface TaskEvents {
  created(facts: CreatedFacts, pid: number): void;
  started(id: string, pid: number): void;
  execAdded(id: string, execId: string): void;
  execStarted(id: string, execId: string, pid: number): void;
  /** `execId` "" is init. */
  exited(id: string, execId: string, exit: Exit): void;
  deleted(id: string, exit: Exit): void;
  oom(id: string): void;
  paused(id: string): void;
  resumed(id: string): void;
  checkpointed(id: string, path: string): void;
}

/** Events of one namespace, handed to `push` in the order of the calls. */
export function createTaskEvents(namespace: string, push: (envelope: EnvelopeInit) => void): TaskEvents {
  const send = <F extends Fields>(topic: string, type: MessageType<F>, payload: MessageInit<F>): void =>
    push({
      timestamp: splitNs(nowNs()),
      namespace,
      topic,
      event: { typeUrl: type.name, value: encode(type, payload) },
    });
  const ended = (
    exit: Exit,
  ): { pid: number; exitStatus: number; exitedAt: { seconds: bigint; nanos: number } } => ({
    pid: exit.pid,
    exitStatus: exit.status,
    exitedAt: splitNs(exit.exitedAt),
  });
  return {
    created: (facts, pid) =>
      send("/tasks/create", TaskCreate, {
        containerId: facts.id,
        bundle: facts.bundle,
        rootfs: facts.rootfs.map((m) => ({ ...m, options: [...m.options] })),
        io: { stdin: facts.stdin, stdout: facts.stdout, stderr: facts.stderr, terminal: facts.terminal },
        checkpoint: facts.checkpoint,
        pid,
      }),
    started: (containerId, pid) => send("/tasks/start", TaskStart, { containerId, pid }),
    execAdded: (containerId, execId) => send("/tasks/exec-added", TaskExecAdded, { containerId, execId }),
    execStarted: (containerId, execId, pid) =>
      send("/tasks/exec-started", TaskExecStarted, { containerId, execId, pid }),
    exited: (containerId, execId, exit) =>
      send("/tasks/exit", TaskExit, {
        containerId,
        id: execId === "" ? containerId : execId,
        ...ended(exit),
      }),
    deleted: (containerId, exit) => send("/tasks/delete", TaskDelete, { containerId, ...ended(exit) }),
    oom: (containerId) => send("/tasks/oom", TaskOOM, { containerId }),
    paused: (containerId) => send("/tasks/paused", TaskPaused, { containerId }),
    resumed: (containerId) => send("/tasks/resumed", TaskResumed, { containerId }),
    checkpointed: (containerId, checkpoint) =>
      send("/tasks/checkpointed", TaskCheckpointed, { containerId, checkpoint }),
  };
}
