/** ps, logs, inspect, exec. */
import { containersClient } from "../../client/containers.ts";
import { tasksClient } from "../../client/tasks.ts";
import type { Container } from "../../core/containers/containers.ts";
import { invalidArgument, notFound } from "../../core/errors.ts";
import type { ProcessState } from "../../core/tasks/tasks.ts";
import { formatAge } from "../../lib/human.ts";
import { formatRfc3339, nowNs } from "../../lib/time.ts";
import { unpackSpec } from "../../oci/spec/json.ts";
import type { Spec } from "../../oci/spec/types.ts";
import { POLICY_LABEL, STATUS_LABEL, STOPPED_LABEL } from "../../plugins/restart/policy.ts";
import { readLog } from "../crictl/logs/read.ts";
import { parseSince } from "../crictl/logs/since.ts";
import type { Action } from "../ctr/command.ts";
import { need, textOf } from "../ctr/context.ts";
import { renderTable } from "../ctr/table.ts";
import { COMMAND, NETWORK, PORTS } from "./labels.ts";
import { findContainer, nameOf, SHORT, taskOf } from "./lookup.ts";
import { addressesOf } from "./network.ts";
import { formatOf, writeStructured } from "./output.ts";
import { logPath } from "./paths.ts";

/** Shown length of a command. */
const COMMAND_WIDTH = 24;

export const ps: Action = async (context, _args, options) => {
  const format = formatOf(options);
  await using transport = context.connect();
  const call = context.call();
  const [containers, tasks] = await Promise.all([
    containersClient(transport).list(call, []),
    tasksClient(transport).list(call),
  ]);
  const taskBy = new Map(tasks.map((t) => [t.containerId, t]));
  const rows = containers
    .map((c) => ({ c, task: taskBy.get(c.id) }))
    .filter(
      ({ c, task }) =>
        options["all"] === true ||
        (task === undefined ? restarting(c) : task.status !== "stopped" && task.status !== "created"),
    )
    .sort((a, b) => (a.c.createdAt < b.c.createdAt ? 1 : -1));
  if (options["quiet"] === true) for (const { c } of rows) process.stdout.write(`${c.id.slice(0, SHORT)}\n`);
  else if (format !== "table")
    await writeStructured(
      rows.map(({ c, task }) => ({
        id: c.id,
        name: nameOf(c),
        image: c.image,
        status: statusText(c, task),
        created: formatRfc3339(c.createdAt),
        ports: c.labels.get(PORTS) ?? "",
      })),
      format,
    );
  else
    process.stdout.write(
      renderTable(
        ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAME"],
        rows.map(({ c, task }) => [
          c.id.slice(0, SHORT),
          c.image,
          shorten(commandOf(c)),
          `${formatAge(nowNs() - c.createdAt)} ago`,
          statusText(c, task),
          (c.labels.get(PORTS) ?? "").replaceAll(/(\d):(\d)/g, "$1->$2"),
          nameOf(c),
        ]),
        3,
      ).replace(/ +$/gm, ""),
    );
  return 0;
};

export const logs: Action = async (context, args, options) => {
  await using transport = context.connect();
  const call = context.call();
  const tasks = tasksClient(transport);
  const container = await findContainer(containersClient(transport), call, need(args, 0, "container"));
  const tail = textOf(options, "tail");
  if (tail !== "" && tail !== "all" && !/^\d+$/.test(tail))
    throw invalidArgument(`flag --tail "${tail}": want a number or "all"`);
  const since = textOf(options, "since");
  try {
    const entries = readLog(logPath(call.namespace, container.id), {
      follow: options["follow"] === true,
      tail: tail === "" || tail === "all" ? undefined : Number(tail),
      since: since === "" ? undefined : parseSince(since, nowNs()),
      signal: call.signal,
      running: async () => {
        const task = await taskOf(tasks, call, container.id);
        return task !== undefined && task.status !== "stopped";
      },
    });
    for await (const entry of entries) {
      const target = entry.stream === "stderr" ? process.stderr : process.stdout;
      if (options["timestamps"] === true) target.write(`${entry.time} `);
      if (!target.write(entry.content)) await new Promise((r) => target.once("drain", r));
    }
  } catch (err) {
    if (err instanceof Error && "code" in err && err.code === "not-found")
      throw notFound(`log of container "${nameOf(container)}"`, {
        cause: err,
        hint: "only containers started with --detach have a log; it is on the machine that they run on",
      });
    throw err;
  }
  return 0;
};

