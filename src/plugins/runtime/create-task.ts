/** Makes tasks: bundle, shim, and the task in it. */
import { join } from "node:path";
import {
  OptionsSchema,
  type Options as RuncOptions,
} from "../../api/gen/containerd/types/runc/options/oci_pb.ts";
import type { AnyValue } from "../../core/any.ts";
import { abortError, type NamespacedCall } from "../../core/call.ts";
import { alreadyExists, isUnavailable, wrap } from "../../core/errors.ts";
import type { CreateTask, Stdio } from "../../core/tasks/tasks.ts";
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
import type { ShimApi } from "./shim-api.ts";
import { isListening } from "./shim-manager.ts";
import { type Task, taskKey } from "./task.ts";
import type { TaskTable } from "./task-table.ts";

/** What Create of the task API takes. */
type WireRequest = Parameters<ShimApi["create"]>[0];

/** What is to be made, as the request, the container and the options of its runtime say. */
interface TaskPlan {
  readonly bundle: Bundle;
  readonly shim: ShimCommand;
  /** The OCI spec. */
  readonly spec: Uint8Array;
  readonly options: AnyValue | undefined;
  /** The same, when they are runc's. */
  readonly runc: RuncOptions | undefined;
  /** Sandbox the container belongs to; "" for none. */
  readonly sandbox: string;
  readonly stdio: Stdio;
}

/** How far the making has come: what a failure is called then, and what has to be undone. */
interface Progress {
  /** containerd's words: clients look for them. */
  step: "failed to start shim" | "failed to read checkpoint" | "failed to create shim task";
  /** Connected to its shim. */
  task: Task | undefined;
  /** The shim's answer, once it was asked for the task. */
  creating: Promise<{ readonly pid: number }> | undefined;
}

/** Makes bundle and shim and creates the task in it. What was made is undone when a step fails. */
export async function createTask(table: TaskTable, call: NamespacedCall, request: CreateTask): Promise<Task> {
  const { containerId: id } = request;
  const key = taskKey(call.namespace, id);
  using _lock = await table.locks.acquire(key, call.signal);
  if (table.tasks.has(key)) throw alreadyExists(`task ${id}`);
  const plan = await planOf(table, call, request);
  const { bundle, shim, runc } = plan;
  if (table.options.refuseOldRunc) await refuseOldRunc(runc?.binaryName || "runc");
  const remapped = new TextDecoder().decode(plan.spec).includes('"uidMappings"');
  await createBundle(bundle, plan.spec, { remapped, own: shim.own });
  const progress: Progress = { step: "failed to start shim", task: undefined, creating: undefined };
  let task: Task;
  try {
    table.logs.follow(bundle, shim.own);
    const inSandbox = sandboxShim(table, call.namespace, request, plan.sandbox);
    if (inSandbox !== undefined)
      writeAddress(bundle, inSandbox, shim.path, { stdio: plan.stdio, sandbox: plan.sandbox });
    else if (!shim.own) writeStdio(bundle, plan.stdio);
    const wire = await wireRequest(table, call, plan, request, progress);
    task = await createInShim(table, call, plan, inSandbox, wire, progress);
  } catch (err) {
    const { task: begun, creating, step } = progress;
    if (begun !== undefined && creating !== undefined && call.signal.aborted)
      await undoGivenUp(table, begun, creating);
    await undoCreate(table, bundle, shim, begun);
    throw wrap(err, step);
  }
  table.tasks.set(key, task);
  table.watch(task);
  if (shim.own) warnOldRunc(runc?.binaryName || "runc", table.options.log);
  return task;
}

async function planOf(table: TaskTable, call: NamespacedCall, request: CreateTask): Promise<TaskPlan> {
  const { containerId: id, stdin, stdout, stderr, terminal } = request;
  const container = await table.options.containers.get(call, id);
  const shim = resolveFor(container.runtime.name, request.runtimePath);
  const options = request.options ?? container.runtime.options;
  return {
    bundle: bundleOf(table.options.state, table.options.root, call.namespace, id),
    shim,
    spec: container.spec?.value ?? new Uint8Array(),
    options,
    runc: runcOptions(options),
    sandbox: container.sandbox,
    stdio: { stdin, stdout, stderr, terminal },
  };
}

/** What the shim is asked for. A checkpoint is unpacked into the bundle: a shim takes a folder. */
async function wireRequest(
  table: TaskTable,
  call: NamespacedCall,
  { bundle, runc, options, stdio }: TaskPlan,
  { rootfs, checkpoint }: CreateTask,
  progress: Progress,
): Promise<WireRequest> {
  const wire = {
    id: bundle.id,
    bundle: bundle.path,
    rootfs: rootfs.map(toMount),
    ...stdio,
    checkpoint: runc?.criuImagePath ?? "",
    ...(options === undefined ? {} : { options: toAny(options) }),
  };
  if (checkpoint === undefined) return wire;
  progress.step = "failed to read checkpoint";
  await makeWork(bundle);
  const folder = join(bundle.work, "checkpoint");
  const { unpackCheckpoint } = await import("./checkpoint.ts");
  await unpackCheckpoint(call, table.options.content, checkpoint, folder);
  return { ...wire, checkpoint: folder };
}

/** Creates the task in the sandbox's shim, or else in one that is started, or found with others of its group in it. */
async function createInShim(
  table: TaskTable,
  call: NamespacedCall,
  { bundle, shim, spec, options, runc, stdio }: TaskPlan,
  inSandbox: ShimAddress | undefined,
  wire: WireRequest,
  progress: Progress,
): Promise<Task> {
  const cgroup = runc?.shimCgroup ?? "";
  const start = () => table.options.shims.start({ bundle, shim, spec, options, cgroup, kept: { stdio } });
  for (let last = false; ; last = true) {
    progress.step = "failed to start shim";
    const found =
      inSandbox === undefined
        ? await traced(call, "start shim", start)
        : { address: inSandbox, joined: false };
    const task = table.connect(bundle, shim, found.address);
    progress.task = task;
    progress.step = "failed to create shim task";
    try {
      // a shim is told of nobody who gives up: it is waited for before what it made is removed
      progress.creating = task.api.create(wire, callOptions(unending(call)));
      task.pid = (await withWarmAttachLock(orGivenUp(progress.creating, call))).pid;
      task.stdio = stdio;
      return task;
    } catch (err) {
      // the group's shim ended just now: the next start makes a new one
      if (last || !found.joined || !isUnavailable(err) || isListening(found.address.address)) throw err;
      await task.transport.close();
    }
  }
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
