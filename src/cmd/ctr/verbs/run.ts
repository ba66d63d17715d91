/** run: image to running process in one command. */
import { writeFileSync } from "node:fs";
import { containersClient } from "../../../client/containers.ts";
import { snapshotterClient } from "../../../client/snapshots.ts";
import { tasksClient } from "../../../client/tasks.ts";
import { invalidArgument } from "../../../core/errors.ts";
import { needTerminal } from "../../shared/terminal.ts";
import type { ContainerNetwork } from "../cni-network.ts";
import type { Action } from "../command.ts";
import { type GlobalOptions, listOf, textOf } from "../context.ts";
import { containerIdOf, createContainer, type MadeContainer, SpecWritten } from "../create-container.ts";
import { healthLabels } from "../health-flags.ts";
import { runForeground } from "../process-session.ts";
import { restartLabels } from "../restart-flag.ts";
import { taskOptions } from "../runtime-options.ts";
import { openStdio, stdioOf } from "../stdio.ts";

export const run: Action = async (context, args, given) => {
  try {
    return await runWithNetwork(context, args, given);
  } catch (err) {
    if (err instanceof SpecWritten) return 0;
    throw err;
  }
};

const runWithNetwork: Action = async (context, args, given) => {
  const wanted = {
    ...given,
    label: [...listOf(given, "label"), ...restartLabels(given), ...healthLabels(given)],
  };
  if (given["cni"] !== true) return await runContainer(context, args, wanted, undefined);
  const clash = ["netHost", "uidmap"].find((name) => given[name] === true || listOf(given, name).length > 0);
  if (clash !== undefined)
    throw invalidArgument(
      `flags --cni and --${clash === "uidmap" ? clash : "net-host"} cannot be specified together`,
    );
  const { prepareNetwork } = await import("../cni-network.ts");
  await using network = await prepareNetwork(context.call(false).signal);
  const options = {
    ...wanted,
    withNs: [...listOf(given, "withNs"), `network:${network.netns}`],
    label: [...wanted.label, ...network.labels],
  };
  return await runContainer(context, args, options, network);
};

async function runContainer(
  context: GlobalOptions,
  args: string[],
  options: Record<string, unknown>,
  network: ContainerNetwork | undefined,
): Promise<number> {
  const remove = options["rm"] === true;
  const detach = options["detach"] === true;
  if (remove && detach) throw invalidArgument("flags --detach and --rm cannot be specified together");
  if (options["tty"] === true && !detach) needTerminal();
  await using transport = context.connect();
  const call = context.call(false);
  const containers = containersClient(transport);
  const tasks = tasksClient(transport);
  let leaseEnded: Promise<void> = Promise.resolve();
  const id = containerIdOf(args, options);
  const making = createContainer({ transport, call, args, options }, (work) => {
    leaseEnded = work;
  });
  making.catch(() => {}); // told below
  const terminal = options["tty"] === true;
  // while the daemon answers
  await transport.sent?.();
  const io = await openStdio(id, stdioOf(options, terminal)).catch(async (err: unknown) => {
    await making; // what it makes is whole; why it failed tells more
    throw err;
  });
  let container: MadeContainer;
  try {
    container = await making;
  } catch (err) {
    io.abandon();
    throw err;
  }
  const cleanup = async (): Promise<void> => {
    const late = call.detached(10_000);
    if (!deleted) await tasks.delete(late, id).catch(() => {});
    await Promise.all([
      containers.delete(late, id).catch(() => {}),
      container.snapshotKey === ""
        ? undefined
        : snapshotterClient(transport, container.snapshotter)
            .remove(late, container.snapshotKey)
            .catch(() => {}),
    ]);
  };
  let created = false;
  let deleted = false;
  try {
    await network?.attach(call, id);
    const pid = await tasks.create(call, {
      containerId: id,
      rootfs: container.rootfs,
      ...io.stdio,
      options: taskOptions(container.runtime, options),
    });
    created = true;
    if (textOf(options, "pidFile") !== "") writeFileSync(textOf(options, "pidFile"), String(pid));
    if (detach) {
      await tasks.start(call, id, "");
      return 0;
    }
    const exit = await runForeground({ tasks, call, id, execId: "", io, terminal, keep: !remove }, true);
    await tasks.delete(call, id);
    deleted = true;
    return exit.status;
  } catch (err) {
    // what never ran is not left behind as a task
    if (created && !remove) await tasks.delete(call.detached(10_000), id).catch(() => {});
    throw err;
  } finally {
    io.dispose();
    if (remove) await cleanup();
    // the container's record stays, and with it its network until `containers rm`
    else network?.keep();
    await leaseEnded;
  }
}