export const inspect: Action = async (context, args, options) => {
  const format = formatOf(options, "json");
  if (format === "table") throw invalidArgument('flag --output "table": want json or yaml');
  await using transport = context.connect();
  const call = context.call();
  const out: unknown[] = [];
  need(args, 0, "container");
  for (const wanted of args) {
    const c = await findContainer(containersClient(transport), call, wanted);
    const task = await taskOf(tasksClient(transport), call, c.id);
    const spec: Spec = unpackSpec(c.spec);
    out.push({
      id: c.id,
      name: nameOf(c),
      image: c.image,
      created: formatRfc3339(c.createdAt),
      state: {
        status: task?.status ?? "none",
        pid: task?.pid ?? 0,
        ...(task?.status === "stopped"
          ? {
              exitCode: task.exitStatus,
              exitedAt: task.exitedAt === undefined ? "" : formatRfc3339(task.exitedAt),
            }
          : {}),
      },
      restartPolicy: c.labels.get(POLICY_LABEL) ?? "no",
      command: spec.process?.args ?? [],
      env: spec.process?.env ?? [],
      user: spec.process?.user ?? {},
      workdir: spec.process?.cwd ?? "",
      mounts: (spec.mounts ?? []).filter((m) => m.type === "bind"),
      network: {
        name: c.labels.get(NETWORK) ?? "",
        addresses: addressesOf(call.namespace, c.id),
        ports: (c.labels.get(PORTS) ?? "").split(",").filter((p) => p !== ""),
      },
      logPath: logPath(call.namespace, c.id),
      snapshotter: c.snapshotter,
      runtime: c.runtime.name,
      labels: c.labels,
    });
  }
  await writeStructured(out, format);
  return 0;
};

export const exec: Action = async (context, args, options) => {
  const { exec: run } = await import("../ctr/verbs/task-io.ts");
  const id = await (async () => {
    await using transport = context.connect();
    return (await findContainer(containersClient(transport), context.call(false), need(args, 0, "container")))
      .id;
  })();
  return await run(context, [id, ...args.slice(1)], {
    ...options,
    cwd: options["workdir"],
    interactive: options["interactive"] === true,
  });
};

function commandOf(c: Container): string {
  if (c.spec === undefined) return "";
  try {
    const spec: Spec = unpackSpec(c.spec);
    return spec.annotations?.[COMMAND] ?? (spec.process?.args ?? []).join(" ");
  } catch {
    return "";
  }
}

function shorten(text: string): string {
  return JSON.stringify(text.length > COMMAND_WIDTH ? `${text.slice(0, COMMAND_WIDTH - 1)}…` : text);
}

const restarting = (c: Container): boolean =>
  c.labels.get(STATUS_LABEL) === "running" && c.labels.get(STOPPED_LABEL) !== "true";

function statusText(c: Container, task: ProcessState | undefined): string {
  // between two runs the restart monitor has no task
  if (task === undefined) return restarting(c) ? "Restarting" : "Created";
  if (task.status === "stopped") {
    const ago = task.exitedAt === undefined ? "" : ` ${formatAge(nowNs() - task.exitedAt)} ago`;
    return `Exited (${task.exitStatus})${ago}`;
  }
  if (task.status === "running") return "Up";
  return task.status === "created" ? "Created" : `Up (${task.status})`;
}
