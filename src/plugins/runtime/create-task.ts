/** Makes tasks: bundle, shim, and the task in it. */
import { join } from "node:path";
import {
  OptionsSchema,
  type Options as RuncOptions,
} from "../../api/gen/containerd/types/runc/options/oci_pb.ts";
import type { AnyValue } from "../../core/any.ts";
import { abortError, type NamespacedCall } from "../../core/call.ts";
import { alreadyExists, isUnavailable, wrap } from "../../core/errors.ts";
import type { CreateTask } from "../../core/tasks/tasks.ts";
import { traced } from "../../core/tracing/traced.ts";
import { createDeferred } from "../../lib/deferred.ts";
import { withWarmAttachLock } from "../../platform/cgroups/attach-lock.ts";
import { decodeAny, toAny } from "../../rpc/convert/basic.ts";
import { toMount } from "../../rpc/convert/oci.ts";
import { callOptions } from "../../rpc/headers.ts";
import {
  type Bundle,
  bundleOf,
  createBundle,
  makeWork,
  readAddress,
  type ShimAddress,
  sandboxAddress,
  writeAddress,
  writeStdio,
} from "./bundle.ts";
import { deleteShim } from "./launch.ts";
import { resolveShim, type ShimCommand } from "./resolve.ts";
import { refuseOldRunc, warnOldRunc } from "./runc-version.ts";
import { isListening } from "./shim-manager.ts";
import { type Task, taskKey } from "./task.ts";
import type { TaskTable } from "./task-table.ts";

/** Makes bundle and shim and creates the task in it. What was made is undone when a step fails. */
export async function createTask(table: TaskTable, call: NamespacedCall, request: CreateTask): Promise<Task> {
  const { containerId: id } = request;
  const key = taskKey(call.namespace, id);
  using _lock = await table.locks.acquire(key, call.signal);
  if (table.tasks.has(key)) throw alreadyExists(`task ${id}`);
  const container = await table.options.containers.get(call, id);
  const shim = resolveFor(container.runtime.name, request.runtimePath);
  const options = request.options ?? container.runtime.options;
  const runc = runcOptions(options);
  if (table.options.refuseOldRunc) await refuseOldRunc(runc?.binaryName || "runc");
  const bundle = bundleOf(table.options.state, table.options.root, call.namespace, id);
  const spec = container.spec?.value ?? new Uint8Array();
  const remapped = new TextDecoder().decode(spec).includes('"uidMappings"');
  await createBundle(bundle, spec, { remapped, own: shim.own });
  let task: Task | undefined;
  let creating: Promise<{ readonly pid: number }> | undefined;
  let step = "failed to start shim";
  try {
    table.logs.follow(bundle, shim.own);
    const inSandbox = sandboxShim(table, call.namespace, request, container.sandbox);
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
      await unpackCheckpoint(call, table.options.content, request.checkpoint, wire.checkpoint);
    }
    const start = () =>
      table.options.shims.start({
        bundle,
        shim,
        spec,
        options,
        cgroup: runc?.shimCgroup ?? "",
        kept: { stdio },
      });
    for (let last = false; ; last = true) {
      step = "failed to start shim";
      const found =
        inSandbox === undefined
          ? await traced(call, "start shim", start)
          : { address: inSandbox, joined: false };
      task = table.connect(bundle, shim, found.address);
      step = "failed to create shim task";
      try {
        // a shim is told of nobody who gives up: it is waited for before what it made is removed
        creating = task.api.create(wire, callOptions(unending(call)));
        task.pid = (await withWarmAttachLock(orGivenUp(creating, call))).pid;
        break;
      } catch (err) {
        // the group's shim ended just now: the next start makes a new one
        if (last || !found.joined || !isUnavailable(err) || isListening(found.address.address)) throw err;
        await task.transport.close();
      }
    }
    task.stdio = stdio;
  } catch (err) {
    if (task !== undefined && creating !== undefined && call.signal.aborted)
      await undoGivenUp(table, task, creating);
    await undoCreate(table, bundle, shim, task);
    // containerd's words: clients look for them
    throw wrap(err, step);
  }
  table.tasks.set(key, task);
  table.watch(task);
  if (shim.own) warnOldRunc(runc?.binaryName || "runc", table.options.log);
  return task;
}

/** The shim of the sandbox a container belongs to: named by the client, that of the sandbox's own task, or the controller's. */
function sandboxShim(
  table: TaskTable,
  namespace: string,
  request: CreateTask,
  sandbox: string,
): ShimAddress | undefined {
  if (request.taskApi !== undefined) return sandboxAddress(request.taskApi.address, request.taskApi.version);
  if (sandbox === "") return undefined;
  return (
    table.tasks.get(taskKey(namespace, sandbox))?.address ??
    readAddress(table.options.sandboxBundle(namespace, sandbox))
  );
}

/** The same call for a request that goes on when its caller is gone. */
function unending(call: NamespacedCall): NamespacedCall {
  return call.with({ signal: undefined, deadline: undefined }).in(call.namespace);
}

/** What `work` gives, or the end of the call. */
async function orGivenUp<T>(work: Promise<T>, { signal }: NamespacedCall): Promise<T> {
  work.catch(() => {}); // whoever gives up does not look
  if (signal.aborted) throw abortError(signal);
  const end = createDeferred<never>();
  const stop = (): void => end.reject(abortError(signal));
  signal.addEventListener("abort", stop, { once: true });
  try {
    return await Promise.race([work, end.promise]);
  } finally {
    signal.removeEventListener("abort", stop);
  }
}

/** Removes the container that a shim was making when its caller gave up; a shim with a container would stay. */
async function undoGivenUp(table: TaskTable, task: Task, creating: Promise<unknown>): Promise<void> {
  const call = task.call.detached(table.options.timeouts.cleanup);
  const made = await orGivenUp(creating, call).then(
    () => true,
    () => false,
  );
  if (!made) return;
  await task.api
    .delete({ id: task.bundle.id }, callOptions(call))
    .catch((err: unknown) =>
      table.options.log.debug("remove what nobody waits for", { id: task.bundle.id, err }),
    );
}

async function undoCreate(
  table: TaskTable,
  bundle: Bundle,
  shim: ShimCommand,
  task: Task | undefined,
): Promise<void> {
  const { timeouts, shims, log } = table.options;
  if (task !== undefined) await table.shutdown(task);
  await deleteShim(shim, bundle, shims.launch, timeouts.cleanup).catch((err: unknown) =>
    log.debug("clean up after failed create", { id: bundle.id, err }),
  );
  await table.removeBundle(bundle).catch((err: unknown) => log.warn("remove bundle", { id: bundle.id, err }));
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
    ? decodeAny(OptionsSchema, options, "runtime options")
    : undefined;
}
