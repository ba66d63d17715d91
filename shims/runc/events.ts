/** The shim's events: containerd's topics and payloads. */
import { create, type DescMessage, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import {
  TaskCheckpointedSchema,
  TaskCreateSchema,
  TaskDeleteSchema,
  TaskExecAddedSchema,
  TaskExecStartedSchema,
  TaskExitSchema,
  TaskOOMSchema,
  TaskPausedSchema,
  TaskResumedSchema,
  TaskStartSchema,
} from "../../src/api/gen/containerd/events/task_pb.ts";
import { type Envelope, EnvelopeSchema } from "../../src/api/gen/containerd/types/event_pb.ts";
import type { Exit } from "../../src/core/tasks/tasks.ts";
import { nowNs, splitNs } from "../../src/lib/time.ts";
import type { ContainerInit } from "./container.ts";

/** What happens to containers, told once each. */
export interface TaskEvents {
  created(facts: ContainerInit, pid: number): void;
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
export function createTaskEvents(namespace: string, push: (envelope: Envelope) => void): TaskEvents {
  const send = <D extends DescMessage>(topic: string, desc: D, payload: MessageInitShape<D>): void => {
    const event = { typeUrl: desc.typeName, value: toBinary(desc, create(desc, payload)) };
    push(create(EnvelopeSchema, { timestamp: splitNs(nowNs()), namespace, topic, event }));
  };
  const ended = (
    exit: Exit,
  ): { pid: number; exitStatus: number; exitedAt: { seconds: bigint; nanos: number } } => ({
    pid: exit.pid,
    exitStatus: exit.status,
    exitedAt: splitNs(exit.exitedAt),
  });
  return {
    created: (facts, pid) =>
      send("/tasks/create", TaskCreateSchema, {
        containerId: facts.id,
        bundle: facts.bundle,
        rootfs: facts.rootfs.map((m) => ({ ...m, options: [...m.options] })),
        io: { stdin: facts.stdin, stdout: facts.stdout, stderr: facts.stderr, terminal: facts.terminal },
        checkpoint: facts.checkpoint,
        pid,
      }),
    started: (containerId, pid) => send("/tasks/start", TaskStartSchema, { containerId, pid }),
    execAdded: (containerId, execId) =>
      send("/tasks/exec-added", TaskExecAddedSchema, { containerId, execId }),
    execStarted: (containerId, execId, pid) =>
      send("/tasks/exec-started", TaskExecStartedSchema, { containerId, execId, pid }),
    exited: (containerId, execId, exit) =>
      send("/tasks/exit", TaskExitSchema, {
        containerId,
        id: execId === "" ? containerId : execId,
        ...ended(exit),
      }),
    deleted: (containerId, exit) => send("/tasks/delete", TaskDeleteSchema, { containerId, ...ended(exit) }),
    oom: (containerId) => send("/tasks/oom", TaskOOMSchema, { containerId }),
    paused: (containerId) => send("/tasks/paused", TaskPausedSchema, { containerId }),
    resumed: (containerId) => send("/tasks/resumed", TaskResumedSchema, { containerId }),
    checkpointed: (containerId, checkpoint) =>
      send("/tasks/checkpointed", TaskCheckpointedSchema, { containerId, checkpoint }),
  };
}
