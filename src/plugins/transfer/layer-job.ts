/** What unpacking an image takes, and small steps that both ways of unpacking share. */
import type { Labels } from "../../core/any.ts";
import type { NamespacedCall } from "../../core/call.ts";
import type { Applier } from "../../core/diff/diff.ts";
import { isNotFound } from "../../core/errors.ts";
import type { ChainId, Digest } from "../../core/ids/digest.ts";
import type { Descriptor } from "../../core/oci.ts";
import type { Snapshotter } from "../../core/snapshots/snapshotter.ts";
import type { Semaphore } from "../../lib/semaphore.ts";
import type { ImageConfig, Manifest } from "../../oci/documents.ts";
import type { LocalStores, TransferContext } from "./context.ts";
import type { ProgressTracker } from "./progress.ts";
import type { BlobSource } from "./sources.ts";

/** One layer on its way to a snapshot. */
export interface LayerJob {
  readonly desc: Descriptor;
  readonly diffId: Digest;
  readonly chainId: ChainId;
  /** Chain id of the layer below; "" at the bottom. */
  readonly parent: ChainId | "";
  /** Labels of the snapshot. */
  readonly snapshotLabels: Labels;
  /** Labels of the blob. */
  readonly blobLabels: Labels;
}

/** What unpacking an image takes. */
export interface UnpackOptions {
  readonly snapshotter: string;
  readonly manifest: Manifest;
  readonly manifestDesc: Descriptor;
  readonly config: ImageConfig;
  readonly source: BlobSource;
  /** Labels for each layer blob (source repository). */
  readonly blobLabels: Labels;
  readonly progress: ProgressTracker;
  /** Shared by everything one pull downloads. */
  readonly downloads: Semaphore;
  /** Name of the image, for remote snapshotters. */
  readonly imageName: string;
  /** Tell snapshotters about image, manifest and layers by labels (lazy-pulling snapshotters read these). */
  readonly annotate?: boolean | undefined;
  /** Make layers durable before their snapshots are committed. */
  readonly syncFs?: boolean | undefined;
}

/** What the two ways share. */
export interface UnpackRun extends UnpackOptions {
  readonly sn: Snapshotter;
  readonly applier: Applier;
  /** Layers that have no snapshot yet, bottom first. */
  readonly jobs: readonly LayerJob[];
}

/** One layer of a run with our own stores: what everybody who works on it needs. */
export interface LayerWork {
  readonly ctx: TransferContext;
  readonly local: LocalStores;
  readonly call: NamespacedCall;
  readonly run: UnpackRun;
  readonly job: LayerJob;
}

/** True when the snapshot is there and committed. */
export async function isCommitted(call: NamespacedCall, sn: Snapshotter, name: string): Promise<boolean> {
  try {
    return (await sn.stat(call, name)).kind === "committed";
  } catch (err) {
    if (isNotFound(err)) return false;
    throw err;
  }
}

/** Keeps a snapshot under the call's lease. */
export async function holdSnapshot(
  ctx: TransferContext,
  call: NamespacedCall,
  snapshotter: string,
  name: string,
): Promise<void> {
  if (call.lease === undefined) return;
  await ctx.stores.leases.addResource(call, call.lease, { type: `snapshots/${snapshotter}`, id: name });
}

/** Key of a snapshot being unpacked, in containerd's form. */
export function extractKey(chainId: ChainId): string {
  const nanos = process.hrtime.bigint() % 1_000_000_000n;
  const random = Buffer.from(crypto.getRandomValues(new Uint8Array(3))).toString("base64url");
  return `extract-${nanos}-${random} ${chainId}`;
}
