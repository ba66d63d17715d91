/** The task service, version 2 and 3 alike: both have the same messages in two packages. */
import { isAbsolute } from "node:path";
import { alreadyExists, invalidArgument, notFound, unavailable } from "../../src/core/errors.ts";
import type { Exit, TaskStatus } from "../../src/core/tasks/tasks.ts";
import { splitNs } from "../../src/lib/time.ts";
import { version } from "../../src/lib/version.ts";
import {
  ByExecRequest,
  ByIdRequest,
  CheckpointOptions,
  CheckpointTaskRequest,
  CloseIORequest,
  ConnectResponse,
  CreateTaskRequest,
  DeleteResponse,
  Empty,
  ExecProcessRequest,
  KillRequest,
  PidResponse,
  PidsResponse,
  ProcessDetails,
  ResizePtyRequest,
  StateResponse,
  StatsResponse,
  UpdateTaskRequest,
  WaitResponse,
} from "../shared/messages.ts";
import { type Method, method } from "../shared/ttrpc.ts";
import { decode, encode } from "../shared/wire.ts";
import { Container, type ContainerHost } from "./container.ts";
import type { TaskEvents } from "./events.ts";
import { parseOptions } from "./options.ts";
import type { CheckpointFlags } from "./runc.ts";
import { statusOf } from "./state.ts";

/** Numbers of containerd.v1.types.Status. */
const STATUS: Readonly<Record<TaskStatus, number>> = {
  unknown: 0,
  created: 1,
  running: 2,
  stopped: 3,
  paused: 4,
  pausing: 5,
};

/** Packages of the service, newest last; a daemon speaks one of them. */
const PACKAGES = ["containerd.task.v2.Task", "containerd.task.v3.Task"];

/** What the service needs of the process it runs in. */
export interface TaskServiceHost extends Omit<ContainerHost, "events"> {
  /** Namespace of callers that name none. */
  readonly namespace: string;
  /** Events of a namespace. */
  readonly events: (namespace: string) => TaskEvents;
  /** Called when a container was removed; its bundle goes next. */
  readonly removed: (container: Container) => void;
  /** True while a sandbox needs the shim, container or not. */
  readonly held: () => boolean;
  /** Called when the last container is gone and the daemon asked the shim to end. */
  readonly shutdown: () => void;
  /** Resolves when the daemon has all events until now, with a bound. */
  readonly told: () => Promise<void>;
}

/** The task service of one shim. */
export interface TaskService {
  /** Containers now, by `NAMESPACE/ID`. */
  readonly containers: ReadonlyMap<string, Container>;
  /** Adds a container of before the sleep. */
  readonly adopt: (container: Container, namespace: string) => void;
  /** By `package.Service/Method`, for every package. */
  readonly methods: ReadonlyMap<string, Method>;
  /** Ends the shim unless it holds something. */
  readonly endWhenEmpty: () => void;
}

