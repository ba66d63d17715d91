import { randomBytes } from "node:crypto";
import { unknownError, wrap } from "../../core/errors.ts";
import type { Exit } from "../../core/tasks/tasks.ts";
import { packProcess, unpackSpec } from "../../oci/spec/json.ts";
import type { Process } from "../../oci/spec/types.ts";
import { cgroupOf } from "../../platform/cgroups/cgroups.ts";
import { readProcStat } from "../../platform/process/proc.ts";
import { kill } from "../../platform/syscalls/process.ts";
import type { Container, CriView } from "../model.ts";
import type { ExecDeps } from "./deps.ts";
import { type Fifos, makeFifos, type WantedStreams } from "./fifos.ts";
import { GONE_MS, ShimExec, SIGKILL } from "./shim-exec.ts";
import { settlesWithin } from "./timed.ts";

/** A process added to a running container. */
export interface RunningExec {
  readonly container: Container;
  readonly execId: string;
  readonly pid: number;
  readonly fifos: Fifos;
  /** Its end; the same promise every time. */
  readonly exited: Promise<Exit>;
  resize(columns: number, rows: number): Promise<void>;
  /** No more input from us. */
  closeStdin(): Promise<void>;
  /** Sends a signal to the process alone; nothing when it is gone. */
  signal(number: number): Promise<void>;
  /** SIGKILL to it and to everything it started, as far as that is still in its session or below it. */
  killTree(): Promise<void>;
  /** Removes it and its FIFOs; a process that still runs is killed. Never throws. */
  dispose(): Promise<void>;
}

/**
 * The container of a request, which must run.
 * @throws not-found; unknown with containerd's words when it does not run
 */
export function runningContainer(view: CriView, id: string, doing: string): Container {
  const container = view.container(id);
  if (container.state === "running") return container;
  throw unknownError(
    `failed to ${doing} in container: container is in CONTAINER_${container.state.toUpperCase()} state`,
  );
}

/** Ids of CRI's execs; other clients of the namespace have others, and remove theirs themselves. */
export const EXEC_ID = /^[0-9a-f]{64}$/;

/** How long a shim may take to add and to start a process, milliseconds. */
const START_MS = 120_000;

/**
 * Starts `command` in a container, with its own user, environment and limits.
 * @param signal ends the start: the caller is gone
 * @throws not-found; unknown with the runtime's words when it cannot be started; deadline-exceeded for a shim that hangs
 */
export async function startExec(
  deps: ExecDeps,
  containerId: string,
  command: readonly string[],
  wanted: WantedStreams,
  signal: AbortSignal,
): Promise<RunningExec> {
  const { view, tasks } = deps;
  const starting = view.call.until(signal).within(START_MS);
  const container = runningContainer(view, containerId, "exec");
  const { id } = container;
  const process = processFor(
    unpackSpec((await deps.containers.get(starting, id)).spec).process,
    command,
    wanted,
  );
  const execId = randomBytes(32).toString("hex");
  const fifos = makeFifos(deps.ioDir, wanted);
  const exec = new ShimExec(deps, id, execId, fifos);
  try {
    await tasks.exec(starting, { containerId: id, execId, ...fifos.stdio, spec: packProcess(process) });
  } catch (err) {
    // not waited for: a shim that hangs may make it yet
    void exec.remove();
    throw wrap(err, `failed to exec in container: failed to create exec "${execId}"`);
  }
  try {
    const pid = await tasks.start(starting, id, execId);
    fifos.opened();
    return follow(deps, container, exec, pid, fifos);
  } catch (err) {
    void exec.undoStart();
    throw wrap(err, `failed to exec in container: failed to start exec "${execId}"`);
  }
}

/** Waits for the end of a process that runs from now on, and gives what can be done to it until then. */
function follow(
  deps: ExecDeps,
  container: Container,
  exec: ShimExec,
  pid: number,
  fifos: Fifos,
): RunningExec {
  const { tasks, view } = deps;
  const { containerId, execId } = exec;
  const waiting = new AbortController();
  const exited = tasks.wait(view.call.until(waiting.signal), containerId, execId);
  let ended = false;
  const end = (): void => {
    ended = true;
  };
  exited.then(end, end);
  const signal = async (number: number): Promise<void> => {
    if (!ended) await exec.signal(number);
  };
  return {
    container,
    execId,
    pid,
    fifos,
    exited,
    signal,
    resize: (columns, rows) => tasks.resizePty(view.call, containerId, execId, columns, rows),
    async closeStdin() {
      if (!ended) await tasks.closeIO(view.call, containerId, execId, true);
    },
    async killTree() {
      const tree = ended ? [] : descendants(pid, cgroupOf(pid)?.procs() ?? []);
      await signal(SIGKILL);
      killAll(tree);
      // who was born meanwhile
      killAll(descendants(pid, cgroupOf(container.pid)?.procs() ?? []));
    },
    async dispose() {
      if (!ended) {
        await signal(SIGKILL);
        await settlesWithin(exited, GONE_MS);
      }
      waiting.abort();
      await exec.remove();
    },
  };
}

function processFor(base: Process | undefined, command: readonly string[], wanted: WantedStreams): Process {
  const process: Process = { ...(base ?? { user: { uid: 0, gid: 0 }, cwd: "/" }), args: [...command] };
  process.terminal = wanted.tty;
  delete process.consoleSize;
  if (wanted.tty && !(process.env ?? []).some((entry) => entry.startsWith("TERM=")))
    process.env = [...(process.env ?? []), "TERM=xterm"];
  return process;
}

/** Those of `candidates` that `root` started: below it, or in its session (an exec begins one). */
export function descendants(root: number, candidates: readonly number[]): number[] {
  const parents = new Map<number, { parent: number; session: number }>();
  for (const pid of candidates) {
    const stat = readProcStat(pid);
    if (stat !== undefined) parents.set(pid, stat);
  }
  const below = (pid: number): boolean => {
    let at = pid;
    for (let depth = 0; depth < 1000; depth++) {
      if (at === root) return true;
      const stat = parents.get(at);
      if (stat === undefined) return false;
      if (stat.session === root) return true;
      at = stat.parent;
    }
    return false;
  };
  return [...parents.keys()].filter((pid) => pid !== root && below(pid));
}

function killAll(pids: readonly number[]): void {
  for (const pid of pids) {
    try {
      kill(pid, SIGKILL);
    } catch {
      // gone
    }
  }
}
