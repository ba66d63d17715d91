/**
 * States of a process under the shim, and the one function that changes them.
 *
 *     created --start--> running --exited--> stopped --deleted--> deleted
 *        |                 | ^                  ^
 *        |            pause| |resume            |
 *        |                 v |                  |
 *        |               paused ---exited-------+
 *        +--exited (runc start failed, killed before start)--+
 *
 * An exec process begins as `added` (known by its spec only) and has no pid before `started`.
 */
import { failedPrecondition, notFound } from "../../src/core/errors.ts";
import type { Exit, TaskStatus } from "../../src/core/tasks/tasks.ts";

export type ProcessPhase =
  | { readonly tag: "added" }
  | { readonly tag: "created"; readonly pid: number }
  | { readonly tag: "running"; readonly pid: number }
  | { readonly tag: "paused"; readonly pid: number }
  | { readonly tag: "stopped"; readonly exit: Exit }
  | { readonly tag: "deleted"; readonly exit: Exit };

export type ProcessEvent =
  | { readonly tag: "started"; readonly pid: number }
  | { readonly tag: "paused" }
  | { readonly tag: "resumed" }
  | { readonly tag: "exited"; readonly exit: Exit }
  | { readonly tag: "deleted" };

const NEVER_RAN: Exit = { pid: 0, status: 0, exitedAt: 0n };

/**
 * The next phase.
 * @throws failed-precondition when the event does not fit, not-found when the process was deleted
 */
export function transition(phase: ProcessPhase, event: ProcessEvent): ProcessPhase {
  if (phase.tag === "deleted") throw notFound("process already deleted");
  switch (event.tag) {
    case "started":
      if (phase.tag === "added" || phase.tag === "created") return { tag: "running", pid: event.pid };
      break;
    case "paused":
      if (phase.tag === "running") return { tag: "paused", pid: phase.pid };
      break;
    case "resumed":
      if (phase.tag === "paused") return { tag: "running", pid: phase.pid };
      break;
    case "exited":
      // The first exit counts: a second one for the same process cannot exist.
      return phase.tag === "stopped" ? phase : { tag: "stopped", exit: event.exit };
    case "deleted":
      if (phase.tag === "stopped") return { tag: "deleted", exit: phase.exit };
      if (phase.tag === "added") return { tag: "deleted", exit: NEVER_RAN };
      break;
  }
  throw failedPrecondition(REFUSAL[event.tag](phase.tag));
}

const REFUSAL: Readonly<Record<ProcessEvent["tag"], (from: string) => string>> = {
  started: (from) => `cannot start a ${from} process`,
  paused: (from) => `cannot pause a ${from} process`,
  resumed: (from) => `cannot resume a ${from} process`,
  exited: (from) => `cannot end a ${from} process`,
  deleted: (from) => `cannot delete a ${from} process`,
};

/** Status as the task API shows it. */
export function statusOf(phase: ProcessPhase): TaskStatus {
  switch (phase.tag) {
    case "added":
    case "created":
      return "created";
    case "deleted":
      return "stopped";
    default:
      return phase.tag;
  }
}

/** Pid of the process, also after its end; 0 before it has one. */
export function pidOf(phase: ProcessPhase): number {
  if (phase.tag === "added") return 0;
  return phase.tag === "stopped" || phase.tag === "deleted" ? phase.exit.pid : phase.pid;
}

/** True while the process may run. */
export function isAlive(phase: ProcessPhase): boolean {
  return phase.tag === "created" || phase.tag === "running" || phase.tag === "paused";
}