export function createTaskService(host: TaskServiceHost): TaskService {
  const containers = new Map<string, Container>();
  const creating = new Set<string>();
  let ending = false;
  const keyOf = (id: string, namespace: string): string => `${namespace || host.namespace}/${id}`;
  const find = (id: string, namespace: string): Container => {
    const found = containers.get(keyOf(id, namespace));
    if (found === undefined) throw notFound("container not created");
    return found;
  };

  const endWhenEmpty = (): void => {
    if (containers.size > 0 || creating.size > 0 || host.held()) return;
    ending = true;
    host.shutdown();
  };

  const create = method(CreateTaskRequest, PidResponse, async (r, namespace) => {
    // whoever shares this shim starts another one
    if (ending) throw unavailable("shim is shutting down");
    if (!isAbsolute(r.bundle))
      throw invalidArgument(`create task ${r.id}: bundle "${r.bundle}" is not absolute`);
    const key = keyOf(r.id, namespace);
    if (containers.has(key) || creating.has(key)) throw alreadyExists(`task ${r.id}`);
    creating.add(key);
    try {
      const { id, bundle, stdin, stdout, stderr, terminal, checkpoint } = r;
      const rootfs = r.rootfs.map((m) => ({
        type: m.type ?? "",
        source: m.source ?? "",
        target: m.target ?? "",
        options: m.options ?? [],
      }));
      const options = parseOptions(r.options);
      const facts = { id, bundle, rootfs, checkpoint, stdin, stdout, stderr, terminal, options };
      const where = namespace || host.namespace;
      const { layout, log } = host;
      const container = await Container.create(
        { ...facts, namespace: where },
        { layout, log, events: host.events(where) },
      );
      containers.set(key, container);
      return { pid: container.init.pid };
    } finally {
      creating.delete(key);
    }
  });

  const state = method(ByExecRequest, StateResponse, (r, ns) => {
    const container = find(r.id, ns);
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
  });

  const remove = method(ByExecRequest, DeleteResponse, async (r, ns) => {
    const container = find(r.id, ns);
    if (r.execId !== "") {
      const exit = await container.deleteExec(r.execId);
      return { pid: exit.pid, ...ended(exit) };
    }
    const exit = await container.delete();
    containers.delete(keyOf(r.id, ns));
    host.removed(container);
    return { pid: exit.pid, ...ended(exit) };
  });

  const pids = method(ByIdRequest, PidsResponse, (r, ns) => ({
    processes: find(r.id, ns)
      .pids()
      .map(({ pid, execId }) => {
        if (execId === "") return { pid };
        return { pid, info: { typeUrl: ProcessDetails.name, value: encode(ProcessDetails, { execId }) } };
      }),
  }));

  const exec = method(ExecProcessRequest, Empty, (r, ns) => {
    const { stdin, stdout, stderr, terminal } = r;
    if (r.spec === undefined) throw invalidArgument("exec process: spec is required");
    const spec = r.spec.value ?? new Uint8Array(0);
    find(r.id, ns).exec(r.execId, { stdin, stdout, stderr, terminal }, spec);
    return {};
  });

  const stats = method(ByIdRequest, StatsResponse, async (r, ns) => {
    const { metricsOf } = await import("../shared/cgroup-metrics.ts");
    return { stats: metricsOf(find(r.id, ns).cgroup.stats()) };
  });

  const table: Readonly<Record<string, Method>> = {
    Create: create,
    State: state,
    Delete: remove,
    Pids: pids,
    Exec: exec,
    Stats: stats,
    Start: method(ByExecRequest, PidResponse, async (r, ns) => ({
      pid: await find(r.id, ns).start(r.execId),
    })),
    Wait: method(ByExecRequest, WaitResponse, async (r, ns) =>
      ended(await find(r.id, ns).process(r.execId).wait()),
    ),
    Kill: method(KillRequest, Empty, async (r, ns) => {
      await find(r.id, ns).kill(r.execId, r.signal, r.all);
      return {};
    }),
    Pause: method(ByIdRequest, Empty, async (r, ns) => {
      await find(r.id, ns).pause();
      return {};
    }),
    Resume: method(ByIdRequest, Empty, async (r, ns) => {
      await find(r.id, ns).resume();
      return {};
    }),
    Checkpoint: method(CheckpointTaskRequest, Empty, async (r, ns) => {
      await find(r.id, ns).checkpoint(checkpointFlags(r.path, r.options));
      return {};
    }),
    ResizePty: method(ResizePtyRequest, Empty, (r, ns) => {
      find(r.id, ns).process(r.execId).resize(r.width, r.height);
      return {};
    }),
    CloseIO: method(CloseIORequest, Empty, (r, ns) => {
      const process = find(r.id, ns).process(r.execId);
      if (r.stdin) process.closeStdin();
      return {};
    }),
    Update: method(UpdateTaskRequest, Empty, async (r, ns) => {
      const container = find(r.id, ns);
      const ours = container.updateStreams(r.annotations);
      if (r.resources?.value !== undefined) await container.update(r.resources.value);
      else if (!ours) throw invalidArgument("update task: resources are required");
      return {};
    }),
    Connect: method(ByIdRequest, ConnectResponse, (r, ns) => {
      const taskPid = containers.get(keyOf(r.id, ns))?.init.pid ?? 0;
      return { shimPid: process.pid, taskPid, version };
    }),
    Shutdown: method(ByIdRequest, Empty, async () => {
      endWhenEmpty();
      // the daemon asks after each Delete, before it answers the client: whose next steps have events of their own
      await host.told();
      return {};
    }),
  };
  const methods = new Map<string, Method>();
  for (const name of PACKAGES)
    for (const [key, value] of Object.entries(table)) methods.set(`${name}/${key}`, value);
  const adopt = (container: Container, namespace: string): void => {
    containers.set(keyOf(container.id, namespace), container);
  };
  return { containers, adopt, methods, endWhenEmpty };
}

function ended(exit: Exit | undefined): {
  exitStatus: number;
  exitedAt?: { seconds: bigint; nanos: number };
} {
  if (exit === undefined || exit.exitedAt === 0n) return { exitStatus: exit?.status ?? 0 };
  return { exitStatus: exit.status, exitedAt: splitNs(exit.exitedAt) };
}

function checkpointFlags(
  path: string,
  any: { readonly typeUrl?: string | undefined; readonly value?: Uint8Array | undefined } | undefined,
): CheckpointFlags {
  const given =
    any?.typeUrl?.endsWith("containerd.runc.v1.CheckpointOptions") === true ? any.value : undefined;
  const o = decode(CheckpointOptions, given ?? new Uint8Array(0));
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
