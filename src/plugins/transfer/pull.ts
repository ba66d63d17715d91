/** Pull: from a source of blobs into the stores, unpacked when asked. */
import type { Labels } from "../../core/any.ts";
import type { NamespacedCall } from "../../core/call.ts";
import { invalidArgument, isAlreadyExists } from "../../core/errors.ts";
import type { ChainId } from "../../core/ids/digest.ts";
import type { Image } from "../../core/images/images.ts";
import type { Descriptor } from "../../core/oci.ts";
import { traced } from "../../core/tracing/traced.ts";
import { Semaphore } from "../../lib/semaphore.ts";
import { type Index, isImageManifest, type Manifest, parseImageConfig } from "../../oci/documents.ts";
import { isLayerType } from "../../oci/media-types.ts";
import { hostPlatform, matchAll, matchOnly, type PlatformMatcher } from "../../oci/platform.ts";
import { addLabels, findBlob, holdBlob, mergeSources, sourceLabel, storeBlob } from "./blobs.ts";
import { type OnProgress, type TransferContext, withLease } from "./context.ts";
import { MAX_DEPTH, noMatch, selectManifests } from "./graph.ts";
import type { UnpackOptions } from "./layer-job.ts";
import { unpackImage } from "./layers.ts";
import { ProgressTracker } from "./progress.ts";
import { PullDocuments } from "./pull-documents.ts";
import { releaseLayers } from "./refetch.ts";
import { dropReceived, isInterruption, keepReceived } from "./resume.ts";
import { settle } from "./settle.ts";
import type { PullSource } from "./sources.ts";

/** Unpack one platform with one snapshotter. */
export interface UnpackTarget {
  readonly snapshotter: string;
  /** Undefined: whatever is pulled. */
  readonly matcher?: PlatformMatcher | undefined;
}

/** Options of {@link pull}. */
export interface PullOptions {
  /** Name of the image record. */
  readonly name: string;
  readonly labels?: Labels | undefined;
  readonly source: PullSource;
  /** Default: what runs here. */
  readonly matcher?: PlatformMatcher | undefined;
  readonly allPlatforms?: boolean | undefined;
  /** Manifests and configs of every platform, layers only of those that match. */
  readonly allMetadata?: boolean | undefined;
  /** Most manifests taken from an index; default 1 unless allPlatforms. 0 = every match. */
  readonly manifestLimit?: number | undefined;
  readonly unpack?: readonly UnpackTarget[] | undefined;
  /** Give snapshotters image labels. */
  readonly annotate?: boolean | undefined;
  readonly syncFs?: boolean | undefined;
  /** Let go of layer blobs once they are unpacked: push and export fetch them again. */
  readonly discardUnpacked?: boolean | undefined;
  /** Slots for downloads, shared with other pulls; default: some of its own. */
  readonly downloads?: Semaphore | undefined;
  /** Make no image record. */
  readonly noRecord?: boolean | undefined;
  readonly progress?: OnProgress | undefined;
}

/** What a pull brought. */
export interface PullResult {
  readonly image: Image | undefined;
  readonly target: Descriptor;
  /** Unpacked roots: snapshotter and chain id for each manifest. */
  readonly unpacked: readonly {
    readonly snapshotter: string;
    readonly chainId: ChainId;
    readonly manifest: Descriptor;
  }[];
}

/** Pulls an image under a lease. @throws the first failure; everything half done is left to the lease's end and GC */
export function pull(ctx: TransferContext, call: NamespacedCall, o: PullOptions): Promise<PullResult> {
  return traced(call, "pull image", (c) => pullTraced(ctx, c, o), { "image.name": o.name });
}

async function pullTraced(ctx: TransferContext, call: NamespacedCall, o: PullOptions): Promise<PullResult> {
  const emit = o.progress ?? (() => {});
  const progress = new ProgressTracker(emit, o.name, "downloading");
  progress.note(`Resolving from ${o.source.host}`, o.name);
  const target = await traced(call, "resolve", (c) => o.source.resolve(c.signal), {
    "registry.host": o.source.host,
  });
  progress.note("resolved", o.name, target);
  for (const gate of ctx.gates) await gate.check(call, o.name, target);
  return withLease(ctx, call, async (leased) => {
    const run = new PullRun(ctx, leased, o, progress);
    progress.note("pulling image content", o.name, target);
    let unpacked: PullResult["unpacked"];
    try {
      await run.tree(target, 0);
      if (!run.found && !o.allMetadata) throw noMatch(o.name, run.topIndex ?? EMPTY_INDEX);
      unpacked = await run.finish();
      await run.documents.stored();
    } catch (err) {
      // what is stored is kept for the next try; the first failure is what to tell
      await run.documents.stored().catch(() => {});
      if (isInterruption(err)) await keepReceived(ctx, leased, o.name);
      throw err;
    }
    await dropReceived(ctx, leased, o.name);
    if (o.discardUnpacked)
      for (const { manifest } of unpacked) await releaseLayers(ctx, leased, manifest.digest);
    if (o.noRecord) return { image: undefined, target, unpacked };
    const image = await recordImage(ctx, leased, o.name, target, o.labels ?? new Map());
    progress.note("saved", o.name, target);
    progress.note(`Completed pull from ${o.source.host}`, o.name, target);
    return { image, target, unpacked };
  });
}

