/** The task service, version 2 and 3 alike: both have the same messages in two packages. */
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { type Any, EmptySchema } from "@bufbuild/protobuf/wkt";
import {
  CheckpointOptionsSchema,
  ProcessDetailsSchema,
} from "../../src/api/gen/containerd/types/runc/options/oci_pb.ts";
import { Status } from "../../src/api/gen/containerd/types/task/task_pb.ts";
import { alreadyExists, invalidArgument, notFound } from "../../src/core/errors.ts";
import type { Exit, Stdio, TaskStatus } from "../../src/core/tasks/tasks.ts";
import { splitNs } from "../../src/lib/time.ts";
import { version } from "../../src/lib/version.ts";
import { Container, type ContainerHost } from "./container.ts";
import { parseOptions } from "./options.ts";
import type { CheckpointFlags } from "./runc.ts";
import { statusOf } from "./state.ts";

const STATUS: Readonly<Record<TaskStatus, Status>> = {
  unknown: Status.UNKNOWN,
  created: Status.CREATED,
  running: Status.RUNNING,
  stopped: Status.STOPPED,
  paused: Status.PAUSED,
  pausing: Status.PAUSING,
};

interface ById {
  readonly id: string;
}
interface ByExec extends ById {
  readonly execId: string;
}
interface CreateRequest extends ById, Stdio {
  readonly bundle: string;
  readonly rootfs: readonly { type: string; source: string; target: string; options: string[] }[];
  readonly checkpoint: string;
  readonly options?: Any | undefined;
}

/** What the service needs of the process it runs in. */
export interface TaskServiceHost extends ContainerHost {
  readonly namespace: string;
  /** Called when the last container is gone and the daemon asked the shim to end. */
  readonly shutdown: () => void;
  /** A container came or went; members of a shared shim are counted by it. */
  readonly onMember?: (id: string, bundle: string, present: boolean) => void;
}

/** The handlers, to be bound to both service descriptors. */
export function createTaskService(host: TaskServiceHost) {
  const containers = new Map<string, Container>();
  const creating = new Set<string>();
  const find = (id: string): Container => {
    const found = containers.get(id);
    if (found === undefined) throw notFound("container not created");
    return found;
  };
  const ended = (exit: Exit | undefined) =>
    exit === undefined || exit.exitedAt === 0n
      ? { exitStatus: exit?.status ?? 0 }
      : { exitStatus: exit.status, exitedAt: splitNs(exit.exitedAt) };
  const empty = () => create(EmptySchema);

  return {
    /** Containers now. */
    containers: containers as ReadonlyMap<string, Container>,
    handlers: {
      state(r: ByExec) {
        const container = find(r.id);
        const process = container.process(r.execId);
        const { stdin, stdout, stderr, terminal } = process.streams;
        return {
          id: r.id,
          bundle: container.bundle,
          pid: process.pid,
          status: STATUS[statusOf(process.phase)],
          stdin,
          stdout,
          stderr,
          terminal,
          execId: r.execId,
          ...ended(process.exit),
        };
      },

      async create(r: CreateRequest) {
        if (containers.has(r.id) || creating.has(r.id)) throw alreadyExists(`task ${r.id}`);
        creating.add(r.id);
        try {
          const { id, bundle, rootfs, stdin, stdout, stderr, terminal, checkpoint } = r;
          const streams = { stdin, stdout, stderr, terminal };
          const facts = { id, bundle, rootfs, checkpoint, ...streams, namespace: host.namespace };
          const container = await Container.create({ ...facts, options: parseOptions(r.options) }, host);
          containers.set(id, container);
          host.onMember?.(id, bundle, true);
          return { pid: container.init.pid };
        } finally {
          creating.delete(r.id);
        }
      },

      async start(r: ByExec) {
        return { pid: await find(r.id).start(r.execId) };
      },

      async delete(r: ByExec) {
        const container = find(r.id);
        if (r.execId !== "") {
          const exit = await container.deleteExec(r.execId);
          return { pid: exit.pid, ...ended(exit) };
        }
        const exit = await container.delete();
        containers.delete(r.id);
        host.onMember?.(r.id, container.bundle, false);
        return { pid: exit.pid, ...ended(exit) };
      },

      pids(r: ById) {
        const processes = find(r.id)
          .pids()
          .map(({ pid, execId }) => {
            if (execId === "") return { pid };
            const value = toBinary(ProcessDetailsSchema, create(ProcessDetailsSchema, { execId }));
            return { pid, info: { typeUrl: ProcessDetailsSchema.typeName, value } };
          });
        return { processes };
      },

      async pause(r: ById) {
        await find(r.id).pause();
        return empty();
      },

      async resume(r: ById) {
        await find(r.id).resume();
        return empty();
      },

      async checkpoint(r: ById & { readonly path: string; readonly options?: Any | undefined }) {
        await find(r.id).checkpoint(checkpointFlags(r.path, r.options));
        return empty();
      },

      async kill(r: ByExec & { readonly signal: number; readonly all: boolean }) {
        await find(r.id).kill(r.execId, r.signal, r.all);
        return empty();
      },

      exec(r: ByExec & Stdio & { readonly spec?: Any | undefined }) {
        const { stdin, stdout, stderr, terminal } = r;
        if (r.spec === undefined) throw invalidArgument("exec process: spec is required");
        find(r.id).exec(r.execId, { stdin, stdout, stderr, terminal }, r.spec.value);
        return empty();
      },

      resizePty(r: ByExec & { readonly width: number; readonly height: number }) {
        find(r.id).process(r.execId).resize(r.width, r.height);
        return empty();
      },

      closeIO(r: ByExec & { readonly stdin: boolean }) {
        const process = find(r.id).process(r.execId);
        if (r.stdin) process.io?.closeStdin();
        return empty();
      },

      async update(r: ById & { readonly resources?: Any | undefined }) {
        if (r.resources === undefined) throw invalidArgument("update task: resources are required");
        await find(r.id).update(r.resources.value);
        return empty();
      },

      async wait(r: ByExec) {
        return ended(await find(r.id).process(r.execId).wait());
      },

      async stats(r: ById) {
        const { metricsOf } = await import("./stats.ts");
        return { stats: metricsOf(find(r.id).cgroup.stats()) };
      },

      connect(r: ById) {
        const taskPid = containers.get(r.id)?.init.pid ?? 0;
        return { shimPid: process.pid, taskPid, version };
      },

      shutdown() {
        if (containers.size === 0 && creating.size === 0) host.shutdown();
        return empty();
      },
    },
  };
}

function checkpointFlags(path: string, any: Any | undefined): CheckpointFlags {
  const o =
    any?.typeUrl.endsWith("containerd.runc.v1.CheckpointOptions") === true
      ? fromBinary(CheckpointOptionsSchema, any.value)
      : create(CheckpointOptionsSchema);
  return {
    imagePath: path === "" ? o.imagePath : path,
    workPath: o.workPath,
    parentPath: o.parentPath,
    leaveRunning: !o.exit,
    openTcp: o.openTcp,
    externalUnixSockets: o.externalUnixSockets,
    terminal: o.terminal,
    fileLocks: o.fileLocks,
    emptyNamespaces: o.emptyNamespaces,
    cgroupsMode: o.cgroupsMode,
  };
}
