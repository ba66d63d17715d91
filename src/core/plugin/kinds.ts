/** The kinds of plugins: containerd's type strings with the interface of their instances. */
import type { ContainerStore } from "../containers/containers.ts";
import type { ContentStore, LocalContentStore } from "../content/content.ts";
import type { Applier, Comparer, StreamApplier } from "../diff/diff.ts";
import type { EventExchange, EventPublisher } from "../events/events.ts";
import type { Collectable, GarbageCollector } from "../gc/gc.ts";
import type { ImageStore } from "../images/images.ts";
import type { LeaseManager } from "../leases/leases.ts";
import type { MountManager } from "../mounts/activation.ts";
import type { NamespaceStore } from "../namespaces/namespaces.ts";
import type { SandboxController, SandboxStore } from "../sandbox/sandbox.ts";
import type { SnapshotBackend, Snapshotter } from "../snapshots/snapshotter.ts";
import type { StreamManager } from "../streaming/streaming.ts";
import type { TaskService } from "../tasks/tasks.ts";
import type { ImageTransfer, ImageVerifier } from "../transfer/transfer.ts";
import { defineKind } from "./plugin.ts";

/** Everything that lives in the metadata database. */
export interface MetadataStore {
  readonly namespaces: NamespaceStore;
  readonly containers: ContainerStore;
  readonly sandboxes: SandboxStore;
  readonly images: ImageStore;
  readonly leases: LeaseManager;
  readonly content: LocalContentStore;
  /** Snapshotter by name. @throws invalid-argument when the name is empty, not-found when it is not loaded */
  snapshotter(name: string): Snapshotter;
  readonly snapshotters: ReadonlyMap<string, Snapshotter>;
  /** Garbage collection of everything in the database. */
  readonly garbage: Collectable;
}

/** A differ: apply and compare. */
export type Differ = StreamApplier & Comparer;

/** Storage of blobs and ingests by digest, without metadata. */
export interface BlobBackend {
  /** Absolute folder: `blobs/<alg>/<hex>` and `ingest/<id>/{data,ref,...}` live below it. */
  readonly root: string;
  /** Where the bytes are kept, when the folder only has copies of them. */
  readonly remote?: ContentStore | undefined;
}

export const BLOBS = defineKind<BlobBackend>("io.containerd.content.v1");
export const SNAPSHOTTER = defineKind<SnapshotBackend>("io.containerd.snapshotter.v1");
export const METADATA = defineKind<MetadataStore>("io.containerd.metadata.v1");
export const DIFFER = defineKind<Differ>("io.containerd.differ.v1");
/** The differs in their configured order: `io.containerd.service.v1.diff-service`. */
export const DIFF_SERVICE = defineKind<Applier & Comparer>("io.containerd.service.v1");
export const GC = defineKind<GarbageCollector>("io.containerd.gc.v1");
export const EVENTS = defineKind<EventExchange & EventPublisher>("io.containerd.event.v1");
export const LEASE = defineKind<LeaseManager>("io.containerd.lease.v1");
export const STREAMING = defineKind<StreamManager>("io.containerd.streaming.v1");
export const TRANSFER = defineKind<ImageTransfer>("io.containerd.transfer.v1");
export const VERIFIER = defineKind<ImageVerifier>("io.containerd.image-verifier.v1");
export const RUNTIME = defineKind<TaskService>("io.containerd.runtime.v2");
export const SANDBOX_STORE = defineKind<SandboxStore>("io.containerd.sandbox.store.v1");
export const SANDBOX_CONTROLLER = defineKind<SandboxController>("io.containerd.sandbox.controller.v1");
/** Sandboxes made of a pause container: the CRI's own controller, which containerd keeps under a type of its own. */
export const POD_SANDBOX_CONTROLLER = defineKind<SandboxController>("io.containerd.podsandbox.controller.v1");
export const MOUNT_MANAGER = defineKind<MountManager>("io.containerd.mount-manager.v1");
/** Watches containers by itself; nobody calls it. */
export const CONTAINER_MONITOR = defineKind<object>("io.containerd.monitor.container.v1");
/** Service plugins of containerd that are only names here: `ctr plugins ls` shows them. */
export const SERVICE = defineKind<unknown>("io.containerd.service.v1");
/** A proxy or remote content store. */
export type { ContentStore };
