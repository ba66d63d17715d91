/** run: image to running process in one command. */
import { writeFileSync } from "node:fs";
import { containersClient } from "../../../client/containers.ts";
import { snapshotterClient } from "../../../client/snapshots.ts";
import { tasksClient } from "../../../client/tasks.ts";
import { invalidArgument } from "../../../core/errors.ts";
import type { Action } from "../command.ts";
import { textOf } from "../context.ts";
import { createContainer } from "../create-container.ts";
import { runForeground } from "../process-session.ts";
import { taskOptions } from "../runtime-options.ts";
import { openStdio } from "../stdio.ts";

export const run: Action = async (context, args, options) => {
  const remove = options["rm"] === true;
  const detach = options["detach"] === true;
  if (remove && detach) throw invalidArgument("flags --detach and --rm cannot be specified together");
  await using transport = context.connect();
  const call = context.call(false);
  const containers = containersClient(transport);
  const tasks = tasksClient(transport);
  const container = await createContainer({ transport, call, args, options });
  const { id } = container;
  const terminal = options["tty"] === true;
  const cleanup = async (): Promise<void> => {
    const late = call.detached(10_000);
    await tasks.delete(late, id).catch(() => {});
    await containers.delete(late, id).catch(() => {});
    if (container.snapshotKey !== "")
      await snapshotterClient(transport, container.snapshotter)
        .remove(late, container.snapshotKey)
        .catch(() => {});
  };
  const io = await openStdio(id, {
    terminal,
    nullIo: options["nullIo"] === true,
    logUri: textOf(options, "logUri"),
    stdin: true,
    detach,
    fifoDir: textOf(options, "fifoDir"),
  });
  let created = false;
  try {
    const rootfs =
      container.snapshotKey === ""
        ? []
        : await snapshotterClient(transport, container.snapshotter).mounts(call, container.snapshotKey);
    const pid = await tasks.create(call, {
      containerId: id,
      rootfs,
      ...io.stdio,
      options: taskOptions(container.runtime, options),
    });
    created = true;
    if (textOf(options, "pidFile") !== "") writeFileSync(textOf(options, "pidFile"), String(pid));
    if (detach) {
      await tasks.start(call, id, "");
      return 0;
    }
    const exit = await runForeground({ tasks, call, id, execId: "", io, terminal }, true);
    await tasks.delete(call, id);
    return exit.status;
  } catch (err) {
    // what never ran is not left behind as a task
    if (created && !remove) await tasks.delete(call.detached(10_000), id).catch(() => {});
    throw err;
  } finally {
    io.dispose();
    if (remove) await cleanup();
  }
};
