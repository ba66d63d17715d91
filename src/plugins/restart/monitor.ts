/**
 * Makes true what the restart labels of containers say: starts those that ended, stops those that shall not run. An exit is acted
 * on soon after it was told; a pass over all containers, once an interval, finds what nobody told.
 */
import { lstatSync, rmdirSync, unlinkSync } from "node:fs";
import { dirname } from "node:path";
import type { Call, NamespacedCall } from "../../core/call.ts";
import type { Container } from "../../core/containers/containers.ts";
import { isNotFound, messageOf } from "../../core/errors.ts";
import { parseNamespace } from "../../core/ids/namespace.ts";
import type { Logger } from "../../core/log.ts";
import type { MetadataStore } from "../../core/plugin/kinds.ts";
import type { ProcessState, Stdio, TaskService } from "../../core/tasks/tasks.ts";
import { nowNs } from "../../lib/time.ts";
import { unpackSpec } from "../../oci/spec/json.ts";
import { Backoff } from "./backoff.ts";
import {
  COUNT_LABEL,
  type LastExit,
  LOG_URI_LABEL,
  restartCount,
  STATUS_LABEL,
  wantsStart,
} from "./policy.ts";

/** Longest time for one container, so that a stuck one does not hold up its own next try for ever. Milliseconds. */
const CONTAINER_MS = 60_000;
const SIGKILL = 9;
/**
 * A task that is gone a moment after its exit was removed by its client, which may be about to remove the container, or with
 * its shim, which died. After so long it is the latter. Milliseconds.
 */
const GONE_MS = 1_000;
/** Until something else that is done to a container is looked at again. Milliseconds. */
const BUSY_MS = 100;

/** What the monitor works with. */
export interface MonitorParts {
  readonly metadata: Pick<MetadataStore, "namespaces" | "containers" | "snapshotter">;
  readonly tasks: TaskService;
  readonly log: Logger;
  /** Between two passes; a container younger than that is still being set up by its client. Milliseconds. */
  readonly intervalMs: number;
}

/** See the file's comment. */
export class RestartMonitor {
  readonly #parts: MonitorParts;
  /** What is being done, by container. */
  readonly #busy = new Map<string, Promise<void>>();
  /** Tasks that were created and not started at the last pass. */
  #created = new Set<string>();
  readonly #backoff: Backoff;
  /** Exits that are acted on later, by container. */
  readonly #soon = new Map<string, NodeJS.Timeout>();

  constructor(parts: MonitorParts) {
    this.#parts = parts;
    this.#backoff = new Backoff(parts.intervalMs);
  }

