/** Calls of the task service on a container that is there. */
import { invalidArgument } from "../../src/core/errors.ts";
import type { Exit, TaskStatus } from "../../src/core/tasks/tasks.ts";
import { splitNs } from "../../src/lib/time.ts";
import {
  ByExecRequest,
  ByIdRequest,
  CheckpointOptions,
  CheckpointTaskRequest,
  CloseIORequest,
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
import type { Container } from "./container.ts";
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

/** Finds a container. @throws not-found */
export type Find = (id: string, namespace: string) => Container;

/** The methods by name. */
export function containerMethods(find: Find): Readonly<Record<string, Method>> {
  return { ...lookMethods(find), ...processMethods(find), ...wholeMethods(find) };
}

/** What tells about it and changes nothing. */
function lookMethods(find: Find): Readonly<Record<string, Method>> {
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

  const pids = method(ByIdRequest, PidsResponse, (r, ns) => ({
    processes: find(r.id, ns)
      .pids()
      .map(({ pid, execId }) => {
        if (execId === "") return { pid };
        return { pid, info: { typeUrl: ProcessDetails.name, value: encode(ProcessDetails, { execId }) } };
      }),
  }));

  const stats = method(ByIdRequest, StatsResponse, async (r, ns) => {
    const { metricsOf } = await import("../shared/cgroup-metrics.ts");
    return { stats: metricsOf(find(r.id, ns).cgroup.stats()) };
  });

  return { State: state, Pids: pids, Stats: stats };
}

/** What is done with one of its processes. */
function processMethods(find: Find): Readonly<Record<string, Method>> {
  const exec = method(ExecProcessRequest, Empty, (r, ns) => {
    const { stdin, stdout, stderr, terminal } = r;
    if (r.spec === undefined) throw invalidArgument("exec process: spec is required");
    const spec = r.spec.value ?? new Uint8Array(0);
    find(r.id, ns).exec(r.execId, { stdin, stdout, stderr, terminal }, spec);
    return {};
  });

  return {
    Exec: exec,
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
    ResizePty: method(ResizePtyRequest, Empty, (r, ns) => {
      find(r.id, ns).process(r.execId).resize(r.width, r.height);
      return {};
    }),
    CloseIO: method(CloseIORequest, Empty, (r, ns) => {
      const process = find(r.id, ns).process(r.execId);
      if (r.stdin) process.closeStdin();
      return {};
    }),
  };
}

/** What is done with all of it. */
function wholeMethods(find: Find): Readonly<Record<string, Method>> {
  return {
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
    Update: method(UpdateTaskRequest, Empty, async (r, ns) => {
      const container = find(r.id, ns);
      const ours = container.updateStreams(r.annotations);
      if (r.resources?.value !== undefined) await container.update(r.resources.value);
      else if (!ours) throw invalidArgument("update task: resources are required");
      return {};
    }),
  };
}

/** An exit as responses tell it. */
export function ended(exit: Exit | undefined): {
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
