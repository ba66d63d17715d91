/**
 * One task as the daemon knows it: its shim, and how its init process ended.
 *
 *     starting --created--> live --connection lost--> lost --cleaned--> gone
 *                            |                                            ^
 *                            +-------------- deleted ---------------------+
 */
import type { NamespacedCall } from "../../core/call.ts";
import type { Exit, ProcessState, Stdio, TaskStatus } from "../../core/tasks/tasks.ts";
import { createDeferred, type Deferred } from "../../lib/deferred.ts";
import type { Transport } from "../../rpc/types.ts";
import { type Bundle, NO_STDIO, type ShimAddress } from "./bundle.ts";
import type { ShimCommand } from "./resolve.ts";
import type { ShimApi } from "./shim-api.ts";

/** See the file's comment. */
export interface Task {
  readonly bundle: Bundle;
  readonly shim: ShimCommand;
  readonly address: ShimAddress;
  readonly transport: Transport;
  readonly api: ShimApi;
  /** A call in the task's namespace that lives as long as the daemon. */
  readonly call: NamespacedCall;
  pid: number;
  /** Kept for the time after the shim: whoever removes the task removes its FIFOs. */
  stdio: Stdio;
  /** Exit of the init process, settled once. */
  readonly ended: Deferred<Exit>;
  exit: Exit | undefined;
  /** Set when the daemon deletes the task itself: a lost connection is then no loss. */
  deleting: boolean;
  /** Init was seen running, and its shim has not been asked yet since the daemon started. */
  assumed: boolean;
  /** Status of init as its shim said last, or as what was done to it since made it; undefined while nobody asked. */
  seen: TaskStatus | undefined;
  /**
   * What a shim of ours said of init when it ran; undefined after anything that may change it. Such a shim knows nothing else until
   * init ends, which it tells.
   */
  running: ProcessState | undefined;
  /** What this daemon did with execs below a shim of ours, by exec id; without those that were deleted. */
  readonly execs: Map<string, KnownExec>;
}

/** An exec as the daemon itself saw it. */
export interface KnownExec {
  readonly stdio: Stdio;
  /** 0 before its start. */
  pid: number;
  exit: Exit | undefined;
}

/** Key of the task map. */
export function taskKey(namespace: string, id: string): string {
  return `${namespace}/${id}`;
}

/** Makes the record. */
export function newTask(
  parts: Omit<
    Task,
    "pid" | "stdio" | "ended" | "exit" | "deleting" | "assumed" | "seen" | "running" | "execs"
  >,
): Task {
  const ended = createDeferred<Exit>();
  // nobody has to wait for it
  ended.promise.catch(() => {});
  const fresh = { exit: undefined, deleting: false, assumed: false, seen: undefined, running: undefined };
  return { ...parts, pid: 0, stdio: NO_STDIO, ended, execs: new Map(), ...fresh };
}

/** Records the exit once. @returns true when it was the first */
export function settleExit(task: Task, exit: Exit): boolean {
  if (task.exit !== undefined) return false;
  task.exit = exit;
  task.ended.resolve(exit);
  return true;
}
