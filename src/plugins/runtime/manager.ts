/** Holds the tasks of the daemon: makes, finds, watches and cleans them up. */
import { join } from "node:path";
import { fromBinary } from "@bufbuild/protobuf";
import {
  OptionsSchema,
  type Options as RuncOptions,
} from "../../api/gen/containerd/types/runc/options/oci_pb.ts";
import type { AnyValue } from "../../core/any.ts";
import type { Call, NamespacedCall } from "../../core/call.ts";
import type { ContainerStore } from "../../core/containers/containers.ts";
import type { ContentStore } from "../../core/content/content.ts";
import {
  alreadyExists,
  isDeadlineExceeded,
  isNotFound,
  isNotImplemented,
  isUnavailable,
  messageOf,
  notFound,
  wrap,
} from "../../core/errors.ts";
import type { EventExchange, EventPublisher } from "../../core/events/events.ts";
import { parseNamespace } from "../../core/ids/namespace.ts";
import type { Logger } from "../../core/log.ts";
import type { CreateTask, Exit } from "../../core/tasks/tasks.ts";
import { traced } from "../../core/tracing/traced.ts";
import { KeyedMutex } from "../../lib/keyed-mutex.ts";
import { nowNs } from "../../lib/time.ts";
import { withWarmAttachLock } from "../../platform/cgroups/attach-lock.ts";
import { removeStaleSocket } from "../../platform/net/unix.ts";
import { fromTimestamp, toAny } from "../../rpc/convert/basic.ts";
import { toMount } from "../../rpc/convert/oci.ts";
import { callOptions } from "../../rpc/headers.ts";
import { createTtrpcTransport } from "../../rpc/ttrpc/transport.ts";
import {
  type Bundle,
  bundleOf,
  createBundle,
  deleteBundle,
  hideBundle,
  listBundles,
  makeWork,
  readAddress,
  readPid,
  readStdio,
  type ShimAddress,
  sandboxAddress,
  sandboxOf,
  shimPathOf,
  writeAddress,
  writeStdio,
} from "./bundle.ts";
import { endsBefore, factsOf } from "./dead-shim.ts";
import { askLater, runningInit } from "./found-tasks.ts";
import { deleteShim } from "./launch.ts";
import { LostEvents } from "./lost-events.ts";
import { resolveShim, type ShimCommand } from "./resolve.ts";
import { refuseOldRunc, warnOldRunc } from "./runc-version.ts";
import { shimApi } from "./shim-api.ts";
import { ShimLogs } from "./shim-logs.ts";
import { answers, type ShimStarter } from "./shim-manager.ts";
import { removeFifos } from "./stdio-files.ts";
import { forgetBundle, isNewBoot, sweep } from "./sweep.ts";
import { newTask, settleExit, type Task, taskKey } from "./task.ts";

/** 128 + SIGKILL: how a container ended whose shim was killed and told nothing. */
const KILLED = 137;

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
export class TaskManager {
  readonly #options: ManagerOptions;
  readonly #tasks = new Map<string, Task>();
  readonly #locks = new KeyedMutex();
  readonly #logs: ShimLogs;
  readonly #lostEvents: LostEvents;
  /** Bundles an earlier daemon left, while they are being looked at. */
  #found: readonly Bundle[] = [];
  /** Tasks of an earlier daemon whose shim is dead, while what they had is removed. */
  readonly #cleaning = new Set<string>();
  #stopping = false;

  constructor(options: ManagerOptions) {
    this.#options = options;
    this.#logs = new ShimLogs(options.state);
    this.#lostEvents = new LostEvents(options.events, options.call);
  }

  /** @throws not-found */
  get(call: NamespacedCall, id: string): Task {
    const task = this.#tasks.get(taskKey(call.namespace, id));
    if (task === undefined) throw notFound(`task ${id}`);
    return task;
  }

