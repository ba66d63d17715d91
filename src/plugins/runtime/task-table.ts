/** The tasks of the daemon with what belongs to all of them: their connections and watches, and what is done when one is gone. */
import type { Call } from "../../core/call.ts";
import type { ContainerStore } from "../../core/containers/containers.ts";
import type { ContentStore } from "../../core/content/content.ts";
import { messageOf } from "../../core/errors.ts";
import type { EventExchange, EventPublisher } from "../../core/events/events.ts";
import { parseNamespace } from "../../core/ids/namespace.ts";
import type { Logger } from "../../core/log.ts";
import type { Exit } from "../../core/tasks/tasks.ts";
import { KeyedMutex } from "../../lib/keyed-mutex.ts";
import { nowNs } from "../../lib/time.ts";
import { removeStaleSocket } from "../../platform/net/unix.ts";
import { fromTimestamp } from "../../rpc/convert/basic.ts";
import { callOptions } from "../../rpc/headers.ts";
import { createTtrpcTransport } from "../../rpc/ttrpc/transport.ts";
import {
  type Bundle,
  deleteBundle,
  readAddress,
  readPid,
  readStdio,
  type ShimAddress,
  sandboxOf,
} from "./bundle.ts";
import { endsBefore, factsOf, KILLED } from "./dead-shim.ts";
import { endLateShim } from "./late-shim.ts";
import { deleteShim } from "./launch.ts";
import { LostEvents } from "./lost-events.ts";
import type { ShimCommand } from "./resolve.ts";
import { shimApi } from "./shim-api.ts";
import { ShimLogs } from "./shim-logs.ts";
import type { ShimStarter } from "./shim-manager.ts";
import { removeFifos } from "./stdio-files.ts";
import { newTask, settleExit, type Task, taskKey } from "./task.ts";

/** Timeouts of the config file, milliseconds. */
export interface RuntimeTimeouts {
  readonly load: number;
  readonly cleanup: number;
  readonly shutdown: number;
  readonly state: number;
}

/** What the manager works with. */
export interface ManagerOptions {
  readonly state: string;
  readonly root: string;
  readonly containers: ContainerStore;
  /** Checkpoints are kept there. */
  readonly content: ContentStore;
  readonly events: EventExchange & EventPublisher;
  readonly shims: ShimStarter;
  /** A runc with known holes starts nothing; else it is warned about. */
  readonly refuseOldRunc: boolean;
  /** Bundle of a sandbox that the `shim` controller runs: made or not. */
  readonly sandboxBundle: (namespace: string, sandbox: string) => Bundle;
  readonly timeouts: RuntimeTimeouts;
  readonly call: Call;
  readonly log: Logger;
}

/** See the file's comment. */
export class TaskTable {
  readonly options: ManagerOptions;
  /** By {@link taskKey}. */
  readonly tasks = new Map<string, Task>();
  /** One change at a time for each task. */
  readonly locks = new KeyedMutex();
  readonly logs: ShimLogs;
  /** Bundles an earlier daemon left, while they are being looked at. */
  found: readonly Bundle[] = [];
  readonly #lostEvents: LostEvents;
  readonly #removals = new Set<Promise<void>>();
  #stopping = false;

  constructor(options: ManagerOptions) {
    this.options = options;
    this.logs = new ShimLogs(options.state);
    this.#lostEvents = new LostEvents(options.events, options.call);
  }

  /** Asks the shim to end (it stays while it has other containers) and drops the connection. */
  async shutdown(task: Task): Promise<void> {
    const call = task.call.detached(this.options.timeouts.shutdown);
    await task.api.shutdown({ id: task.bundle.id, now: false }, callOptions(call)).catch(() => {
      // a shim that ends answers with a closed connection
    });
    await task.transport.close();
  }

  /** Ends the shim of a task that is no more, and removes what it had. */
  async forget(task: Task): Promise<void> {
    await this.shutdown(task);
    this.tasks.delete(taskKey(task.bundle.namespace, task.bundle.id));
    await this.removeBundle(task.bundle).catch((err: unknown) =>
      this.options.log.warn("remove bundle", { id: task.bundle.id, err }),
    );
  }

  /** A task over a shim. Nothing is sent before the first call. */
  connect(bundle: Bundle, shim: ShimCommand, address: ShimAddress): Task {
    const transport = createTtrpcTransport({ path: address.address });
    const call = this.options.call.in(parseNamespace(bundle.namespace));
    return newTask({ bundle, shim, address, transport, api: shimApi(transport, address.version), call });
  }

