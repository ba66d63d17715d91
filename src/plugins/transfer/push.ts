/** Push: from the stores to a registry. */
import type { NamespacedCall } from "../../core/call.ts";
import { isNotFound, notFound } from "../../core/errors.ts";
import type { Digest } from "../../core/ids/digest.ts";
import type { Descriptor } from "../../core/oci.ts";
import { Semaphore } from "../../lib/semaphore.ts";
import type { Index, Manifest } from "../../oci/documents.ts";
import { isNonDistributable } from "../../oci/media-types.ts";
import type { PlatformMatcher } from "../../oci/platform.ts";
import type { RegistrySession } from "../../registry/registry.ts";
import { findBlob, SOURCE_LABEL, sourceLabel } from "./blobs.ts";
import type { OnProgress, TransferContext } from "./context.ts";
import { manifestsOf, noMatch, readManifest } from "./graph.ts";
import { ProgressTracker } from "./progress.ts";
import { checkedStream, sourceOf } from "./refetch.ts";

/** Options of {@link push}. */
export interface PushImageOptions {
  /** Name of the image record, or give `target`. */
  readonly name: string;
  readonly target?: Descriptor | undefined;
  /** Where to: a session for the reference to push to. */
  readonly session: RegistrySession;
  /** Push the one manifest that fits instead of the whole index. */
  readonly matcher?: PlatformMatcher | undefined;
  readonly allowNonDistributable?: boolean | undefined;
  /** Bytes in one upload request; 0 = all. */
  readonly chunkBytes?: number | undefined;
  readonly progress?: OnProgress | undefined;
}

/** Pushes an image: blobs first, then manifests, the named one last. */
export async function push(
  ctx: TransferContext,
  call: NamespacedCall,
  o: PushImageOptions,
): Promise<Descriptor> {
  const progress = new ProgressTracker(o.progress ?? (() => {}), o.name, "uploading");
  progress.note(`Resolving from ${o.name}`, o.name);
  const image = o.target ?? (await ctx.stores.images.get(call, o.name)).target;
  const target = o.matcher === undefined ? image : await chosen(ctx, call, image, o.name, o.matcher);
  progress.note("pushing content", o.name, target);
  const run = new PushRun(ctx, call, o, progress);
  await run.tree(target, o.session.ref.tag);
  progress.note(`Completed push to ${o.session.ref.locator}`, o.name, target);
  return target;
}

async function chosen(
  ctx: TransferContext,
  call: NamespacedCall,
  image: Descriptor,
  name: string,
  matcher: PlatformMatcher,
): Promise<Descriptor> {
  const doc = await readManifest(ctx, call, image);
  if (doc.kind === "manifest") return image;
  const [best] = await manifestsOf(ctx, call, image, matcher);
  if (best === undefined) throw noMatch(name, doc);
  return best.desc;
}

class PushRun {
  readonly #ctx: TransferContext;
  readonly #call: NamespacedCall;
  readonly #o: PushImageOptions;
  readonly #progress: ProgressTracker;
  readonly #slots: Semaphore;

  constructor(ctx: TransferContext, call: NamespacedCall, o: PushImageOptions, progress: ProgressTracker) {
    this.#ctx = ctx;
    this.#call = call;
    this.#o = o;
    this.#progress = progress;
    this.#slots = new Semaphore(ctx.limits.uploads);
  }

  async tree(desc: Descriptor, tag: string | undefined): Promise<void> {
    const doc = await readManifest(this.#ctx, this.#call, desc).catch((err: unknown) => {
      throw isNotFound(err) ? this.#missing(desc) : err;
    });
    if (doc.kind === "index") await this.#children(desc, doc);
    else await this.#blobs(desc, doc);
    await this.#one(desc, tag);
  }

  async #children(desc: Descriptor, index: Index): Promise<void> {
    this.#progress.children(desc, index.manifests);
    for (const child of index.manifests) await this.tree(child, undefined);
  }

  async #blobs(desc: Descriptor, manifest: Manifest): Promise<void> {
    const all = [manifest.config, ...manifest.layers].filter(
      (d) => this.#o.allowNonDistributable || !isNonDistributable(d.mediaType),
    );
    const unique = [...new Map(all.map((d) => [d.digest, d])).values()];
    this.#progress.children(desc, unique);
    const stop = new AbortController();
    const results = await Promise.allSettled(
      unique.map(async (d) => {
        try {
          using _slot = await this.#slots.acquire(stop.signal);
          await this.#one(d, undefined, desc.digest);
        } catch (err) {
          stop.abort(err);
          throw err;
        }
      }),
    );
    const failed = results.find((r) => r.status === "rejected");
    if (failed !== undefined) throw failed.reason;
  }

  /** @param parent manifest above: tells where a blob that was dropped can be had */
  async #one(desc: Descriptor, tag: string | undefined, parent?: Digest): Promise<void> {
    const { ref, pusher } = this.#o.session;
    const call = this.#call;
    const info = await findBlob(this.#ctx, call, desc.digest);
    const source =
      info === undefined && parent !== undefined ? await sourceOf(this.#ctx, call, parent) : undefined;
    if (info === undefined && source === undefined) throw this.#missing(desc);
    const known =
      source?.repositories.get(ref.host) ??
      (info?.labels.get(SOURCE_LABEL + ref.host) ?? "").split(",").filter((r) => r !== "");
    const { content } = this.#ctx.stores;
    this.#progress.bytes(desc, 0n);
    const outcome = await pusher.push({
      desc,
      async *open(offset) {
        if (source !== undefined) return yield* checkedStream(source, desc, offset, call.signal);
        await using reader = await content.reader(call, desc.digest);
        yield* reader.stream(offset);
      },
      mountFrom: known,
      tag,
      progress: (bytes) => this.#progress.bytes(desc, bytes),
      signal: call.signal,
      ...(this.#o.chunkBytes === undefined ? {} : { chunkBytes: this.#o.chunkBytes }),
    });
    this.#progress.step(desc, outcome === "pushed" ? "complete" : "already exists");
    // The registry has it now under this repository too: later pushes can mount it.
    if (info === undefined) return;
    const [key, value] = sourceLabel(ref.host, ref.repository, info.labels);
    if (info.labels.get(key) !== value)
      await content.update(call, desc.digest, new Map([[key, value]]), [`labels.${key}`]);
  }

  #missing(desc: Descriptor): Error {
    return notFound(`push "${this.#o.name}": content digest ${desc.digest}`, {
      hint: "this content was never pulled: choose a platform with --platform, or pull the image with --all-platforms",
    });
  }
}
