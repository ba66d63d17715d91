/** TaskService over the tasks service. */
import { Tasks } from "../api/gen/containerd/services/tasks/v1/tasks_pb.ts";
import { internal } from "../core/errors.ts";
import type { TaskService } from "../core/tasks/tasks.ts";
import { createClient } from "../rpc/client.ts";
import { fromAnyMaybe, fromTimestamp, toAny, toRecord } from "../rpc/convert/basic.ts";
import { fromDescriptor, toDescriptor, toMount } from "../rpc/convert/oci.ts";
import { fromProcess } from "../rpc/convert/tasks.ts";
import { callOptions } from "../rpc/headers.ts";
import type { Transport } from "../rpc/types.ts";

/** Makes the service. */
export function tasksClient(transport: Transport): TaskService {
  const client = createClient(Tasks, transport);
  return {
    async create(call, r) {
      const request = {
        containerId: r.containerId,
        rootfs: r.rootfs.map(toMount),
        stdin: r.stdin,
        stdout: r.stdout,
        stderr: r.stderr,
        terminal: r.terminal,
        runtimePath: r.runtimePath ?? "",
        taskApiAddress: r.taskApi?.address ?? "",
        taskApiVersion: r.taskApi?.version ?? 0,
        ...(r.checkpoint === undefined ? {} : { checkpoint: toDescriptor(r.checkpoint) }),
        ...(r.options === undefined ? {} : { options: toAny(r.options) }),
      };
      return (await client.create(request, callOptions(call))).pid;
    },
    async start(call, containerId, execId) {
      return (await client.start({ containerId, execId }, callOptions(call))).pid;
    },
    async delete(call, containerId) {
      const r = await client.delete({ containerId }, callOptions(call));
      return { pid: r.pid, status: r.exitStatus, exitedAt: fromTimestamp(r.exitedAt) };
    },
    async deleteProcess(call, containerId, execId) {
      const r = await client.deleteProcess({ containerId, execId }, callOptions(call));
      return { pid: r.pid, status: r.exitStatus, exitedAt: fromTimestamp(r.exitedAt) };
    },
    async get(call, containerId, execId) {
      const { process } = await client.get({ containerId, execId }, callOptions(call));
      if (process === undefined) throw internal(`read task "${containerId}": empty answer`);
      return { ...fromProcess(process), containerId, execId };
    },
    async list(call) {
      return (await client.list({}, callOptions(call))).tasks.map(fromProcess);
    },
    async kill(call, containerId, execId, signal, all) {
      await client.kill({ containerId, execId, signal, all }, callOptions(call));
    },
    async exec(call, r) {
      await client.exec({ ...r, spec: toAny(r.spec) }, callOptions(call));
    },
    async resizePty(call, containerId, execId, width, height) {
      await client.resizePty({ containerId, execId, width, height }, callOptions(call));
    },
    async closeIO(call, containerId, execId, stdin) {
      await client.closeIO({ containerId, execId, stdin }, callOptions(call));
    },
    async pause(call, containerId) {
      await client.pause({ containerId }, callOptions(call));
    },
    async resume(call, containerId) {
      await client.resume({ containerId }, callOptions(call));
    },
    async pids(call, containerId) {
      return (await client.listPids({ containerId }, callOptions(call))).processes.map((p) => ({
        pid: p.pid,
        info: fromAnyMaybe(p.info),
      }));
    },
    async checkpoint(call, containerId, options, parentCheckpoint) {
      const request = {
        containerId,
        parentCheckpoint,
        ...(options === undefined ? {} : { options: toAny(options) }),
      };
      return (await client.checkpoint(request, callOptions(call))).descriptors.map((d) =>
        fromDescriptor(d, "checkpoint"),
      );
    },
    async update(call, containerId, resources, annotations) {
      const request = {
        containerId,
        annotations: toRecord(annotations),
        ...(resources === undefined ? {} : { resources: toAny(resources) }),
      };
      await client.update(request, callOptions(call));
    },
    async metrics(call, filters) {
      const { metrics } = await client.metrics({ filters: [...filters] }, callOptions(call));
      return metrics.map((m) => ({
        id: m.id,
        timestamp: fromTimestamp(m.timestamp),
        data: fromAnyMaybe(m.data),
      }));
    },
    async wait(call, containerId, execId) {
      const r = await client.wait({ containerId, execId }, callOptions(call));
      return { pid: 0, status: r.exitStatus, exitedAt: fromTimestamp(r.exitedAt) };
    },
  };
}
