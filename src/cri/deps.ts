/** What the pod domain is built from: core interfaces and settings, put together by the daemon. */
import type { ContainerConfig, PodSandboxConfig } from "../api/gen/cri/runtime/v1/api_pb.ts";
import type { AnyValue } from "../core/any.ts";
import type { NamespacedCall } from "../core/call.ts";
import type { Comparer } from "../core/diff/diff.ts";
import type { EventExchange } from "../core/events/events.ts";
import type { LeaseManager } from "../core/leases/leases.ts";
import type { Logger } from "../core/log.ts";
import type { MetadataStore } from "../core/plugin/kinds.ts";
import type { DaemonFacts } from "../core/plugin/plugin.ts";
import type { TaskService } from "../core/tasks/tasks.ts";
import type { ImageTransfer } from "../core/transfer/transfer.ts";
import type { RuntimeConfig, RuntimeHandler } from "./config.ts";
import type { ImagesConfig } from "./config-images.ts";

/** CRI's objects live in this containerd namespace. */
export const CRI_NAMESPACE = "k8s.io";

/** Messages to bytes and back; implemented over the generated code, which this folder uses for types only. */
export interface CriCodec {
  encodePodConfig(config: PodSandboxConfig): Uint8Array;
  decodePodConfig(bytes: Uint8Array): PodSandboxConfig;
  encodeContainerConfig(config: ContainerConfig): Uint8Array;
  decodeContainerConfig(bytes: Uint8Array): ContainerConfig;
  /** Options of a handler as its runtime takes them. */
  runtimeOptions(handler: RuntimeHandler): AnyValue | undefined;
  /** Options of runc's shim for a checkpoint into a folder; the process runs on. */
  checkpointOptions(imagePath: string, workPath: string): AnyValue;
  /** Asks the runtime of a handler what it is and can do (JSON of `runc features`); undefined when it does not say. */
  runtimeFeatures(handler: RuntimeHandler): Promise<Readonly<Record<string, unknown>> | undefined>;
  /** Name of the record that a `/images/...` event is about. */
  imageEvent(event: AnyValue): string | undefined;
  /** Whether a `/tasks/oom` or `/tasks/exit` event is about a container, and about which of its processes. */
  taskEvent(event: AnyValue): { readonly containerId: string; readonly execId: string } | undefined;
}

/** See the file's comment. */
export interface CriDeps {
  /** In CRI's namespace; lives as long as the daemon. */
  readonly call: NamespacedCall;
  readonly log: Logger;
  /** Persistent and volatile folder of CRI. */
  readonly root: string;
  readonly state: string;
  readonly daemon: DaemonFacts;
  /** Folder whose disk the snapshots of a snapshotter are on, as it says in its exports. */
  snapshotterRoot(name: string): string;
  readonly config: RuntimeConfig;
  readonly imagesConfig: ImagesConfig;
  readonly metadata: MetadataStore;
  readonly leases: LeaseManager;
  readonly tasks: TaskService;
  readonly events: EventExchange;
  readonly transfer: ImageTransfer;
  readonly differ: Comparer;
  readonly codec: CriCodec;
}
