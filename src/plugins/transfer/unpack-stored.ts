/** Unpacks an image that is in the store: for a snapshotter that its pull did not unpack to. */
import type { NamespacedCall } from "../../core/call.ts";
import { failedPrecondition, invalidArgument, notFound } from "../../core/errors.ts";
import type { ChainId, Digest } from "../../core/ids/digest.ts";
import type { Descriptor } from "../../core/oci.ts";
import type { UnpackRequest } from "../../core/transfer/transfer.ts";
import { Semaphore } from "../../lib/semaphore.ts";
import { isImageManifest, type Manifest } from "../../oci/documents.ts";
import { hostPlatform, matchOnly, type PlatformMatcher } from "../../oci/platform.ts";
import { type TransferContext, withLease } from "./context.ts";
import { MAX_DEPTH, noMatch, readConfig, readManifest, selectManifests } from "./graph.ts";
import { unpackImage } from "./layers.ts";
import { ProgressTracker } from "./progress.ts";
import { labelConfig } from "./pull.ts";
import { sourceOf } from "./refetch.ts";
import { nowhere } from "./sources.ts";

/** See {@link ../../core/transfer/transfer.ts ImageTransfer.unpack}. */
export async function unpackStored(
  ctx: TransferContext,
  call: NamespacedCall,
  request: UnpackRequest,
): Promise<ChainId | undefined> {
  const image = await ctx.stores.images.get(call, request.name);
  const matcher = matchOnly(request.platform ?? hostPlatform());
  return withLease(ctx, call, async (leased) => {
    const { desc, manifest } = await find(ctx, leased, request.name, image.target, matcher);
    if (!isImageManifest(manifest))
      throw failedPrecondition(`unpack "${request.name}": an artifact has no layers to unpack`);
    const chainId = await unpackImage(ctx, leased, {
      snapshotter: request.snapshotter,
      manifest,
      manifestDesc: desc,
      config: await readConfig(ctx, leased, manifest.config),
      // Layers that were dropped after an earlier unpack are fetched again.
      source: (await sourceOf(ctx, leased, desc.digest)) ?? nowhere(missing),
      blobLabels: new Map(),
      progress: new ProgressTracker(() => {}, request.name, "unpacking"),
      downloads: new Semaphore(ctx.limits.downloads),
      imageName: request.name,
      annotate: request.annotate,
    });
    if (chainId !== undefined) await labelConfig(ctx, leased, manifest.config, request.snapshotter, chainId);
    return chainId;
  });
}

async function find(
  ctx: TransferContext,
  call: NamespacedCall,
  name: string,
  target: Descriptor,
  matcher: PlatformMatcher,
): Promise<{ readonly desc: Descriptor; readonly manifest: Manifest }> {
  let desc = target;
  for (let depth = 0; depth <= MAX_DEPTH; depth++) {
    const doc = await readManifest(ctx, call, desc);
    if (doc.kind === "manifest") return { desc, manifest: doc };
    const [best] = selectManifests(doc, matcher, 1);
    if (best === undefined) throw noMatch(name, doc);
    desc = best;
  }
  throw invalidArgument(`index ${target.digest}: nested deeper than ${MAX_DEPTH}`);
}

function missing(digest: Digest): Error {
  return notFound(`blob ${digest} of a stored image`);
}
