import { Tasks } from "../api/gen/containerd/services/tasks/v1/tasks_pb.ts";
import { invalidArgument } from "../core/errors.ts";
import type { Exit, TaskService } from "../core/tasks/tasks.ts";
import { fromAny, fromAnyMaybe, fromRecord, toAnyMaybe, toTimestamp } from "../rpc/convert/basic.ts";
import { fromDescriptor, fromMount, toDescriptor } from "../rpc/convert/oci.ts";
import { toProcess } from "../rpc/convert/tasks.ts";
import { bindService, type ServiceBinding } from "../rpc/types.ts";

/** Tasks service. */
export function tasksService(tasks: TaskService): ServiceBinding {
  return bindService(Tasks, {
    async create(r, { call }) {
      const pid = await tasks.create(call.namespaced(), {
        containerId: r.containerId,
        rootfs: r.rootfs.map(fromMount),
        stdin: r.stdin,
        stdout: r.stdout,
        stderr: r.stderr,
        terminal: r.terminal,
        checkpoint: r.checkpoint === undefined ? undefined : fromDescriptor(r.checkpoint, "checkpoint"),
        options: fromAnyMaybe(r.options),
        runtimePath: r.runtimePath === "" ? undefined : r.runtimePath,
        taskApi:
          r.taskApiAddress === "" ? undefined : { address: r.taskApiAddress, version: r.taskApiVersion },
      });
      return { containerId: r.containerId, pid };
    },
    async start(r, { call }) {
      return { pid: await tasks.start(call.namespaced(), r.containerId, r.execId) };
    },
    async delete(r, { call }) {
      return { id: r.containerId, ...toExit(await tasks.delete(call.namespaced(), r.containerId)) };
    },
    async deleteProcess(r, { call }) {
      return {
        id: r.execId,
        ...toExit(await tasks.deleteProcess(call.namespaced(), r.containerId, r.execId)),
      };
    },
    async get(r, { call }) {
      return { process: toProcess(await tasks.get(call.namespaced(), r.containerId, r.execId)) };
    },
    async list(_r, { call }) {
      return { tasks: (await tasks.list(call.namespaced())).map(toProcess) };
    },
    async kill(r, { call }) {
      await tasks.kill(call.namespaced(), r.containerId, r.execId, r.signal, r.all);
      return {};
    },
    async exec(r, { call }) {
      if (r.execId === "") throw invalidArgument("exec id cannot be empty");
      if (r.spec === undefined) throw invalidArgument("process spec is required");
      const { containerId, execId, stdin, stdout, stderr, terminal } = r;
      await tasks.exec(call.namespaced(), {
        containerId,
        execId,
        stdin,
        stdout,
        stderr,
        terminal,
        spec: fromAny(r.spec),
      });
      return {};
    },
    async resizePty(r, { call }) {
      await tasks.resizePty(call.namespaced(), r.containerId, r.execId, r.width, r.height);
      return {};
    },
    async closeIO(r, { call }) {
      await tasks.closeIO(call.namespaced(), r.containerId, r.execId, r.stdin);
      return {};
    },
    async pause(r, { call }) {
      await tasks.pause(call.namespaced(), r.containerId);
      return {};
    },
    async resume(r, { call }) {
      await tasks.resume(call.namespaced(), r.containerId);
      return {};
    },
    async listPids(r, { call }) {
      const processes = await tasks.pids(call.namespaced(), r.containerId);
      return { processes: processes.map((p) => withInfo({ pid: p.pid }, "info", toAnyMaybe(p.info))) };
    },
    async checkpoint(r, { call }) {
      const made = await tasks.checkpoint(
        call.namespaced(),
        r.containerId,
        fromAnyMaybe(r.options),
        r.parentCheckpoint,
      );
      return { descriptors: made.map(toDescriptor) };
    },
    async update(r, { call }) {
      await tasks.update(
        call.namespaced(),
        r.containerId,
        fromAnyMaybe(r.resources),
        fromRecord(r.annotations),
      );
      return {};
    },
    async metrics(r, { call }) {
      const metrics = await tasks.metrics(call.namespaced(), r.filters);
      return {
        metrics: metrics.map((m) =>
          withInfo({ id: m.id, timestamp: toTimestamp(m.timestamp) }, "data", toAnyMaybe(m.data)),
        ),
      };
    },
    async wait(r, { call }) {
      const exit = await tasks.wait(call.namespaced(), r.containerId, r.execId);
      return { exitStatus: exit.status, exitedAt: toTimestamp(exit.exitedAt) };
    },
  });
}

function toExit(exit: Exit) {
  return { pid: exit.pid, exitStatus: exit.status, exitedAt: toTimestamp(exit.exitedAt) };
}

function withInfo<T extends object, K extends string, V>(
  base: T,
  key: K,
  value: V | undefined,
): T & { [P in K]?: V } {
  return value === undefined ? base : { ...base, [key]: value };
}
