/** Tasks: running containers. Implemented by plugins/runtime over shims; over RPC by client/. */
import type { AnyValue, TimeNs } from "../any.ts";
import type { NamespacedCall } from "../call.ts";
import type { Mount } from "../mounts/mount.ts";
import type { Descriptor } from "../oci.ts";

/** Status of a process. */
export type TaskStatus = "unknown" | "created" | "running" | "stopped" | "paused" | "pausing";

/** Stdio of a process: FIFO paths or URIs (`fifo`, `file://`, `binary://`); "" = null. */
export interface Stdio {
  readonly stdin: string;
  readonly stdout: string;
  readonly stderr: string;
  readonly terminal: boolean;
}

/** State of a process: the init process when execId is "". */
export interface ProcessState extends Stdio {
  readonly containerId: string;
  readonly execId: string;
  readonly pid: number;
  readonly status: TaskStatus;
  readonly exitStatus: number;
  readonly exitedAt?: TimeNs | undefined;
}

/** How a process ended. */
export interface Exit {
  readonly pid: number;
  /** 0-255; 128+signal when killed. */
  readonly status: number;
  readonly exitedAt: TimeNs;
}

/** How to create a task. */
export interface CreateTask extends Stdio {
  readonly containerId: string;
  readonly rootfs: readonly Mount[];
  readonly checkpoint?: Descriptor | undefined;
  readonly options?: AnyValue | undefined;
  /** Absolute path of a shim executable instead of the one that the runtime name resolves to. */
  readonly runtimePath?: string | undefined;
  /** Task API to use instead of a shim of its own, as a sandbox tells it: `ttrpc+unix://PATH`. */
  readonly taskApi?: { readonly address: string; readonly version: number } | undefined;
}

/** How to add a process. */
export interface ExecTask extends Stdio {
  readonly containerId: string;
  readonly execId: string;
  /** OCI Process as JSON in an Any. */
  readonly spec: AnyValue;
}

/** The task service of the daemon. `execId` "" is the init process. All throw not-found for an unknown task or process. */
export interface TaskService {
  /** @returns pid. @throws already-exists */
  create(call: NamespacedCall, request: CreateTask): Promise<number>;
  /** @returns pid */
  start(call: NamespacedCall, id: string, execId: string): Promise<number>;
  /** @throws failed-precondition while it runs */
  delete(call: NamespacedCall, id: string): Promise<Exit>;
  deleteProcess(call: NamespacedCall, id: string, execId: string): Promise<Exit>;
  get(call: NamespacedCall, id: string, execId: string): Promise<ProcessState>;
  /**
   * As `list`, but what is seen to run is "running" (it may be created or paused) without its shim being asked: at the start of a
   * daemon with many of them. Streams are left out.
   */
  glance?(call: NamespacedCall): Promise<readonly ProcessState[]>;
  /**
   * Status of each init process by container, as far as it is known without asking a shim, which may sleep and would wake: what
   * its shim said last and what was done to it since. For what looks at all of them again and again.
   */
  peek?(call: NamespacedCall): ReadonlyMap<string, TaskStatus | undefined>;
  list(call: NamespacedCall): Promise<ProcessState[]>;
  kill(call: NamespacedCall, id: string, execId: string, signal: number, all: boolean): Promise<void>;
  exec(call: NamespacedCall, request: ExecTask): Promise<void>;
  resizePty(call: NamespacedCall, id: string, execId: string, width: number, height: number): Promise<void>;
  closeIO(call: NamespacedCall, id: string, execId: string, stdin: boolean): Promise<void>;
  pause(call: NamespacedCall, id: string): Promise<void>;
  resume(call: NamespacedCall, id: string): Promise<void>;
  pids(call: NamespacedCall, id: string): Promise<{ pid: number; info?: AnyValue | undefined }[]>;
  /** @returns descriptors of the checkpoint (empty when written to the options' image path) */
  checkpoint(
    call: NamespacedCall,
    id: string,
    options: AnyValue | undefined,
    parent: string,
  ): Promise<Descriptor[]>;
  update(
    call: NamespacedCall,
    id: string,
    resources: AnyValue | undefined,
    annotations: ReadonlyMap<string, string>,
  ): Promise<void>;
  /** Metrics of one or all tasks; filters on `id`. */
  metrics(
    call: NamespacedCall,
    filters: readonly string[],
  ): Promise<{ id: string; timestamp: TimeNs; data?: AnyValue | undefined }[]>;
  /** Resolves when the process has ended; at once when it has. */
  wait(call: NamespacedCall, id: string, execId: string): Promise<Exit>;
}
