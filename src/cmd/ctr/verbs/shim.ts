/** shim delete, exec, start, state, shutdown, pprof: one shim asked without the daemon. */

import { readFile } from "node:fs/promises";
import { socketPath } from "../../../../shims/shared/address.ts";
import { Task as TaskV2 } from "../../../api/gen/containerd/runtime/task/v2/shim_pb.ts";
import { Task as TaskV3 } from "../../../api/gen/containerd/runtime/task/v3/shim_pb.ts";
import type { NamespacedCall } from "../../../core/call.ts";
import {
  failedPrecondition,
  invalidArgument,
  isUnavailable,
  notImplemented,
  unavailable,
} from "../../../core/errors.ts";
import type { TaskService } from "../../../core/tasks/tasks.ts";
import { formatRfc3339 } from "../../../lib/time.ts";
import { packProcess, parseExactJson } from "../../../oci/spec/json.ts";
import { mergeEnv } from "../../../oci/spec/options.ts";
import { createClient } from "../../../rpc/client.ts";
import { fromTimestamp, toAny } from "../../../rpc/convert/basic.ts";
import { fromStatus } from "../../../rpc/convert/tasks.ts";
import { callOptions } from "../../../rpc/headers.ts";
import { createTtrpcTransport } from "../../../rpc/ttrpc/transport.ts";
import type { Client } from "../../../rpc/types.ts";
import { toStdout } from "../../shared/output.ts";
import type { Action } from "../command.ts";
import { type GlobalOptions, listOf, need, textOf } from "../context.ts";
import { runForeground } from "../process-session.ts";
import { attachStdio, openStdio } from "../stdio.ts";
import { toJson } from "../table.ts";

/** Where programs are looked for unless --env says otherwise: nobody asks the container's record here. */
const PATH = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"];

type Options = Readonly<Record<string, unknown>>;
type Api = Client<typeof TaskV3>;

