/** start, stop, restart, kill, rm. */
import { containersClient } from "../../client/containers.ts";
import { snapshotterClient } from "../../client/snapshots.ts";
import { tasksClient } from "../../client/tasks.ts";
import type { NamespacedCall } from "../../core/call.ts";
import type { Container } from "../../core/containers/containers.ts";
import { failedPrecondition, invalidArgument } from "../../core/errors.ts";
import { LOG_URI_LABEL } from "../../plugins/restart/policy.ts";
import type { Transport } from "../../rpc/types.ts";
import type { Action } from "../ctr/command.ts";
import { type GlobalOptions, need, textOf } from "../ctr/context.ts";
import { parseSignal } from "../ctr/signals.ts";
import { PORTS, STOP_SIGNAL } from "./labels.ts";
import { findContainer, nameOf, taskOf } from "./lookup.ts";
import { logPath } from "./paths.ts";
import { checkPorts } from "./port-check.ts";
import { type PortMapping, parsePorts } from "./ports.ts";
import { ignoreMissing, removeContainer, tellMonitor } from "./remove.ts";
import { report } from "./report.ts";

type Each = (transport: Transport, call: NamespacedCall, container: Container) => Promise<void>;

/** Does something to every named container; one that fails does not keep the others from it. */
async function forEach(context: GlobalOptions, args: readonly string[], each: Each): Promise<number> {
  need(args, 0, "container");
  await using transport = context.connect();
  const call = context.call(false);
  let code = 0;
  for (const wanted of args) {
    try {
      const container = await findContainer(containersClient(transport), call, wanted);
      await each(transport, call, container);
      process.stdout.write(`${wanted}\n`);
    } catch (err) {
      report(err);
      code = 1;
    }
  }
  return code;
}

async function stopContainer(
  transport: Transport,
  call: NamespacedCall,
  container: Container,
  seconds: number,
): Promise<void> {
  // told "stopped" now, the monitor would end it before its time is over
  await tellMonitor(transport, call, container, "changing");
  await endTask(transport, call, container, seconds);
  await tellMonitor(transport, call, container, "stopped");
}

async function endTask(
  transport: Transport,
  call: NamespacedCall,
  container: Container,
  seconds: number,
): Promise<void> {
  const tasks = tasksClient(transport);
  const { id } = container;
  const task = await taskOf(tasks, call, id);
  if (task === undefined || task.status === "stopped") return;
  if (task.status === "paused") await tasks.resume(call, id);
  const end = tasks.wait(call, id, "").catch(ignoreMissing);
  await tasks
    .kill(call, id, "", parseSignal(container.labels.get(STOP_SIGNAL) || "SIGTERM"), false)
    .catch(ignoreMissing);
  const late = await Promise.race([end.then(() => false), delay(seconds * 1000).then(() => true)]);
  if (!late) return;
  await tasks.kill(call, id, "", parseSignal("SIGKILL"), true).catch(ignoreMissing);
  await end;
}

async function startContainer(
  transport: Transport,
  call: NamespacedCall,
  container: Container,
): Promise<void> {
  const tasks = tasksClient(transport);
  const { id } = container;
  const task = await taskOf(tasks, call, id);
  if (task?.status === "running") return;
  if (task?.status === "paused") {
    await tasks.resume(call, id);
    return;
  }
  await checkPorts(transport, call, id, publishedPorts(container));
  await tellMonitor(transport, call, container, "changing");
  try {
    if (task !== undefined) await tasks.delete(call, id).catch(ignoreMissing);
    await startTask(transport, call, container);
  } catch (err) {
    await tellMonitor(transport, call.detached(10_000), container, "stopped").catch(() => {});
    throw err;
  }
  await tellMonitor(transport, call, container, "running");
}

async function startTask(transport: Transport, call: NamespacedCall, container: Container): Promise<void> {
  const tasks = tasksClient(transport);
  const { id } = container;
  const log =
    container.labels.get(LOG_URI_LABEL) ??
    `cri-log://${logPath(call.namespace, id)}?max=0&size=${10 << 20}&files=3`;
  await tasks.create(call, {
    containerId: id,
    rootfs: await snapshotterClient(transport, container.snapshotter).mounts(call, container.snapshotKey),
    stdin: "",
    stdout: log,
    stderr: log,
    terminal: false,
  });
  try {
    await tasks.start(call, id, "");
  } catch (err) {
    await tasks.delete(call.detached(10_000), id).catch(() => {});
    throw err;
  }
}

function publishedPorts(container: Container): PortMapping[] {
  const text = container.labels.get(PORTS) ?? "";
  return text === "" ? [] : text.split(",").flatMap(parsePorts);
}

export const stop: Action = async (context, args, options) => {
  const seconds = secondsOf(options);
  return await forEach(context, args, (t, call, c) => stopContainer(t, call, c, seconds));
};

export const start: Action = async (context, args) => await forEach(context, args, startContainer);

export const restart: Action = async (context, args, options) => {
  const seconds = secondsOf(options);
  return await forEach(context, args, async (t, call, c) => {
    await stopContainer(t, call, c, seconds);
    await startContainer(t, call, c);
  });
};

export const kill: Action = async (context, args, options) => {
  const signal = parseSignal(textOf(options, "signal") || "SIGKILL");
  return await forEach(context, args, async (t, call, c) => {
    const task = await taskOf(tasksClient(t), call, c.id);
    if (task === undefined || task.status === "stopped")
      throw failedPrecondition(`kill container "${nameOf(c)}": it does not run`);
    await tasksClient(t).kill(call, c.id, "", signal, false);
  });
};

export const remove: Action = async (context, args, options) =>
  await forEach(context, args, (t, call, c) => removeContainer(t, call, c, options["force"] === true));

function secondsOf(options: Readonly<Record<string, unknown>>): number {
  const text = textOf(options, "time") || "10";
  const seconds = Number(text);
  if (!(seconds >= 0 && seconds <= 86_400)) throw invalidArgument(`flag --time "${text}": want seconds`);
  return seconds;
}

function delay(ms: number): Promise<void> {
  return new Promise((done) => {
    setTimeout(done, ms).unref();
  });
}