  /** Tasks of a namespace. */
  list(call: NamespacedCall): Task[] {
    return [...this.#tasks.values()].filter((t) => t.bundle.namespace === call.namespace);
  }

  /** Makes bundle and shim and creates the task in it. What was made is undone when a step fails. */
  async create(call: NamespacedCall, request: CreateTask): Promise<Task> {
    const { containerId: id } = request;
    const key = taskKey(call.namespace, id);
    using _lock = await this.#locks.acquire(key, call.signal);
    if (this.#tasks.has(key)) throw alreadyExists(`task ${id}`);
    const container = await this.#options.containers.get(call, id);
    const shim = resolveFor(container.runtime.name, request.runtimePath);
    const options = request.options ?? container.runtime.options;
    const runc = runcOptions(options);
    if (this.#options.refuseOldRunc) await refuseOldRunc(runc?.binaryName || "runc");
    const bundle = bundleOf(this.#options.state, this.#options.root, call.namespace, id);
    const spec = container.spec?.value ?? new Uint8Array();
    const remapped = new TextDecoder().decode(spec).includes('"uidMappings"');
    await createBundle(bundle, spec, { remapped, own: shim.own });
    let task: Task | undefined;
    let step = "failed to start shim";
    try {
      this.#logs.follow(bundle, shim.own);
      const inSandbox = this.#sandboxShim(call.namespace, request, container.sandbox);
      const { stdin, stdout, stderr, terminal } = request;
      const stdio = { stdin, stdout, stderr, terminal };
      if (inSandbox !== undefined)
        writeAddress(bundle, inSandbox, shim.path, { stdio, sandbox: container.sandbox });
      else if (!shim.own) writeStdio(bundle, stdio);
      const wire = {
        id,
        bundle: bundle.path,
        rootfs: request.rootfs.map(toMount),
        ...stdio,
        checkpoint: runc?.criuImagePath ?? "",
        ...(options === undefined ? {} : { options: toAny(options) }),
      };
      if (request.checkpoint !== undefined) {
        step = "failed to read checkpoint";
        await makeWork(bundle);
        wire.checkpoint = join(bundle.work, "checkpoint");
        const { unpackCheckpoint } = await import("./checkpoint.ts");
        await unpackCheckpoint(call, this.#options.content, request.checkpoint, wire.checkpoint);
      }
      const start = () =>
        this.#options.shims.start(bundle, shim, spec, options, runc?.shimCgroup ?? "", { stdio });
      for (let last = false; ; last = true) {
        step = "failed to start shim";
        const found =
          inSandbox === undefined
            ? await traced(call, "start shim", start)
            : { address: inSandbox, joined: false };
        task = this.#connect(bundle, shim, found.address);
        step = "failed to create shim task";
        try {
          task.pid = (await withWarmAttachLock(task.api.create(wire, callOptions(call)))).pid;
          break;
        } catch (err) {
          // the group's shim ended just now: the next start makes a new one
          if (last || !found.joined || !isUnavailable(err) || (await answers(found.address.address)))
            throw err;
          await task.transport.close();
        }
      }
      task.stdio = stdio;
    } catch (err) {
      await this.#undoCreate(bundle, shim, task);
      // containerd's words: clients look for them
      throw wrap(err, step);
    }
    this.#tasks.set(key, task);
    this.#watch(task);
    if (shim.own) warnOldRunc(runc?.binaryName || "runc", this.#options.log);
    return task;
  }

  /** The shim of the sandbox a container belongs to: named by the client, that of the sandbox's own task, or the controller's. */
  #sandboxShim(namespace: string, request: CreateTask, sandbox: string): ShimAddress | undefined {
    if (request.taskApi !== undefined)
      return sandboxAddress(request.taskApi.address, request.taskApi.version);
    if (sandbox === "") return undefined;
    return (
      this.#tasks.get(taskKey(namespace, sandbox))?.address ??
      readAddress(this.#options.sandboxBundle(namespace, sandbox))
    );
  }

  async #undoCreate(bundle: Bundle, shim: ShimCommand, task: Task | undefined): Promise<void> {
    const { timeouts, shims, log } = this.#options;
    if (task !== undefined) await this.#shutdown(task);
    await deleteShim(shim, bundle, shims.launch, timeouts.cleanup).catch((err: unknown) =>
      log.debug("clean up after failed create", { id: bundle.id, err }),
    );
    await this.#removeBundle(bundle).catch((err: unknown) =>
      log.warn("remove bundle", { id: bundle.id, err }),
    );
  }

  /** Deletes a stopped task from its shim, ends the shim when it has no other, removes the bundle. */
  async delete(call: NamespacedCall, id: string): Promise<Exit> {
    const task = this.get(call, id);
    try {
      return await this.#delete(call, id);
    } catch (err) {
      if (!isUnavailable(err) || task.exit === undefined || (await answers(task.address.address))) throw err;
      // its shim was killed after the container had ended: nothing watches for that
      await this.cleanUpDead(task.bundle, task.shim, task);
      return task.exit;
    }
  }

  async #delete(call: NamespacedCall, id: string): Promise<Exit> {
    using _lock = await this.#locks.acquire(taskKey(call.namespace, id), call.signal);
    const task = this.get(call, id);
    task.deleting = true;
    try {
      const answer = await task.api.delete({ id }, callOptions(call));
      const exit = { pid: answer.pid, status: answer.exitStatus, exitedAt: fromTimestamp(answer.exitedAt) };
      settleExit(task, exit);
      this.#tasks.delete(taskKey(call.namespace, id));
      // in this order: as long as the bundle is there, a daemon that is killed here finds the shim again
      await this.#shutdown(task);
      this.#logs.end(task.bundle);
      const { removed } = await hideBundle(task.bundle);
      this.#later(removed(), task.bundle.id);
      return exit;
    } catch (err) {
      task.deleting = false;
      if (isNotFound(err) && task.exit !== undefined) {
        await this.#forget(task);
        return task.exit;
      }
      throw err;
    }
  }

  /** Asks the shim to end (it stays while it has other containers) and drops the connection. */
  async #shutdown(task: Task): Promise<void> {
    const call = task.call.detached(this.#options.timeouts.shutdown);
    await task.api.shutdown({ id: task.bundle.id, now: false }, callOptions(call)).catch(() => {
      // a shim that ends answers with a closed connection
    });
    await task.transport.close();
  }

  async #forget(task: Task): Promise<void> {
    await this.#shutdown(task);
    this.#tasks.delete(taskKey(task.bundle.namespace, task.bundle.id));
    await this.#removeBundle(task.bundle).catch((err: unknown) =>
      this.#options.log.warn("remove bundle", { id: task.bundle.id, err }),
    );
  }

  #connect(bundle: Bundle, shim: ShimCommand, address: ShimAddress): Task {
    const transport = createTtrpcTransport({ path: address.address });
    const call = this.#options.call.in(parseNamespace(bundle.namespace));
    return newTask({ bundle, shim, address, transport, api: shimApi(transport, address.version), call });
  }