/** Where the shim of `--id` listens: what containerd and we compute from daemon, namespace and id. */
function addressOf(context: GlobalOptions, options: Options): { id: string; path: string } {
  const id = textOf(options, "id");
  if (id === "")
    throw invalidArgument("container id must be specified", {
      hint: "usage: ctr shim --id CONTAINER COMMAND",
    });
  const given = textOf(options, "shimAddress").replace(/^(ttrpc\+)?unix:\/\//, "");
  return { id, path: given === "" ? socketPath("", context.address, context.namespace, id) : given };
}

/** Calls one shim. */
async function withShim<T>(
  context: GlobalOptions,
  options: Options,
  run: (api: Api, id: string, call: NamespacedCall) => Promise<T>,
): Promise<T> {
  const { id, path } = addressOf(context, options);
  const version = textOf(options, "apiVersion") || "3";
  if (version !== "2" && version !== "3") throw invalidArgument(`api version "${version}": want 2 or 3`);
  await using transport = createTtrpcTransport({ path });
  const service = version === "3" ? TaskV3 : (TaskV2 as unknown as typeof TaskV3);
  try {
    return await run(createClient(service, transport), id, context.call(false));
  } catch (err) {
    if (!isUnavailable(err)) throw err;
    throw unavailable(`connect to the shim of "${id}"`, {
      cause: err,
      hint: "containers of a pod share the shim of its first one: give that id, or --shim-address; see bootstrap.json in the bundle",
    });
  }
}

export const state: Action = (context, _args, options) =>
  withShim(context, options, async (api, id, call) => {
    const s = await api.state({ id: textOf(options, "taskId") || id }, callOptions(call));
    toStdout(
      toJson({
        id: s.id,
        bundle: s.bundle,
        pid: s.pid,
        status: fromStatus(s.status).toUpperCase(),
        stdin: s.stdin,
        stdout: s.stdout,
        stderr: s.stderr,
        terminal: s.terminal,
        exit_status: s.exitStatus,
        exited_at: s.exitedAt === undefined ? null : formatRfc3339(fromTimestamp(s.exitedAt)),
      }),
    );
    return 0;
  });

export const start: Action = (context, _args, options) =>
  withShim(context, options, async (api, id, call) => {
    await api.start({ id }, callOptions(call));
    return 0;
  });

export const remove: Action = (context, _args, options) =>
  withShim(
    context,
    options,
    async (api, id, call) => (await api.delete({ id }, callOptions(call))).exitStatus,
  );

export const shutdown: Action = (context, _args, options) =>
  withShim(context, options, async (api, id, call) => {
    await api.shutdown({ id, now: false }, callOptions(call)).catch((err: unknown) => {
      // a shim that ends may answer with a closed connection
      if (!/closed|reset/.test(String(err))) throw err;
    });
    return 0;
  });

export const exec: Action = (context, args, options) =>
  withShim(context, options, async (api, id, call) => {
    const execId = need(args, 0, "exec id");
    const terminal = options["tty"] === true;
    const spec = await processOf(args.slice(1), options, terminal);
    const attach = options["attach"] === true;
    const named = ["stdin", "stdout", "stderr"].some((name) => textOf(options, name) !== "");
    const given = {
      stdin: textOf(options, "stdin"),
      stdout: textOf(options, "stdout"),
      stderr: textOf(options, "stderr"),
      terminal,
    };
    const io =
      attach && !named
        ? await openStdio(execId, { terminal })
        : attachStdio(attach ? given : { stdin: "", stdout: "", stderr: "", terminal });
    try {
      const stdio = attach && !named ? io.stdio : given;
      await api.exec({ id, execId, ...stdio, spec: toAny(packProcess(spec)) }, callOptions(call));
      const tasks = tasksOf(api);
      if (!attach) {
        const pid = await tasks.start(call, id, execId);
        toStdout(`exec running with pid ${pid}\n`);
        return 0;
      }
      const exit = await runForeground({ tasks, call, id, execId, io, terminal }, true);
      await tasks.deleteProcess(call, id, execId);
      return exit.status;
    } finally {
      io.dispose();
    }
  });

async function processOf(command: string[], options: Options, terminal: boolean) {
  const file = textOf(options, "spec");
  if (file !== "") return parseExactJson(await readFile(file, "utf8")) as Parameters<typeof packProcess>[0];
  need(command, 0, "command");
  return {
    user: { uid: 0, gid: 0 },
    args: command,
    env: mergeEnv(PATH, listOf(options, "env")),
    cwd: textOf(options, "cwd") || "/",
    terminal,
  };
}

/** As much of the task service as a foreground process needs, over one shim. */
function tasksOf(api: Api): TaskService {
  const part: Partial<TaskService> = {
    start: async (call, id, execId) => (await api.start({ id, execId }, callOptions(call))).pid,
    wait: async (call, id, execId) => {
      const r = await api.wait({ id, execId }, callOptions(call));
      return { pid: 0, status: r.exitStatus, exitedAt: fromTimestamp(r.exitedAt) };
    },
    closeIO: async (call, id, execId, stdin) => {
      await api.closeIO({ id, execId, stdin }, callOptions(call));
    },
    kill: async (call, id, execId, signal, all) => {
      await api.kill({ id, execId, signal, all }, callOptions(call));
    },
    resizePty: async (call, id, execId, width, height) => {
      await api.resizePty({ id, execId, width, height }, callOptions(call));
    },
    deleteProcess: async (call, id, execId) => {
      const r = await api.delete({ id, execId }, callOptions(call));
      return { pid: r.pid, status: r.exitStatus, exitedAt: fromTimestamp(r.exitedAt) };
    },
  };
  return new Proxy(part as TaskService, {
    get: (target, key) =>
      Reflect.get(target, key) ??
      (() => {
        throw notImplemented(`${String(key)} of a shim`);
      }),
  });
}

/** Profiles are read from the debug socket that Go's shims open; ours have none. */
export const profile =
  (name: string): Action =>
  async (context, _args, options) => {
    const { id } = addressOf(context, options);
    const path = socketPath("", context.address, context.namespace, `${id}/debug`);
    const { default: http } = await import("node:http");
    const query = new URLSearchParams();
    for (const key of ["debug", "seconds"])
      if (textOf(options, key) !== "") query.set(key, textOf(options, key).replace(/s$/, ""));
    const answer = await new Promise<import("node:http").IncomingMessage>((resolve, reject) => {
      const asked = http.get({ socketPath: path, path: `/debug/pprof/${name}?${query}` }, resolve);
      asked.on("error", (err) =>
        reject(
          failedPrecondition(`profile of the shim of "${id}": it has no debug socket`, {
            cause: err,
            hint: "our own shims have none: kill -USR1 makes one write its state into the daemon's log",
          }),
        ),
      );
    });
    for await (const chunk of answer) toStdout(chunk as Buffer);
    return answer.statusCode === 200 ? 0 : 1;
  };
