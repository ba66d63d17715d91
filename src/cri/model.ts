/**
 * What the pod domain knows: pods (CRI: pod sandboxes), containers, and the read side that exec, stats, events and NRI
 * build on. CRI messages are used as plain records (types only); persistence and transitions are in `store/`.
 */
import type { ContainerConfig, PodSandboxConfig, UserNamespace } from "../api/gen/cri/runtime/v1/api_pb.ts";
import type { AnyValue, TimeNs } from "../core/any.ts";
import type { NamespacedCall } from "../core/call.ts";
import type { ChainId } from "../core/ids/digest.ts";
import type { ImageConfig } from "../oci/documents.ts";

/** Life of a pod. "creating" is not shown over CRI; "unknown" is shown as not ready (the kubelet stops and removes it). */
export type PodState = "creating" | "ready" | "not-ready" | "unknown";

/** A pod as it is now: an immutable snapshot; the store replaces it on change. */
export interface Pod {
  /** 64 hexadecimal digits. */
  readonly id: string;
  /** Reserved name: `name_namespace_uid_attempt`. */
  readonly name: string;
  readonly config: PodSandboxConfig;
  /** Handler as asked for; "" is the default one. */
  readonly handler: string;
  readonly runtime: { readonly name: string; readonly options?: AnyValue | undefined };
  readonly state: PodState;
  readonly createdAt: TimeNs;
  readonly exitedAt?: TimeNs | undefined;
  /** Process id of the pod's own process; 0 without one. */
  readonly pid: number;
  /** Bind-mounted network namespace; "" when the pod uses the host's network. */
  readonly netnsPath: string;
  /** Addresses of the pod, primary first; empty on the host's network. */
  readonly ips: readonly string[];
  /** Last CNI result of the chain (JSON), for status and CHECK/DEL. */
  readonly cniResult?: unknown;
  /** SELinux process and mount label; "" where the kernel has none. */
  readonly processLabel: string;
  readonly mountLabel: string;
  readonly userns?: UserNamespace | undefined;
  /** The pod has no process: its namespaces are kept by mounts. */
  readonly pinned?: boolean | undefined;
  /** Its network was taken down, by this daemon: nothing of it is left to remove. Not kept over a restart. */
  readonly detached?: boolean | undefined;
  /** Directory with hostname, hosts, resolv.conf, shm of the pod. */
  readonly stateDir: string;
}

/** Life of a container, as in CRI. */
export type ContainerState = "created" | "running" | "exited" | "unknown";

/** A container as it is now: an immutable snapshot. */
export interface Container {
  /** 64 hexadecimal digits. */
  readonly id: string;
  /** Reserved name: `name_podname_podnamespace_poduid_attempt`. */
  readonly name: string;
  readonly podId: string;
  readonly config: ContainerConfig;
  /** Image reference as the status shows it, and its id (digest of the config). */
  readonly imageRef: string;
  readonly imageId: string;
  readonly snapshotter: string;
  readonly snapshotKey: string;
  readonly state: ContainerState;
  readonly createdAt: TimeNs;
  readonly startedAt?: TimeNs | undefined;
  readonly finishedAt?: TimeNs | undefined;
  readonly exitCode: number;
  /** Completed, Error, OOMKilled, StartError, Unknown; "" while it lives. */
  readonly reason: string;
  readonly message: string;
  readonly pid: number;
  /** Absolute path of the log file; "" when logging is off. */
  readonly logPath: string;
  /** Ids that its first process runs with; undefined in records of earlier versions. */
  readonly user?: ContainerUser | undefined;
  /** Signal name or number that stops it: CRI's, else the image's, else SIGTERM. */
  readonly stopSignal: string;
}

/** Ids of a process. */
export interface ContainerUser {
  readonly uid: number;
  readonly gid: number;
  /** With the primary one. */
  readonly groups: readonly number[];
}

/** Kinds of GetContainerEvents. Pods make created, started, stopped and deleted with their own id, too. */
export type CriEventKind = "created" | "started" | "stopped" | "deleted";

/** Something happened to a container or (containerId equals podId) to a pod. */
export interface CriEvent {
  readonly kind: CriEventKind;
  readonly containerId: string;
  readonly podId: string;
  readonly at: TimeNs;
}

/** The read side of the store. Ids may be unambiguous prefixes everywhere. */
export interface CriView {
  /** Call in CRI's containerd namespace (`k8s.io`) for core services. */
  readonly call: NamespacedCall;
  /** @throws not-found, with the words `an error occurred when try to find sandbox` that the kubelet's users know */
  pod(idOrPrefix: string): Pod;
  pods(): readonly Pod[];
  /** @throws not-found */
  container(idOrPrefix: string): Container;
  /** All, or those of one pod (full id). */
  containers(podId?: string): readonly Container[];
  /** Calls `listener` after each event in order; returns the unsubscribe function. */
  onEvent(listener: (event: CriEvent) => void): () => void;
}

/** An image that containers can be made from. */
export interface CriImage {
  /** Digest of the config: `sha256:...`. */
  readonly id: string;
  /** Names by tag and by digest. */
  readonly references: readonly string[];
  readonly config: ImageConfig;
  /** Root of its layers in the snapshotter. */
  readonly chainId: ChainId;
  /** Bytes of its layers and documents as stored. */
  readonly size: bigint;
}

/** What pods and containers need of images; implemented in `images/`. */
export interface CriImages {
  /** By id, unambiguous prefix of an id, or reference. @throws not-found */
  resolve(call: NamespacedCall, reference: string): Promise<CriImage>;
  /** Makes sure that the layers are unpacked in `snapshotter` (it may not be the one of the pull). */
  unpack(call: NamespacedCall, image: CriImage, snapshotter: string): Promise<void>;
  /** Pulls without credentials of a user, as for the pod's own image. */
  pull(call: NamespacedCall, reference: string, snapshotter: string): Promise<CriImage>;
}