  /** A Wait that stays open tells the exit, and the loss of the shim. */
  watch(task: Task): void {
    task.api
      .wait({ id: task.bundle.id }, callOptions(task.call))
      .then((answer) => {
        // a shim that dies after this is noticed by the next request: nothing running can be lost any more
        settleExit(task, {
          pid: task.pid,
          status: answer.exitStatus,
          exitedAt: fromTimestamp(answer.exitedAt),
        });
      })
      .catch((err: unknown) => this.#lost(task, err));
  }

  /** The shim is gone: kill what it left, tell the world once, remove the bundle. */
  async #lost(task: Task, reason: unknown): Promise<void> {
    task.running = undefined;
    if (task.deleting || this.#stopping) return;
    const { log } = this.options;
    log.warn("lost the shim of a task, cleaning up", {
      namespace: task.bundle.namespace,
      id: task.bundle.id,
      reason: messageOf(reason),
    });
    await this.cleanUpDead(task.bundle, task.shim, task).catch((err: unknown) =>
      log.error("clean up after a dead shim", { id: task.bundle.id, err }),
    );
  }

  /** Cleans up after a dead shim. `task` when it was connected. */
  async cleanUpDead(
    bundle: Bundle,
    shim: ShimCommand,
    task: Task | undefined,
    onTold: () => void = () => {},
  ): Promise<void> {
    const { log, shims, timeouts, events } = this.options;
    const key = taskKey(bundle.namespace, bundle.id);
    using _lock = await this.locks.acquire(key);
    if (task !== undefined && this.tasks.get(key) !== task) return;
    this.#lostEvents.replay(this.#siblings(bundle));
    const passed = this.#lostEvents.take(bundle);
    const call = this.options.call.in(parseNamespace(bundle.namespace));
    let exit = task?.exit;
    const tell = (ended: Exit): void => {
      exit = ended;
      if (task !== undefined) settleExit(task, ended);
      if (!passed.exit) events.send(call, "/tasks/exit", { ...factsOf(bundle, ended), id: bundle.id });
      onTold();
    };
    const pid = task?.pid || readPid(bundle);
    const deleting = deleteShim(shim, bundle, shims.launch, timeouts.cleanup).catch((err: unknown) => {
      log.warn("shim delete", { id: bundle.id, err });
      return undefined;
    });
    // told as soon as it is sure: what is left then may be a wait for others to reap their processes
    if (exit === undefined && (await endsBefore(pid, deleting)))
      tell({ pid, status: KILLED, exitedAt: nowNs() });
    const told = await deleting;
    if (exit === undefined)
      tell({
        pid: told?.pid ?? pid,
        status: told?.status ?? KILLED,
        exitedAt: told?.exitedAt || nowNs(),
      });
    await task?.transport.close();
    if (!passed.deleted && exit !== undefined) events.send(call, "/tasks/delete", factsOf(bundle, exit));
    this.tasks.delete(key);
    // not every shim's delete does it
    const address = task?.address ?? readAddress(bundle);
    if (address !== undefined) await removeStaleSocket(address.address).catch(() => {});
    await removeFifos(task === undefined ? readStdio(bundle) : task.stdio);
    await this.removeBundle(bundle).catch((err: unknown) =>
      log.warn("remove bundle", { id: bundle.id, err }),
    );
    // while a new task of this id has to wait
    if (shim.own && address !== undefined && !this.#isShared(address))
      await endLateShim(address.address, () => this.connect(bundle, shim, address), timeouts.cleanup, log);
  }

  #isShared({ address }: ShimAddress): boolean {
    return [...this.tasks.values()].some((task) => task.address.address === address);
  }

  /** The bundles of the shim that serves this one. */
  #siblings(bundle: Bundle): Bundle[] {
    const address = readAddress(bundle)?.address;
    const known = [...this.found, ...[...this.tasks.values()].map((t) => t.bundle)];
    const same = (b: Bundle): boolean =>
      (b.id !== bundle.id || b.namespace !== bundle.namespace) && readAddress(b)?.address === address;
    const sandbox = sandboxOf(bundle);
    const own = sandbox === undefined ? [] : [this.options.sandboxBundle(bundle.namespace, sandbox)];
    return [bundle, ...own, ...(address === undefined ? [] : known.filter(same))];
  }

  /** Work on a bundle that nobody waits for but the end of the daemon. */
  later(work: Promise<void>, id: string): void {
    const done = work
      .catch((err: unknown) => this.options.log.warn("remove bundle", { id, err }))
      .finally(() => this.#removals.delete(done));
    this.#removals.add(done);
  }

  /** Removes a bundle, and ends the reader of its log. */
  async removeBundle(bundle: Bundle): Promise<void> {
    this.logs.end(bundle);
    await deleteBundle(bundle);
  }

  /** Closes connections; shims and containers stay. */
  async stop(): Promise<void> {
    this.#stopping = true;
    this.logs.endAll();
    await Promise.all([...[...this.tasks.values()].map((t) => t.transport.close()), ...this.#removals]);
  }
}
