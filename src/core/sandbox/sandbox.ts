/** Sandboxes: groups of containers that share an environment (pods, for CRI). The records, and who runs them. */
import type { AnyValue, Labels, TimeNs } from "../any.ts";
import type { NamespacedCall } from "../call.ts";
import type { Mount } from "../mounts/mount.ts";
import type { Platform } from "../oci.ts";

/** A record. */
export interface Sandbox {
  /** Required, immutable identifier. */
  readonly id: string;
  /** Runtime name (required, immutable) and its options. */
  readonly runtime: { readonly name: string; readonly options?: AnyValue | undefined };
  /** OCI spec, or what the controller wants instead. */
  readonly spec?: AnyValue | undefined;
  readonly labels: Labels;
  readonly createdAt: TimeNs;
  readonly updatedAt: TimeNs;
  readonly extensions: ReadonlyMap<string, AnyValue>;
  /** Name of the controller that runs it; "" for the default one. */
  readonly sandboxer: string;
}

/** What create and update take. */
export type SandboxInput = Omit<Sandbox, "createdAt" | "updatedAt">;

/** Sandboxes of a namespace. */
export interface SandboxStore {
  /** @throws not-found */
  get(call: NamespacedCall, id: string): Promise<Sandbox>;
  list(call: NamespacedCall, filters: readonly string[]): Promise<Sandbox[]>;
  /** @throws already-exists, invalid-argument */
  create(call: NamespacedCall, sandbox: SandboxInput): Promise<Sandbox>;
  /**
   * Fields: labels, labels.KEY, extensions, extensions.KEY, spec, runtime; empty = those four.
   * @throws not-found, invalid-argument (unknown field, immutable field changed)
   */
  update(call: NamespacedCall, sandbox: SandboxInput, fields: readonly string[]): Promise<Sandbox>;
  /** @throws not-found */
  delete(call: NamespacedCall, id: string): Promise<void>;
}

/** How a sandbox is made. */
export interface CreateSandbox {
  readonly sandbox: SandboxInput;
  readonly rootfs: readonly Mount[];
  readonly options?: AnyValue | undefined;
  /** Path of the network namespace, "" for none. */
  readonly netns: string;
  readonly annotations: ReadonlyMap<string, string>;
}

/** A started sandbox. */
export interface SandboxStarted {
  readonly pid: number;
  readonly createdAt: TimeNs;
  readonly labels: Labels;
  /** Where it serves the task API for its containers (`ttrpc+unix://`, `grpc+vsock://`); "" when each has a shim. */
  readonly address: string;
  /** Version of that API. */
  readonly version: number;
  readonly spec?: AnyValue | undefined;
}

/** State of a sandbox. */
export interface SandboxStatus {
  readonly pid: number;
  /** `SANDBOX_READY`, `SANDBOX_NOTREADY`, or the controller's own word. */
  readonly state: string;
  /** More facts, when asked for. */
  readonly info: ReadonlyMap<string, string>;
  readonly createdAt: TimeNs;
  readonly exitedAt?: TimeNs | undefined;
  readonly extra?: AnyValue | undefined;
  readonly address: string;
  readonly version: number;
}

/** How a sandbox ended. */
export interface SandboxExit {
  readonly status: number;
  readonly exitedAt: TimeNs;
}

/** Runs sandboxes. All throw not-found for an unknown one. */
export interface SandboxController {
  /** @throws already-exists */
  create(call: NamespacedCall, request: CreateSandbox): Promise<void>;
  start(call: NamespacedCall, id: string): Promise<SandboxStarted>;
  platform(call: NamespacedCall, id: string): Promise<Platform>;
  /** Asks it to end, and ends it by force after the timeout. Being ended is fine. */
  stop(call: NamespacedCall, id: string, timeoutSeconds: number): Promise<void>;
  wait(call: NamespacedCall, id: string): Promise<SandboxExit>;
  status(call: NamespacedCall, id: string, verbose: boolean): Promise<SandboxStatus>;
  /** Gives back everything that is left of it. */
  shutdown(call: NamespacedCall, id: string): Promise<void>;
  metrics(call: NamespacedCall, id: string): Promise<{ timestamp: TimeNs; data?: AnyValue | undefined }>;
  update(call: NamespacedCall, sandbox: SandboxInput, fields: readonly string[]): Promise<void>;
}