  /** A Wait that stays open tells the exit, and the loss of the shim. */
  #watch(task: Task): void {
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
    const { log } = this.#options;
    log.warn("lost the shim of a task, cleaning up", {
      namespace: task.bundle.namespace,
      id: task.bundle.id,
      reason: messageOf(reason),
    });
    await this.cleanUpDead(task.bundle, task.shim, task);
  }

  /** Cleans up after a dead shim. `task` when it was connected. */
  async cleanUpDead(
    bundle: Bundle,
    shim: ShimCommand,
    task: Task | undefined,
    onTold: () => void = () => {},
  ): Promise<void> {
    const { log, shims, timeouts, events } = this.#options;
    const key = taskKey(bundle.namespace, bundle.id);
    using _lock = await this.#locks.acquire(key);
    if (task !== undefined && this.#tasks.get(key) !== task) return;
    this.#lostEvents.replay(this.#siblings(bundle));
    const passed = this.#lostEvents.take(bundle);
    const call = this.#options.call.in(parseNamespace(bundle.namespace));
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
    this.#tasks.delete(key);
    // not every shim's delete does it
    const socket = (task?.address ?? readAddress(bundle))?.address;
    if (socket !== undefined) await removeStaleSocket(socket).catch(() => {});
    await removeFifos(task === undefined ? readStdio(bundle) : task.stdio);
    await this.#removeBundle(bundle).catch((err: unknown) =>
      log.warn("remove bundle", { id: bundle.id, err }),
    );
  }

  /** Cleans up after a shim that died with an earlier daemon; what takes long goes on after the start. */
  #cleanUpFound(bundle: Bundle, shim: ShimCommand): Promise<void> {
    const key = taskKey(bundle.namespace, bundle.id);
    this.#cleaning.add(key);
    return new Promise((resolve, reject) => {
      this.cleanUpDead(bundle, shim, undefined, resolve)
        .finally(() => this.#cleaning.delete(key))
        .then(resolve, (err: unknown) => {
          this.#options.log.error("clean up after a dead shim", { id: bundle.id, err });
          reject(err);
        });
    });
  }

  /** The bundles of the shim that serves this one. */
  #siblings(bundle: Bundle): Bundle[] {
    const address = readAddress(bundle)?.address;
    const known = [...this.#found, ...[...this.#tasks.values()].map((t) => t.bundle)];
    const same = (b: Bundle): boolean =>
      (b.id !== bundle.id || b.namespace !== bundle.namespace) && readAddress(b)?.address === address;
    const sandbox = sandboxOf(bundle);
    const own = sandbox === undefined ? [] : [this.#options.sandboxBundle(bundle.namespace, sandbox)];
    return [bundle, ...own, ...(address === undefined ? [] : known.filter(same))];
  }

  /** Finds the shims of an earlier daemon again; cleans up after those that died meanwhile. */
  async load(): Promise<void> {
    const { state, root, log } = this.#options;
    const newBoot = await isNewBoot(state);
    this.#logs.open();
    const listed = await listBundles(state, root);
    if (newBoot) {
      await Promise.all(
        listed.map((bundle) =>
          forgetBundle(bundle).catch((err: unknown) =>
            log.error("forget a task of before the reboot", {
              namespace: bundle.namespace,
              id: bundle.id,
              err,
            }),
          ),
        ),
      );
      log.info("the machine was restarted: its tasks are forgotten", { tasks: listed.length });
    }
    const bundles = newBoot ? [] : listed;
    this.#found = bundles;
    /** What is not understood is not removed. */
    const failed = new Set<string>();
    await Promise.all(
      bundles.map((bundle) =>
        this.#loadOne(bundle).catch((err: unknown) => {
          log.error("load task", { namespace: bundle.namespace, id: bundle.id, err });
          failed.add(taskKey(bundle.namespace, bundle.id));
        }),
      ),
    );
    this.#found = [];
    await sweep({
      state,
      root,
      address: this.#options.shims.launch.daemon.address,
      socketDir: this.#options.shims.launch.socketDir,
      knownSockets: new Set([...this.#tasks.values()].map((task) => task.address.address)),
      isKnown: (namespace, id) => {
        const key = taskKey(namespace, id);
        return this.#tasks.has(key) || this.#cleaning.has(key) || failed.has(key);
      },
      knownShims: () => this.#shimPids(),
      log,
    });
    if (bundles.length > 0) log.info("loaded tasks", { bundles: bundles.length, live: this.#tasks.size });
  }

  /** Undefined when a shim does not answer. */
  async #shimPids(): Promise<Set<number> | undefined> {
    const pids = new Set<number>();
    const ask = async (task: Task): Promise<void> => {
      const limited = callOptions(task.call.within(this.#options.timeouts.load));
      pids.add((await task.api.connect({ id: task.bundle.id }, limited)).shimPid);
    };
    try {
      await Promise.all([...this.#tasks.values()].map(ask));
      return pids;
    } catch {
      return undefined;
    }
  }

  async #loadOne(bundle: Bundle): Promise<void> {
    const { timeouts, log } = this.#options;
    const call = this.#options.call.in(parseNamespace(bundle.namespace));
    const container = await this.#options.containers.get(call, bundle.id).catch((err: unknown) => {
      if (isNotFound(err)) return undefined;
      throw err;
    });
    const shim = resolveShim(container?.runtime.name ?? "io.containerd.runc.v2", shimPathOf(bundle));
    const address = readAddress(bundle);
    if (address === undefined) return await this.#cleanUpFound(bundle, shim);
    const running = shim.own && container !== undefined ? runningInit(bundle) : undefined;
    if (running !== undefined) return this.#assume(bundle, shim, address, running);
    const task = await this.#reconnect(bundle, shim, address, timeouts.load).catch(async (err: unknown) => {
      log.warn("connect to the shim of a task", { id: bundle.id, err });
      // one that listens is frozen or slow, and its container runs: it is watched, not killed (R7)
      if (!isDeadlineExceeded(err) || !(await answers(address.address))) return undefined;
      const stuck = this.#connect(bundle, shim, address);
      stuck.pid = readPid(bundle);
      return stuck;
    });
    if (task === undefined) return await this.#cleanUpFound(bundle, shim);
    this.#tasks.set(taskKey(bundle.namespace, bundle.id), task);
    if (container === undefined && task.pid === 0) return await this.#forget(task);
    this.#logs.follow(bundle, shim.own);
    this.#watch(task);
  }

  /** Takes a task for running whose shim is asked later. */
  #assume(bundle: Bundle, shim: ShimCommand, address: ShimAddress, pid: number): void {
    const task = this.#connect(bundle, shim, address);
    task.pid = pid;
    task.assumed = true;
    task.stdio = readStdio(bundle);
    this.#tasks.set(taskKey(bundle.namespace, bundle.id), task);
    this.#logs.follow(bundle, shim.own);
  }

  /** Connects to the shims that {@link load} has not asked. */
  async askFound(): Promise<void> {
    const tasks = [...this.#tasks.values()].filter((task) => task.assumed);
    await askLater(tasks, this.#options.timeouts.load, (task) => this.#watch(task));
  }

  async #reconnect(bundle: Bundle, shim: ShimCommand, address: ShimAddress, ms: number): Promise<Task> {
    const ask = async (version: number): Promise<Task> => {
      const task = this.#connect(bundle, shim, { ...address, version });
      try {
        const state = await task.api.state({ id: bundle.id }, callOptions(task.call.within(ms)));
        task.pid = state.pid;
        const { stdin, stdout, stderr, terminal } = state;
        task.stdio = { stdin, stdout, stderr, terminal };
        return task;
      } catch (err) {
        // the last daemon was killed between Delete and Shutdown: nobody else will end this shim
        if (isNotFound(err))
          await task.api
            .shutdown({ id: bundle.id, now: false }, callOptions(task.call.within(ms)))
            .catch(() => {});
        await task.transport.close();
        throw err;
      }
    };
    try {
      return await ask(address.version);
    } catch (err) {
      if (!isNotImplemented(err) || address.version < 3) throw err;
      return await ask(2);
    }
  }

  readonly #removals = new Set<Promise<void>>();

  /** Work on a bundle that nobody waits for but the end of the daemon. */
  #later(work: Promise<void>, id: string): void {
    const done = work
      .catch((err: unknown) => this.#options.log.warn("remove bundle", { id, err }))
      .finally(() => this.#removals.delete(done));
    this.#removals.add(done);
  }

  async #removeBundle(bundle: Bundle): Promise<void> {
    this.#logs.end(bundle);
    await deleteBundle(bundle);
  }

  /** Closes connections; shims and containers stay. */
  async stop(): Promise<void> {
    this.#stopping = true;
    this.#logs.endAll();
    await Promise.all([...[...this.#tasks.values()].map((t) => t.transport.close()), ...this.#removals]);
  }

  /** Timeout of state and stats questions. */
  get stateTimeout(): number {
    return this.#options.timeouts.state;
  }
}

function resolveFor(name: string, path: string | undefined): ShimCommand {
  try {
    return resolveShim(name, path);
  } catch (err) {
    throw wrap(err, "failed to start shim");
  }
}

/** Options of the runc runtime, when they are such. */
function runcOptions(options: AnyValue | undefined): RuncOptions | undefined {
  return options?.typeUrl.endsWith(OptionsSchema.typeName) === true
    ? fromBinary(OptionsSchema, options.value)
    : undefined;
}
