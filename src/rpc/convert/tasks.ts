/** Conversions of process states. */
import { Status, type Process as WireProcess } from "../../api/gen/containerd/types/task/task_pb.ts";
import type { ProcessState, TaskStatus } from "../../core/tasks/tasks.ts";
import { fromTimestampMaybe, type TimestampInit, toTimestampMaybe } from "./basic.ts";

const TO_WIRE: Readonly<Record<TaskStatus, Status>> = {
  unknown: Status.UNKNOWN,
  created: Status.CREATED,
  running: Status.RUNNING,
  stopped: Status.STOPPED,
  paused: Status.PAUSED,
  pausing: Status.PAUSING,
};
const FROM_WIRE = new Map<Status, TaskStatus>(
  Object.entries(TO_WIRE).map(([name, status]) => [status, name as TaskStatus]),
);

function toStatus(status: TaskStatus): Status {
  return TO_WIRE[status];
}

export function fromStatus(status: Status): TaskStatus {
  return FROM_WIRE.get(status) ?? "unknown";
}

/** Wire form of a process. */
export interface ProcessInit {
  containerId: string;
  id: string;
  pid: number;
  status: Status;
  stdin: string;
  stdout: string;
  stderr: string;
  terminal: boolean;
  exitStatus: number;
  exitedAt?: TimestampInit;
}

export function toProcess(p: ProcessState): ProcessInit {
  const exitedAt = toTimestampMaybe(p.exitedAt);
  return {
    containerId: p.containerId,
    // containerd names the init process by its container
    id: p.execId === "" ? p.containerId : p.execId,
    pid: p.pid,
    status: toStatus(p.status),
    stdin: p.stdin,
    stdout: p.stdout,
    stderr: p.stderr,
    terminal: p.terminal,
    exitStatus: p.exitStatus,
    ...(exitedAt === undefined ? {} : { exitedAt }),
  };
}

export function fromProcess(p: WireProcess): ProcessState {
  const containerId = p.containerId === "" ? p.id : p.containerId;
  return {
    containerId,
    execId: p.id === containerId ? "" : p.id,
    pid: p.pid,
    status: fromStatus(p.status),
    stdin: p.stdin,
    stdout: p.stdout,
    stderr: p.stderr,
    terminal: p.terminal,
    exitStatus: p.exitStatus,
    exitedAt: fromTimestampMaybe(p.exitedAt),
  };
}
