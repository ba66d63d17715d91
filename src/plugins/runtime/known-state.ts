/** What is known of a task's init without a word from its shim, which may sleep. */
import type { ProcessState } from "../../core/tasks/tasks.ts";
import { readProcStat } from "../../platform/process/proc.ts";
import type { Task } from "./task.ts";

/** What the shim said of init, when that can have changed only by an end that would have been told. */
export function knownState(task: Task): ProcessState | undefined {
  return task.exit === undefined ? task.running : undefined;
}

/**
 * The same for a list of all, which is also where a stuck shim is to be found: init is seen to run, below a shim that is not stopped.
 * Asked instead, hundreds of sleeping shims would wake up at once, for seconds of processor time and gigabytes.
 */
export function seenState(task: Task): ProcessState | undefined {
  const known = knownState(task);
  if (known === undefined) return undefined;
  const init = readProcStat(known.pid);
  if (init === undefined || /[ZX]/.test(init.state)) return undefined;
  const shim = readProcStat(init.parent);
  return shim === undefined || /[Tt]/.test(shim.state) ? undefined : known;
}

/** Keeps an answer of the shim about init. */
export function rememberState(task: Task, state: ProcessState): void {
  task.seen = state.status;
  task.running = state.status === "running" && task.shim.own ? state : undefined;
}
