/** Finds the tasks of an earlier daemon again, and cleans up after those whose shim has died meanwhile. */
import { isDeadlineExceeded, isNotFound, isNotImplemented } from "../../core/errors.ts";
import { parseNamespace } from "../../core/ids/namespace.ts";
import { callOptions } from "../../rpc/headers.ts";
import {
  type Bundle,
  listBundles,
  readAddress,
  readPid,
  readStdio,
  type ShimAddress,
  shimPathOf,
} from "./bundle.ts";
import { askLater, runningInit } from "./found-tasks.ts";
import { resolveShim, type ShimCommand } from "./resolve.ts";
import { isListening } from "./shim-manager.ts";
import { forgetBundle, isNewBoot, sweep } from "./sweep.ts";
import { type Task, taskKey } from "./task.ts";
import type { TaskTable } from "./task-table.ts";

/** Finds the shims of an earlier daemon again; cleans up after those that died meanwhile. */
export async function loadTasks(table: TaskTable): Promise<void> {
  /** Tasks whose shim is dead, while what they had is removed. */
  const cleaning = new Set<string>();
  const { state, root, log } = table.options;
  const newBoot = await isNewBoot(state);
  table.logs.open();
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
  table.found = bundles;
  /** What is not understood is not removed. */
  const failed = new Set<string>();
  await Promise.all(
    bundles.map((bundle) =>
      loadOne(table, bundle, cleaning).catch((err: unknown) => {
        log.error("load task", { namespace: bundle.namespace, id: bundle.id, err });
        failed.add(taskKey(bundle.namespace, bundle.id));
      }),
    ),
  );
  table.found = [];
  await sweep({
    state,
    root,
    address: table.options.shims.launch.daemon.address,
    socketDir: table.options.shims.launch.socketDir,
    knownSockets: new Set([...table.tasks.values()].map((task) => task.address.address)),
    isKnown: (namespace, id) => {
      const key = taskKey(namespace, id);
      return table.tasks.has(key) || cleaning.has(key) || failed.has(key);
    },
    knownShims: () => shimPids(table),
    log,
  });
  if (bundles.length > 0) log.info("loaded tasks", { bundles: bundles.length, live: table.tasks.size });
}

/** Undefined when a shim does not answer. */
async function shimPids(table: TaskTable): Promise<Set<number> | undefined> {
  const pids = new Set<number>();
  const ask = async (task: Task): Promise<void> => {
    const limited = callOptions(task.call.within(table.options.timeouts.load));
    pids.add((await task.api.connect({ id: task.bundle.id }, limited)).shimPid);
  };
  try {
    await Promise.all([...table.tasks.values()].map(ask));
    return pids;
  } catch {
    return undefined;
  }
}

async function loadOne(table: TaskTable, bundle: Bundle, cleaning: Set<string>): Promise<void> {
  const { timeouts, log } = table.options;
  const call = table.options.call.in(parseNamespace(bundle.namespace));
  const container = await table.options.containers.get(call, bundle.id).catch((err: unknown) => {
    if (isNotFound(err)) return undefined;
    throw err;
  });
  const shim = resolveShim(container?.runtime.name ?? "io.containerd.runc.v2", shimPathOf(bundle));
  const address = readAddress(bundle);
  if (address === undefined) return await cleanUpFound(table, bundle, shim, cleaning);
  const running = shim.own && container !== undefined ? runningInit(bundle) : undefined;
  if (running !== undefined) return assume(table, bundle, shim, address, running);
  const task = await reconnect(table, bundle, shim, address, timeouts.load).catch(async (err: unknown) => {
    log.warn("connect to the shim of a task", { id: bundle.id, err });
    // one that listens is frozen or slow, and its container runs: it is watched, not killed (R7)
    if (!isDeadlineExceeded(err) || !isListening(address.address)) return undefined;
    const stuck = table.connect(bundle, shim, address);
    stuck.pid = readPid(bundle);
    return stuck;
  });
  if (task === undefined) return await cleanUpFound(table, bundle, shim, cleaning);
  table.tasks.set(taskKey(bundle.namespace, bundle.id), task);
  if (container === undefined && task.pid === 0) return await table.forget(task);
  table.logs.follow(bundle, shim.own);
  table.watch(task);
}

/** Takes a task for running whose shim is asked later. */
function assume(
  table: TaskTable,
  bundle: Bundle,
  shim: ShimCommand,
  address: ShimAddress,
  pid: number,
): void {
  const task = table.connect(bundle, shim, address);
  task.pid = pid;
  task.assumed = true;
  task.stdio = readStdio(bundle);
  table.tasks.set(taskKey(bundle.namespace, bundle.id), task);
  table.logs.follow(bundle, shim.own);
}

/** Connects to the shims that {@link loadTasks} has not asked. */
export async function askFound(table: TaskTable): Promise<void> {
  const tasks = [...table.tasks.values()].filter((task) => task.assumed);
  await askLater(tasks, table.options.timeouts.load, (task) => table.watch(task));
}

async function reconnect(
  table: TaskTable,
  bundle: Bundle,
  shim: ShimCommand,
  address: ShimAddress,
  ms: number,
): Promise<Task> {
  const ask = async (version: number): Promise<Task> => {
    const task = table.connect(bundle, shim, { ...address, version });
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

/** Cleans up after a shim that died with an earlier daemon; what takes long goes on after the start. */
function cleanUpFound(
  table: TaskTable,
  bundle: Bundle,
  shim: ShimCommand,
  cleaning: Set<string>,
): Promise<void> {
  const key = taskKey(bundle.namespace, bundle.id);
  cleaning.add(key);
  return new Promise((resolve, reject) => {
    table
      .cleanUpDead(bundle, shim, undefined, resolve)
      .finally(() => cleaning.delete(key))
      .then(resolve, (err: unknown) => {
        table.options.log.error("clean up after a dead shim", { id: bundle.id, err });
        reject(err);
      });
  });
}