  /** An exit of a container's task: it is started again soon, when its labels say so. `call` must outlive the wait. */
  ended(call: NamespacedCall, id: string, exit: LastExit): void {
    const key = `${call.namespace}/${id}`;
    if (this.#soon.has(key)) return;
    this.#after(this.#backoff.next(key, exit?.status ?? 0), call, id, exit, false);
  }

  #after(ms: number, call: NamespacedCall, id: string, exit: LastExit, gone: boolean): void {
    const key = `${call.namespace}/${id}`;
    const act = (): void => {
      this.#soon.delete(key);
      // it may have ended while it was being started
      if (this.#busy.has(key)) this.#after(BUSY_MS, call, id, exit, gone);
      else this.#work(call, id, () => this.#react(call.within(CONTAINER_MS), id, exit, gone));
    };
    this.#soon.set(key, setTimeout(act, ms).unref());
  }

  async #react(call: NamespacedCall, id: string, exit: LastExit, gone: boolean): Promise<void> {
    const container = await this.#parts.metadata.containers.get(call, id).catch((err: unknown) => {
      if (isNotFound(err)) return undefined;
      throw err;
    });
    if (container?.labels.get(STATUS_LABEL) !== "running") {
      this.#backoff.forget(`${call.namespace}/${id}`);
      return;
    }
    const task = await this.#taskOf(call, id);
    if (task?.status === "stopped") {
      const last = { status: task.exitStatus };
      if (wantsStart(container.labels, last)) await this.#start(call, container, task);
    } else if (task === undefined && wantsStart(container.labels, exit)) {
      if (gone) await this.#start(call, container, undefined);
      else this.#after(GONE_MS, call, id, exit, true);
    }
  }

  /**
   * Looks at every container once and starts what is to be done; does not wait for that, so that a container that is stuck holds
   * up nobody else.
   */
  async pass(call: Call): Promise<void> {
    const { metadata } = this.#parts;
    const before = this.#created;
    this.#created = new Set();
    for (const { name } of await metadata.namespaces.list(call)) {
      const namespaced = call.in(parseNamespace(name));
      for (const container of await metadata.containers.list(namespaced, [`labels."${STATUS_LABEL}"`])) {
        const key = `${name}/${container.id}`;
        if (this.#busy.has(key) || this.#soon.has(key)) continue;
        this.#work(namespaced, container.id, () =>
          this.#reconcile(namespaced.within(CONTAINER_MS), container, before.has(key)),
        );
      }
    }
  }

  #work(call: NamespacedCall, id: string, what: () => Promise<void>): void {
    const key = `${call.namespace}/${id}`;
    const work = what()
      .catch((err: unknown) => {
        if (!call.signal.aborted)
          this.#parts.log.error("restart policy is not kept", {
            namespace: call.namespace,
            container: id,
            err,
          });
      })
      .finally(() => this.#busy.delete(key));
    this.#busy.set(key, work);
  }

  /** Takes up nothing more by itself, and resolves when nothing is being done. */
  async drain(): Promise<void> {
    for (const timer of this.#soon.values()) clearTimeout(timer);
    this.#soon.clear();
    await Promise.all(this.#busy.values());
  }

  async #reconcile(call: NamespacedCall, container: Container, wasCreated: boolean): Promise<void> {
    const { tasks } = this.#parts;
    const wanted = container.labels.get(STATUS_LABEL);
    // as it shall be: its shim need not be asked, which may sleep
    if (wanted === "running" && tasks.peek?.(call).get(container.id) === "running") return;
    const task = await this.#taskOf(call, container.id);
    if (wanted === "stopped") {
      if (task !== undefined && task.status !== "stopped") await this.#end(call, task);
      return;
    }
    if (wanted !== "running") return;
    switch (task?.status) {
      case undefined: {
        const age = nowNs() - container.createdAt;
        if (age < BigInt(this.#parts.intervalMs) * 1_000_000n) return;
        if (wantsStart(container.labels, undefined)) await this.#start(call, container, undefined);
        return;
      }
      case "stopped":
        if (wantsStart(container.labels, { status: task.exitStatus }))
          await this.#start(call, container, task);
        return;
      case "created":
        // its client is about to start it, unless that was so a whole interval ago
        if (wasCreated) await tasks.start(call, container.id, "");
        else this.#created.add(`${call.namespace}/${container.id}`);
        return;
      default:
        // running, paused on purpose, or a shim that does not answer now
        return;
    }
  }

  async #taskOf(call: NamespacedCall, id: string): Promise<ProcessState | undefined> {
    try {
      return await this.#parts.tasks.get(call, id, "");
    } catch (err) {
      if (isNotFound(err)) return undefined;
      throw err;
    }
  }

  async #end(call: NamespacedCall, task: ProcessState): Promise<void> {
    const { tasks, log } = this.#parts;
    const { containerId: id } = task;
    await tasks.kill(call, id, "", SIGKILL, true).catch((err: unknown) => {
      if (!isNotFound(err)) throw err;
    });
    await tasks.wait(call, id, "");
    await this.#delete(call, task);
    log.info("stopped by its restart label", { namespace: call.namespace, container: id });
  }

  async #delete(call: NamespacedCall, task: ProcessState): Promise<void> {
    await this.#parts.tasks.delete(call, task.containerId).catch((err: unknown) => {
      if (!isNotFound(err)) throw err;
    });
    removeFifos(task);
  }

  async #start(call: NamespacedCall, container: Container, old: ProcessState | undefined): Promise<void> {
    const { tasks, metadata, log } = this.#parts;
    const { id, snapshotKey, snapshotter } = container;
    if (old !== undefined) await this.#delete(call, old);
    const rootfs =
      snapshotKey === "" ? [] : await metadata.snapshotter(snapshotter).mounts(call, snapshotKey);
    const count = restartCount(container.labels) + 1;
    // before the start: a start that fails counts as a try
    await metadata.containers.update(
      call,
      { ...container, labels: new Map([[COUNT_LABEL, String(count)]]) },
      [`labels.${COUNT_LABEL}`],
    );
    await tasks.create(call, { containerId: id, rootfs, ...stdioOf(container) });
    try {
      // a client may have removed it meanwhile; from now on it sees the task
      await metadata.containers.get(call, id);
      this.#backoff.started(`${call.namespace}/${id}`);
      await tasks.start(call, id, "");
    } catch (err) {
      await tasks
        .delete(call.detached(10_000), id)
        .catch((late: unknown) =>
          log.warn("remove what did not start", { container: id, reason: messageOf(late) }),
        );
      throw err;
    }
    log.info("started again", {
      namespace: call.namespace,
      container: id,
      count,
      exit: old?.exitStatus ?? "no task",
    });
  }
}

/** To the log that the label names, else nowhere: the client that made the first task is gone. */
function stdioOf(container: Container): Stdio {
  const log = container.labels.get(LOG_URI_LABEL) ?? "";
  const terminal = unpackSpec(container.spec).process?.terminal === true;
  return { stdin: "", stdout: log, stderr: terminal ? "" : log, terminal };
}

/** FIFOs that a detached client left for the old task; nobody else removes them. Other files are left alone. */
function removeFifos({ stdin, stdout, stderr }: Stdio): void {
  for (const path of [stdin, stdout, stderr]) {
    try {
      if (!path.startsWith("/") || !lstatSync(path).isFIFO()) continue;
      unlinkSync(path);
      rmdirSync(dirname(path));
    } catch {
      // gone, or a folder with other things in it
    }
  }
}