const EMPTY_INDEX: Index = { kind: "index", mediaType: "", manifests: [], annotations: new Map() };

/** Creates the image or points an existing one here; labels are added, others stay. */
export async function recordImage(
  ctx: TransferContext,
  call: NamespacedCall,
  name: string,
  target: Descriptor,
  labels: Labels,
): Promise<Image> {
  const { images } = ctx.stores;
  const input = { name, labels, target: bareTarget(target) };
  try {
    return await images.create(call, input);
  } catch (err) {
    if (!isAlreadyExists(err)) throw err;
  }
  return images.update(call, input, ["target", ...[...labels.keys()].map((k) => `labels.${k}`)]);
}

/** An image's target has no platform or inline data of the index it was found in. */
function bareTarget({ mediaType, digest, size, annotations }: Descriptor): Descriptor {
  return { mediaType, digest, size, ...(annotations === undefined ? {} : { annotations }) };
}

class PullRun {
  found = false;
  topIndex: Index | undefined;
  readonly #ctx: TransferContext;
  readonly #call: NamespacedCall;
  readonly #o: PullOptions;
  readonly #progress: ProgressTracker;
  readonly #downloads: Semaphore;
  readonly #matcher: PlatformMatcher;
  readonly #labels: Labels;
  readonly #wanted: { readonly desc: Descriptor; readonly manifest: Manifest }[] = [];
  readonly documents: PullDocuments;

