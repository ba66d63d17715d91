/** tasks start, exec, attach. */
import { writeFileSync } from "node:fs";
import { containersClient } from "../../../client/containers.ts";
import { tasksClient } from "../../../client/tasks.ts";
import { randomHex } from "../../../lib/hash.ts";
import { packProcess, unpackSpec } from "../../../oci/spec/json.ts";
import type { User } from "../../../oci/spec/types.ts";
import { needTerminal } from "../../shared/terminal.ts";
import type { Action } from "../command.ts";
import { need, textOf } from "../context.ts";
import { runForeground } from "../process-session.ts";
import { attachStdio, openStdio, removeFifos, stdioOf } from "../stdio.ts";
import { hintTask } from "../task-hint.ts";

export const start: Action = async (context, args, options) => {
  // not loaded for the others
  const { snapshotterClient } = await import("../../../client/snapshots.ts");
  const { taskOptions } = await import("../runtime-options.ts");
  await using transport = context.connect();
  const call = context.call(false);
  const id = need(args, 0, "container id");
  const container = await hintTask(id, containersClient(transport).get(call, id));
  const terminal = unpackSpec(container.spec).process?.terminal === true;
  const tasks = tasksClient(transport);
  const detach = options["detach"] === true;
  const io = await openStdio(id, stdioOf(options, terminal));
  try {
    const rootfs =
      container.snapshotter === ""
        ? []
        : await snapshotterClient(transport, container.snapshotter).mounts(call, container.snapshotKey);
    const pid = await tasks.create(call, {
      containerId: id,
      rootfs,
      ...io.stdio,
      options: taskOptions(container.runtime, options),
    });
    if (textOf(options, "pidFile") !== "") writeFileSync(textOf(options, "pidFile"), String(pid));
    if (detach) {
      await tasks.start(call, id, "");
      return 0;
    }
    const exit = await runForeground({ tasks, call, id, execId: "", io, terminal, keep: true }, true);
    await tasks.delete(call, id);
    return exit.status;
  } finally {
    io.dispose();
  }
};

export const exec: Action = async (context, args, options) => {
  await using transport = context.connect();
  const call = context.call(false);
  const id = need(args, 0, "container id");
  const command = args.slice(1);
  need(command, 0, "command");
  // `gantry exec -t` without -i sends no input that would have to end
  if (options["tty"] === true && options["detach"] !== true && options["interactive"] !== false)
    needTerminal();
  const execId = textOf(options, "execId") || `exec-${randomHex(4)}`;
  const terminal = options["tty"] === true;
  const tasks = tasksClient(transport);
  const container = hintTask(id, containersClient(transport).get(call, id));
  container.catch(() => {}); // told below
  // while the daemon answers
  await transport.sent?.();
  const detach = options["detach"] === true;
  const io = await openStdio(execId, stdioOf(options, terminal)).catch(async (err: unknown) => {
    await container; // why that failed tells more
    throw err;
  });
  /** Names are looked up in the files of the container as it runs. */
  const execUser = async (value: string): Promise<{ user?: User }> => {
    if (value === "") return {};
    const { userOfProcess } = await import("../run-user.ts");
    return { user: userOfProcess(value, (await hintTask(id, tasks.get(call, id, ""))).pid) };
  };
  try {
    const base = unpackSpec((await container).spec).process ?? { user: { uid: 0, gid: 0 }, cwd: "/" };
    const spec = packProcess({
      ...base,
      terminal,
      args: command,
      ...(textOf(options, "cwd") === "" ? {} : { cwd: textOf(options, "cwd") }),
      ...(await execUser(textOf(options, "user"))),
    });
    await hintTask(id, tasks.exec(call, { containerId: id, execId, ...io.stdio, spec }));
  } catch (err) {
    io.abandon();
    throw err;
  }
  try {
    if (detach) {
      await tasks.start(call, id, execId);
      return 0;
    }
    const session = { tasks, call, id, execId, io, terminal };
    const deleted = () => tasks.deleteProcess(call, id, execId);
    return (await runForeground(session, true, undefined, deleted)).status;
  } finally {
    io.dispose();
  }
};

export const attach: Action = async (context, args) => {
  await using transport = context.connect();
  const call = context.call(false);
  const id = need(args, 0, "container id");
  const tasks = tasksClient(transport);
  const state = await hintTask(id, tasks.get(call, id, ""));
  const io = attachStdio(state);
  try {
    const exit = await runForeground(
      { tasks, call, id, execId: "", io, terminal: state.terminal, keep: true },
      false,
    );
    await tasks.delete(call, id);
    removeFifos(state);
    return exit.status;
  } finally {
    io.dispose();
  }
};
