/** tasks list, kill, delete, ps, pause, resume, metrics, checkpoint: what needs no stdio. */

import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  CheckpointOptionsSchema,
  ProcessDetailsSchema,
} from "../../../api/gen/containerd/types/runc/options/oci_pb.ts";
import { containersClient } from "../../../client/containers.ts";
import { tasksClient } from "../../../client/tasks.ts";
import {
  codeOf,
  GantryError,
  invalidArgument,
  isNotFound,
  messageOf,
  notFound,
} from "../../../core/errors.ts";
import { formatRfc3339 } from "../../../lib/time.ts";
import { toStderr, toStdout } from "../../shared/output.ts";
import type { Action } from "../command.ts";
import { need, textOf } from "../context.ts";
import { metricRows } from "../metrics.ts";
import { parseSignal } from "../signals.ts";
import { removeFifos } from "../stdio.ts";
import { renderTable } from "../table.ts";
import { hintTask } from "../task-hint.ts";

export const list: Action = async (context, _args, options) => {
  await using transport = context.connect();
  const all = await tasksClient(transport).list(context.call());
  if (options["quiet"] === true) for (const t of all) toStdout(`${t.containerId}\n`);
  else
    toStdout(
      renderTable(
        ["TASK", "PID", "STATUS"],
        all.map((t) => [t.containerId, String(t.pid), t.status.toUpperCase()]),
        4,
      ),
    );
  return 0;
};

export const kill: Action = async (context, args, options) => {
  await using transport = context.connect();
  const id = need(args, 0, "container id");
  const execId = textOf(options, "execId");
  const all = options["all"] === true;
  if (all && execId !== "") throw invalidArgument("specify an exec-id or all; not both");
  let signal = parseSignal(textOf(options, "signal") || "SIGTERM");
  if (textOf(options, "signal") === "") {
    const container = await hintTask(id, containersClient(transport).get(context.call(), id));
    const stop = container.labels.get("io.containerd.image.config.stop-signal");
    if (stop !== undefined) signal = parseSignal(stop);
  }
  await hintTask(id, tasksClient(transport).kill(context.call(), id, execId, signal, all));
  return 0;
};

export const remove: Action = async (context, args, options) => {
  await using transport = context.connect();
  const tasks = tasksClient(transport);
  const call = context.call();
  const execId = textOf(options, "execId");
  need(args, 0, "container id");
  let code = 0;
  for (const id of args) {
    try {
      if (options["force"] === true) {
        await tasks.kill(call, id, execId, 9, false).catch((err: unknown) => {
          if (!isNotFound(err)) throw err;
        });
        await tasks.wait(call, id, execId);
      }
      // asked before: the answer of delete does not name the FIFOs that a detached start left
      const state = await tasks.get(call, id, execId);
      const exit = execId === "" ? await tasks.delete(call, id) : await tasks.deleteProcess(call, id, execId);
      removeFifos(state);
      // as with containerd a note and not an exit code
      if (exit.status !== 0) toStderr(`ctr: task ${id} exit with non-zero exit code ${exit.status}\n`);
    } catch (err) {
      toStderr(`ctr: unable to delete task ${id}: ${messageOf(err)}\n`);
      code = 1;
    }
  }
  return code;
};

export const ps: Action = async (context, args) => {
  await using transport = context.connect();
  const id = need(args, 0, "container id");
  const processes = await hintTask(id, tasksClient(transport).pids(context.call(), id));
  const rows = processes.map((p) => {
    const details =
      p.info === undefined ? "-" : `exec_id:"${fromBinary(ProcessDetailsSchema, p.info.value).execId}"`;
    return [String(p.pid), details];
  });
  toStdout(renderTable(["PID", "INFO"], rows, 4));
  return 0;
};

export const pause: Action = async (context, args) => {
  await using transport = context.connect();
  const id = need(args, 0, "container id");
  await hintTask(id, tasksClient(transport).pause(context.call(), id));
  return 0;
};

export const resume: Action = async (context, args) => {
  await using transport = context.connect();
  const id = need(args, 0, "container id");
  await hintTask(id, tasksClient(transport).resume(context.call(), id));
  return 0;
};

export const metrics: Action = async (context, args, options) => {
  await using transport = context.connect();
  const id = need(args, 0, "container id");
  const [metric] = await tasksClient(transport).metrics(context.call(), [`id==${id}`]);
  if (metric?.data === undefined)
    throw notFound(`metrics of task "${id}"`, {
      hint: "metrics exist while the task runs; see ctr tasks ls",
    });
  const { table, json } = metricRows(metric.data);
  if (textOf(options, "format") === "json") {
    toStdout(`${json}\n`);
    return 0;
  }
  toStdout(renderTable(["ID", "TIMESTAMP"], [[metric.id, formatRfc3339(metric.timestamp)]], 4));
  toStdout(`\n${renderTable(["METRIC", "VALUE"], table, 4)}`);
  return 0;
};

export const checkpoint: Action = async (context, args, options) => {
  await using transport = context.connect();
  const id = need(args, 0, "container id");
  const wanted = create(CheckpointOptionsSchema, {
    exit: options["exit"] === true,
    imagePath: textOf(options, "imagePath"),
    workPath: textOf(options, "workPath"),
  });
  const any = {
    typeUrl: CheckpointOptionsSchema.typeName,
    value: toBinary(CheckpointOptionsSchema, wanted),
  };
  const made = await hintTask(id, tasksClient(transport).checkpoint(context.call(), id, any, "")).catch(
    (err: unknown) => {
      if (!/"criu": executable file not found/.test(messageOf(err))) throw err;
      throw new GantryError(codeOf(err), messageOf(err), {
        cause: err,
        hint: "install criu on this machine, then create the container again (it must be there before)",
      });
    },
  );
  for (const d of made) toStdout(`${d.digest}\n`);
  return 0;
};