  constructor(ctx: TransferContext, call: NamespacedCall, o: PullOptions, progress: ProgressTracker) {
    this.#ctx = ctx;
    this.#call = call;
    this.#o = o;
    this.#progress = progress;
    this.#downloads = o.downloads ?? new Semaphore(ctx.limits.downloads);
    this.#matcher = o.allPlatforms ? matchAll : (o.matcher ?? matchOnly(hostPlatform()));
    this.#labels = new Map([sourceLabel(o.source.host, o.source.repository)]);
    const { source } = o;
    const downloads = this.#downloads;
    this.documents = new PullDocuments(ctx, call, { source, progress, downloads, labels: this.#labels });
  }

  /** Brings manifests and indexes, the wanted ones down to their configs. */
  async tree(desc: Descriptor, depth: number): Promise<void> {
    if (depth > MAX_DEPTH) throw invalidArgument(`index ${desc.digest}: nested deeper than ${MAX_DEPTH}`);
    const doc = await this.documents.document(desc);
    if (doc.kind === "manifest") return this.#take(desc, doc);
    if (depth === 0) this.topIndex = doc;
    const all = this.#o.allPlatforms === true;
    const limit = all ? 0 : (this.#o.manifestLimit ?? 1);
    const chosen = selectManifests(doc, this.#matcher, limit);
    this.#progress.children(desc, chosen);
    for (const child of chosen) await this.tree(child, depth + 1);
    if (!this.#o.allMetadata) return;
    for (const child of doc.manifests) {
      if (chosen.includes(child)) continue;
      const other = await this.documents.document(child);
      if (other.kind === "manifest") await this.documents.blob(other.config);
    }
  }

  async #take(desc: Descriptor, manifest: Manifest): Promise<void> {
    // an image whose config is there has mostly been unpacked too
    if (
      this.#o.unpack !== undefined &&
      (await findBlob(this.#ctx, this.#call, manifest.config.digest)) === undefined
    )
      this.#ctx.stores.local?.applier.expect?.();
    this.#progress.children(desc, [manifest.config, ...manifest.layers]);
    if (isImageManifest(manifest)) await this.documents.config(manifest.config);
    else await this.documents.blob(manifest.config);
    if (desc.platform === undefined && isImageManifest(manifest) && !this.#o.allPlatforms) {
      const config = await parseImageConfig(await this.documents.read(manifest.config));
      if (!this.#matcher.match(config.platform)) return;
    }
    this.found = true;
    this.#wanted.push({ desc, manifest });
  }

  /** Layers: unpacked where asked, and the rest just stored. */
  async finish(): Promise<PullResult["unpacked"]> {
    const targetsOf = new Map<Manifest, readonly UnpackTarget[]>();
    // before anything starts that a failure here would leave running
    for (const { manifest } of this.#wanted) targetsOf.set(manifest, await this.#targets(manifest));
    const stop = new AbortController();
    const inner = this.#call.until(stop.signal) as NamespacedCall;
    const out: PullResult["unpacked"][number][] = [];
    const tasks: Promise<void>[] = [];
    const start = (task: Promise<void>): void => {
      task.catch(() => stop.abort());
      tasks.push(task);
    };
    for (const { desc, manifest } of this.#wanted) {
      const targets = targetsOf.get(manifest) ?? [];
      for (const t of targets)
        start(
          this.#unpack(inner, desc, manifest, t).then((chainId) => {
            if (chainId !== undefined) out.push({ snapshotter: t.snapshotter, chainId, manifest: desc });
          }),
        );
      if (targets.length === 0) for (const layer of manifest.layers) start(this.#layer(inner, layer));
    }
    const failed = await settle(tasks);
    this.#call.check();
    if (failed !== undefined) throw failed;
    // Layers whose snapshots were there already may lack their blobs, and do not know this source. Where a snapshotter brings
    // layers itself they are fetched when somebody needs them.
    for (const { manifest } of this.#wanted) for (const layer of manifest.layers) await this.#complete(layer);
    return out;
  }

  #lazy(): boolean {
    const { annotate, unpack } = this.#o;
    return annotate ?? unpack?.some((t) => wantsAnnotations(this.#ctx, t.snapshotter)) ?? false;
  }

  async #complete(layer: Descriptor): Promise<void> {
    const known = await findBlob(this.#ctx, this.#call, layer.digest);
    if (known !== undefined) {
      await holdBlob(this.#ctx, this.#call, layer.digest);
      await addLabels(this.#ctx, this.#call, known, mergeSources(this.#labels, known.labels));
    } else if (!this.#o.discardUnpacked && !this.#lazy()) await this.documents.blob(layer);
  }

  async #layer(call: NamespacedCall, desc: Descriptor): Promise<void> {
    using _slot = await this.#downloads.acquire(call.signal);
    const { source } = this.#o;
    const downloads = this.#downloads;
    await storeBlob(this.#ctx, call, {
      desc,
      source,
      labels: this.#labels,
      progress: this.#progress,
      downloads,
    });
  }

  async #targets(manifest: Manifest): Promise<readonly UnpackTarget[]> {
    const targets = this.#o.unpack ?? [];
    if (targets.length === 0 || !isImageManifest(manifest)) return [];
    if (manifest.layers.some((l) => !isLayerType(l.mediaType))) return [];
    const { platform } = await parseImageConfig(await this.documents.read(manifest.config));
    return targets.filter((t) => t.matcher === undefined || t.matcher.match(platform));
  }

  async #unpack(
    call: NamespacedCall,
    manifestDesc: Descriptor,
    manifest: Manifest,
    target: UnpackTarget,
  ): Promise<ChainId | undefined> {
    const options: UnpackOptions = {
      snapshotter: target.snapshotter,
      manifest,
      manifestDesc,
      config: await parseImageConfig(await this.documents.read(manifest.config)),
      source: this.#o.source,
      blobLabels: this.#labels,
      progress: this.#progress,
      downloads: this.#downloads,
      imageName: this.#o.name,
      annotate: this.#o.annotate ?? wantsAnnotations(this.#ctx, target.snapshotter),
      syncFs: this.#o.syncFs,
    };
    const chainId = await unpackImage(this.#ctx, call, options);
    await this.documents.stored();
    if (chainId !== undefined)
      await labelConfig(this.#ctx, call, manifest.config, target.snapshotter, chainId);
    return chainId;
  }
}

/** The config holds the snapshot of its root (containerd's label), so an image keeps its unpacked layers. */
export async function labelConfig(
  ctx: TransferContext,
  call: NamespacedCall,
  config: Descriptor,
  snapshotter: string,
  chainId: ChainId,
): Promise<void> {
  const info = await findBlob(ctx, call, config.digest);
  if (info === undefined) return;
  await addLabels(ctx, call, info, new Map([[`containerd.io/gc.ref.snapshot.${snapshotter}`, chainId]]));
}

/** A snapshotter that brings layers itself, and says so in its `[proxy_plugins.NAME.exports]` (as of containerd 2). */
function wantsAnnotations(ctx: TransferContext, snapshotter: string): boolean {
  return ctx.stores.exports?.(snapshotter)?.get("enable_remote_snapshot_annotations") === "true";
}
