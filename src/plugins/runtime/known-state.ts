/** What is known of processes without a word from their shim, which may sleep. */
import type { Exit, ProcessState, Stdio } from "../../core/tasks/tasks.ts";
import { readProcStat } from "../../platform/process/proc.ts";
import type { KnownExec, Task } from "./task.ts";

/** What the shim said of init, when that can have changed only by an end that would have been told. */
export function knownState(task: Task): ProcessState | undefined {
  return task.exit === undefined ? task.running : undefined;
}

/**
 * State of a process that has ended, when its whole story is known: nothing changes it any more but its removal. Clients ask this
 * between an end and a Delete.
 */
export function knownEnd(task: Task, execId: string): ProcessState | undefined {
  if (execId === "") return task.running && task.exit && ended(task.running, task.exit);
  const exec = task.execs.get(execId);
  if (exec?.exit === undefined || exec.pid === 0) return undefined;
  const { pid, stdio, exit } = exec;
  return ended({ containerId: task.bundle.id, execId, pid, ...stdio }, exit);
}

function ended(
  process: Pick<ProcessState, "containerId" | "execId" | "pid" | keyof Stdio>,
  exit: Exit,
): ProcessState {
  const exitedAt = exit.exitedAt <= 0n ? undefined : exit.exitedAt;
  return { ...process, status: "stopped", exitStatus: exit.status, exitedAt };
}

/** Keeps an exec that the shim has accepted. */
export function rememberExec(task: Task, execId: string, stdio: Stdio): void {
  if (!task.shim.own) return;
  const { stdin, stdout, stderr, terminal } = stdio;
  const known: KnownExec = { stdio: { stdin, stdout, stderr, terminal }, pid: 0, exit: undefined };
  task.execs.set(execId, known);
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
