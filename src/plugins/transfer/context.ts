/** What every transfer works on. */
import type { NamespacedCall } from "../../core/call.ts";
import type { ContentStore, LocalContentStore } from "../../core/content/content.ts";
import type { Applier, StreamApplier } from "../../core/diff/diff.ts";
import type { ImageStore } from "../../core/images/images.ts";
import * as held from "../../core/leases/held.ts";
import type { LeaseManager } from "../../core/leases/leases.ts";
import type { Descriptor, Platform } from "../../core/oci.ts";
import type { Snapshotter } from "../../core/snapshots/snapshotter.ts";
import type { Progress } from "../../core/transfer/transfer.ts";
import { KeyedMutex } from "../../lib/keyed-mutex.ts";
import { Semaphore } from "../../lib/semaphore.ts";
import type { OpenSource } from "./sources.ts";

/** Stores of one daemon: its own, or another one's over RPC. */
export interface TransferStores {
  readonly content: ContentStore;
  readonly images: ImageStore;
  readonly leases: LeaseManager;
  /** Applies layers where {@link route} names no other way. */
  readonly applier: Applier;
  /**
   * The way layers go into snapshots of a snapshotter, by configuration.
   * @throws failed-precondition when this image may not be unpacked with it
   */
  readonly route?:
    | ((snapshotter: string, platform: Platform, layerTypes: readonly string[]) => UnpackRoute)
    | undefined;
  /** @throws not-found, invalid-argument */
  snapshotter(name: string): Snapshotter;
  /** Capabilities of a snapshotter, e.g. `rebase`. Empty when unknown. */
  capabilities(snapshotter: string): readonly string[];
  /** What a snapshotter says of itself, e.g. `enable_remote_snapshot_annotations`. Nothing when unknown. */
  readonly exports?: ((snapshotter: string) => ReadonlyMap<string, string> | undefined) | undefined;
  readonly local?: LocalStores | undefined;
}

/** Only inside the daemon: layers are stored and unpacked by helper processes while they arrive. */
export interface LocalStores {
  readonly content: LocalContentStore;
  readonly applier: StreamApplier;
}

/** Who applies layers. */
export interface UnpackRoute {
  readonly applier: Applier;
  /** It is our own differ: layers may be unpacked while they arrive. */
  readonly streamed: boolean;
}

/** Limits of one daemon or command. */
export interface TransferLimits {
  /** Downloads at a time in one pull. */
  readonly downloads: number;
  /** Uploads at a time in one push. */
  readonly uploads: number;
  /** Layers being unpacked at a time, in all pulls together: each has a helper process. */
  readonly unpacks: number;
  /** Bytes of one range when a large layer comes in several at a time; 0 = never. */
  readonly rangeBytes: number;
}

/** Decides whether an image may be used. @throws permission-denied */
export interface ImageGate {
  check(call: NamespacedCall, name: string, target: Descriptor): Promise<void>;
}

/** Stores, limits, and what concurrent transfers share. */
export interface TransferContext {
  readonly stores: TransferStores;
  readonly limits: TransferLimits;
  readonly gates: readonly ImageGate[];
  /** Fetches again what was dropped after unpacking; undefined = what is not stored is missing. */
  readonly openSource?: OpenSource | undefined;
  /** One download per blob and namespace. */
  readonly blobLocks: KeyedMutex;
  readonly unpackSlots: Semaphore;
  /** Ranges held in memory, in all pulls together. */
  readonly rangeBuffers: Semaphore;
  /** Layers being unpacked, by namespace, snapshotter and chain id. */
  readonly layersInFlight: Map<string, LayerFlight>;
}

/** A layer that some transfer is unpacking. */
export interface LayerFlight {
  /** It holds its slot: whatever depends on it may wait for one too. */
  readonly started: Promise<void>;
  /** Its bytes come, or need not: those of layers above may follow. Never rejects. */
  readonly fetching: Promise<void>;
  /** Committed. The directory is where its files are, when known: lower layer of the next one. */
  readonly done: Promise<{ readonly dir: string | undefined }>;
}

export type OnProgress = (p: Progress) => void;

/** Defaults. Larger than containerd's (3 and 1): parallel is the point. */
export const defaultLimits: TransferLimits = { downloads: 6, uploads: 3, unpacks: 4, rangeBytes: 4 << 20 };

/** Ranges in memory at a time besides one for each layer: 32 MiB with the default size. */
const RANGE_BUFFERS = 8;

/** Makes a context. Make one per daemon, so that concurrent transfers share their work. */
export function createContext(
  stores: TransferStores,
  limits: Partial<TransferLimits> = {},
  gates: readonly ImageGate[] = [],
  openSource?: OpenSource,
): TransferContext {
  const all = { ...defaultLimits, ...limits };
  return {
    stores,
    limits: all,
    gates,
    openSource,
    blobLocks: new KeyedMutex(),
    unpackSlots: new Semaphore(all.unpacks),
    rangeBuffers: new Semaphore(RANGE_BUFFERS),
    layersInFlight: new Map(),
  };
}

/** Runs `work` under a lease on the context's stores, see core/leases/held.ts. */
export function withLease<T>(
  ctx: TransferContext,
  call: NamespacedCall,
  work: (leased: NamespacedCall) => Promise<T>,
): Promise<T> {
  return held.withLease(ctx.stores.leases, call, work);
}
