/**
 * Runs the health commands of containers and writes what comes of it into a label:
 *
 *     starting --passed--> healthy --failed `retries` times in a row--> unhealthy --passed--> healthy
 *        +------------------failed `retries` times in a row-------------^
 */
import { randomBytes } from "node:crypto";
import type { Call, NamespacedCall } from "../../core/call.ts";
import type { Container } from "../../core/containers/containers.ts";
import { isNotFound, messageOf } from "../../core/errors.ts";
import { parseNamespace } from "../../core/ids/namespace.ts";
import type { Logger } from "../../core/log.ts";
import type { MetadataStore } from "../../core/plugin/kinds.ts";
import type { TaskService } from "../../core/tasks/tasks.ts";
import { packProcess, unpackSpec } from "../../oci/spec/json.ts";
import { CMD_LABEL, type HealthSettings, parseHealth, STATUS_LABEL } from "./settings.ts";

const SIGKILL = 9;
/** Time for what surrounds a command: its start, its kill, its removal. Milliseconds. */
const AROUND_MS = 10_000;

export type HealthStatus = "starting" | "healthy" | "unhealthy";

/** What the monitor works with. */
export interface HealthParts {
  readonly metadata: Pick<MetadataStore, "namespaces" | "containers">;
  readonly tasks: TaskService;
  readonly log: Logger;
}

/** See the file's comment. */
export class HealthMonitor {
  readonly #parts: HealthParts;
  readonly #watched = new Map<string, AbortController>();
  readonly #running = new Set<Promise<void>>();

  constructor(parts: HealthParts) {
    this.#parts = parts;
  }

  /** Takes up every container that runs already. */
  async load(call: Call): Promise<void> {
    const { metadata, tasks } = this.#parts;
    for (const { name } of await metadata.namespaces.list(call)) {
      const namespaced = call.in(parseNamespace(name));
      for (const container of await metadata.containers.list(namespaced, [`labels."${CMD_LABEL}"`])) {
        const task = await tasks.get(namespaced, container.id, "").catch(() => undefined);
        if (task?.status === "running") this.#watch(namespaced, container);
      }
    }
  }

  /** A task was started. */
  async started(call: NamespacedCall, id: string): Promise<void> {
    const container = await this.#parts.metadata.containers.get(call, id).catch((err: unknown) => {
      if (isNotFound(err)) return undefined;
      throw err;
    });
    if (container?.labels.has(CMD_LABEL) === true) this.#watch(call, container);
  }

  /** A task has ended. */
  ended(namespace: string, id: string): void {
    this.#watched.get(`${namespace}/${id}`)?.abort();
  }

  /** Resolves when no command runs any more. */
  async stop(): Promise<void> {
    for (const one of this.#watched.values()) one.abort();
    await Promise.all(this.#running);
  }

  #watch(call: NamespacedCall, container: Container): void {
    const key = `${call.namespace}/${container.id}`;
    const { log } = this.#parts;
    let settings: HealthSettings | undefined;
    try {
      settings = parseHealth(container.labels);
    } catch (err) {
      log.warn("health of a container is not watched", { container: key, reason: messageOf(err) });
    }
    if (settings === undefined) return;
    this.#watched.get(key)?.abort();
    const stop = new AbortController();
    this.#watched.set(key, stop);
    const work = this.#loop(call, container, settings, stop.signal)
      .catch((err: unknown) => {
        if (!stop.signal.aborted && !isNotFound(err))
          log.warn("health of a container", { container: key, err });
      })
      .finally(() => {
        this.#running.delete(work);
        if (this.#watched.get(key) === stop) this.#watched.delete(key);
      });
    this.#running.add(work);
  }

  async #loop(
    call: NamespacedCall,
    container: Container,
    settings: HealthSettings,
    stop: AbortSignal,
  ): Promise<void> {
    const { id } = container;
    const began = performance.now();
    let status: HealthStatus = "starting";
    await this.#tell(call, container, status);
    for (let failures = 0; ; ) {
      await pause(settings.intervalMs, stop);
      if (stop.aborted) return;
      const passed = await this.#check(call, container, settings, stop);
      if (stop.aborted) return;
      if (passed) failures = 0;
      else if (status !== "starting" || performance.now() - began >= settings.startPeriodMs) failures++;
      const next: HealthStatus = passed ? "healthy" : failures >= settings.retries ? "unhealthy" : status;
      if (next === status) continue;
      status = next;
      this.#parts.log.info("health of a container", { namespace: call.namespace, container: id, status });
      await this.#tell(call, container, status);
      if (status === "unhealthy" && settings.kill) {
        await this.#parts.tasks.kill(call.within(AROUND_MS), id, "", SIGKILL, false);
        return;
      }
    }
  }

  /** Runs the command once. @returns whether it ended with 0 in time */
  async #check(
    call: NamespacedCall,
    { id, spec }: Container,
    { args, timeoutMs }: HealthSettings,
    stop: AbortSignal,
  ): Promise<boolean> {
    const { tasks } = this.#parts;
    const base = unpackSpec(spec).process ?? { user: { uid: 0, gid: 0 }, cwd: "/" };
    const execId = `health-${randomBytes(6).toString("hex")}`;
    const process = packProcess({ ...base, args: [...args], terminal: false });
    const none = { stdin: "", stdout: "", stderr: "", terminal: false };
    const around = (): NamespacedCall => call.detached(AROUND_MS);
    try {
      await tasks.exec(around(), { containerId: id, execId, ...none, spec: process });
    } catch {
      // the container ended, or its shim does not answer
      return false;
    }
    let status = -1;
    try {
      await tasks.start(around(), id, execId);
      status = (await tasks.wait(call.within(timeoutMs).until(stop), id, execId)).status;
    } catch {
      await tasks.kill(around(), id, execId, SIGKILL, false).catch(() => {});
      await tasks.wait(around(), id, execId).catch(() => {});
    }
    await tasks.deleteProcess(around(), id, execId).catch(() => {});
    return status === 0;
  }

  async #tell(call: NamespacedCall, container: Container, status: HealthStatus): Promise<void> {
    const labels = new Map([[STATUS_LABEL, status]]);
    await this.#parts.metadata.containers.update(call, { ...container, labels }, [`labels.${STATUS_LABEL}`]);
  }
}

function pause(ms: number, stop: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    const end = (): void => {
      clearTimeout(timer);
      resolve();
    };
    stop.addEventListener("abort", end, { once: true });
    if (stop.aborted) end();
  });
}
