/** Watches the processes of pods and containers, and writes down how they ended. */

import { isNotFound, isUnavailable, messageOf } from "../core/errors.ts";
import type { Exit } from "../core/tasks/tasks.ts";
import { untilEnded } from "../core/until-ended.ts";
import { sleep } from "../lib/retry.ts";
import { nowNs } from "../lib/time.ts";
import type { CriDeps } from "./deps.ts";
import { EXEC_ID } from "./exec/process.ts";
import type { Container } from "./model.ts";
import type { NriHooks } from "./nri/hooks.ts";
import type { CriStore } from "./store/store.ts";

/** Exit code of a container whose end nobody saw. */
export const UNKNOWN_EXIT = 255;
const SIGKILL = 9;
/** Longest time for ending a task. Milliseconds. */
const DESTROY_MS = 60_000;
/** How long the events of an exit are waited for, to know about a want of memory. Milliseconds. */
const EVENTS_MS = 2_000;

/** What the monitor needs of the pod domain. */
interface Watched {
  readonly deps: CriDeps;
  readonly store: CriStore;
  readonly nri: NriHooks;
  /** Execs of this life: their callers take care of them. */
  readonly execs: ReadonlySet<string>;
}

/** See the file's comment. */
export class Monitor {
  readonly #cri: Watched;
  /** Containers that the kernel killed inside for want of memory. */
  readonly #oom = new Set<string>();
  /** Called when the exit event of a container came by. */
  readonly #exits = new Map<string, () => void>();
  /** Watches by id: each ends when the end of its process was dealt with. */
  readonly #watching = new Map<string, Promise<void>>();

  constructor(cri: Watched) {
    this.#cri = cri;
  }

  /** Follows task events until the daemon ends. */
  start(): void {
    const { deps } = this.#cri;
    const filters = ["/tasks/oom", "/tasks/exit"].map(
      (topic) => `namespace==${deps.call.namespace},topic=="${topic}"`,
    );
    const follow = async (): Promise<void> => {
      for await (const { topic, event } of deps.events.subscribe(deps.call, filters)) {
        const about = deps.codec.taskEvent(event);
        if (about === undefined) continue;
        if (topic === "/tasks/oom") this.#oom.add(about.containerId);
        else if (about.execId === "") this.#exits.get(about.containerId)?.();
        else void this.#execEnded(about.containerId, about.execId);
      }
    };
    const again = (): void => {
      follow().catch(async (err: unknown) => {
        if (deps.call.signal.aborted) return;
        deps.log.warn("follow task events", { err: messageOf(err) });
        await sleep(1_000);
        again();
      });
    };
    again();
  }

  /** One that an earlier daemon started is removed from its shim: its client is gone, and nobody else would. */
  async #execEnded(id: string, execId: string): Promise<void> {
    const { deps, store, execs } = this.#cri;
    if (execs.has(execId) || !EXEC_ID.test(execId) || store.findContainer(id) === undefined) return;
    await deps.tasks
      .deleteProcess(deps.call.detached(DESTROY_MS), id, execId)
      .then(() => deps.log.info("exec of an earlier life ended", { container: id, exec: execId }))
      .catch((err: unknown) => {
        if (!isNotFound(err)) deps.log.warn("delete an exec that ended", { id, exec: execId, err });
      });
  }

  /** Waits for the end of a pod's process. */
  watchPod(id: string): void {
    this.#watch(id, false, async () => {
      const pod = this.#cri.store.findPod(id);
      if (pod === undefined || pod.state === "not-ready") return;
      await this.#cri.store.changePod(id, { state: "not-ready", exitedAt: nowNs(), pid: 0 });
      this.#cri.store.tell("stopped", id, id);
    });
  }

  /** Waits for the end of a container's process. */
  watchContainer(id: string): void {
    this.#watch(id, true, (exit) => this.containerEnded(id, exit));
  }

  /** Call when the process of `id` has ended: resolves when that is dealt with and its task is gone. */
  async settled(id: string): Promise<void> {
    await this.#watching.get(id);
  }

  /** Ends a task and removes it; no task is fine. */
  async destroyTask(id: string): Promise<void> {
    const { tasks, call } = this.#cri.deps;
    const limited = call.detached(DESTROY_MS);
    const watching = this.#watching.get(id);
    try {
      await tasks.kill(limited, id, "", SIGKILL, true).catch((err: unknown) => {
        // the watch may have removed it meanwhile, and its shim with it
        if (isNotFound(err) || (watching !== undefined && isUnavailable(err))) return;
        throw err;
      });
      if (watching !== undefined) return await untilEnded(limited, watching);
      await tasks.wait(limited, id, "");
      await tasks.delete(limited, id);
    } catch (err) {
      if (!isNotFound(err)) throw err;
    }
  }

  /** Writes down how a container ended. */
  async containerEnded(id: string, exit: Exit | undefined): Promise<void> {
    const { store, nri, deps } = this.#cri;
    const container = store.findContainer(id);
    if (container === undefined || container.state === "exited") return;
    const change = endedState(exit, exit !== undefined && exit.status !== 0 && this.#oom.has(id));
    const ended = await store.changeContainer(id, change);
    if (ended === undefined) return;
    store.tell("stopped", ended.podId, id);
    await nri
      .stopContainer(ended)
      .catch((err: unknown) => deps.log.warn("nri: stop container", { id, err: messageOf(err) }));
  }

  #watch(id: string, mayBeOom: boolean, ended: (exit: Exit | undefined) => Promise<void>): void {
    const { deps } = this.#cri;
    const { tasks, call, log } = deps;
    const exitEvent = Promise.withResolvers<void>();
    this.#exits.set(id, () => exitEvent.resolve());
    const watch = async (): Promise<void> => {
      let exit: Exit | undefined;
      try {
        exit = await tasks.wait(call, id, "");
      } catch (err) {
        if (call.signal.aborted) return;
        if (!isNotFound(err)) log.warn("wait for the end of a process", { id, err: messageOf(err) });
      }
      // a want of memory is told by an event before that of the exit; only failures can be due to it
      if (mayBeOom && exit !== undefined && exit.status !== 0)
        await Promise.race([exitEvent.promise, sleep(EVENTS_MS)]);
      await tasks.delete(call.detached(DESTROY_MS), id).catch((err: unknown) => {
        if (!isNotFound(err)) log.warn("delete a task that ended", { id, err: messageOf(err) });
      });
      await ended(exit);
    };
    const watching = watch()
      .catch((err: unknown) => log.error("write down the end of a process", { id, err }))
      .finally(() => {
        this.#watching.delete(id);
        this.#exits.delete(id);
        this.#oom.delete(id);
      });
    this.#watching.set(id, watching);
  }
}

/** State of a container by how its process ended; undefined = nobody saw it. */
export function endedState(
  exit: Exit | undefined,
  oom: boolean,
): Pick<Container, "state" | "exitCode" | "reason" | "finishedAt" | "pid"> {
  if (exit === undefined)
    return { state: "exited", exitCode: UNKNOWN_EXIT, reason: "Unknown", finishedAt: nowNs(), pid: 0 };
  const reason = oom ? "OOMKilled" : exit.status === 0 ? "Completed" : "Error";
  return { state: "exited", exitCode: exit.status, reason, finishedAt: exit.exitedAt, pid: 0 };
}
