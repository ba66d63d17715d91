/**
 * Retention of compressed layers after they were unpacked: kept, or dropped and fetched again when somebody needs them
 * (push, export, convert). What was dropped is found by the source labels of the manifest above it.
 */
import { createHash } from "node:crypto";
import type { NamespacedCall } from "../../core/call.ts";
import { failedPrecondition, isCanceled } from "../../core/errors.ts";
import { algorithmOf, type Digest } from "../../core/ids/digest.ts";
import type { Descriptor } from "../../core/oci.ts";
import type { RangeOptions } from "../../registry/ranges.ts";
import type { Registry } from "../../registry/registry.ts";
import { findBlob, SOURCE_LABEL, storeBlob } from "./blobs.ts";
import type { TransferContext } from "./context.ts";
import { ProgressTracker } from "./progress.ts";
import { registrySource } from "./registry-source.ts";
import type { BlobSource, OpenSource } from "./sources.ts";

/** Sources from a registry client, which is made with the first use. */
export function sourcesFrom(registry: () => Promise<Registry> | Registry): OpenSource {
  return async (_call, reference) => registrySource(await (await registry()).session(reference));
}

/** Label that holds a layer below its manifest. */
const LAYER_REF = /^containerd\.io\/gc\.ref\.content\.l\./;

/** Lets go of the layer blobs of a manifest: garbage collection takes those that nothing else holds. */
export async function releaseLayers(
  ctx: TransferContext,
  call: NamespacedCall,
  manifest: Digest,
): Promise<void> {
  const info = await findBlob(ctx, call, manifest);
  const keys = [...(info?.labels.keys() ?? [])].filter((key) => LAYER_REF.test(key));
  if (keys.length === 0) return;
  const fields = keys.map((key) => `labels.${key}`);
  await ctx.stores.content.update(call, manifest, new Map(), fields);
}

/** Repositories that are known to have what is below a manifest: host and repositories. */
async function originsOf(
  ctx: TransferContext,
  call: NamespacedCall,
  manifest: Digest,
): Promise<{ host: string; repository: string }[]> {
  const info = await findBlob(ctx, call, manifest);
  return [...(info?.labels ?? [])]
    .filter(([key]) => key.startsWith(SOURCE_LABEL))
    .flatMap(([key, value]) =>
      value
        .split(",")
        .filter((repository) => repository !== "")
        .map((repository) => ({ host: key.slice(SOURCE_LABEL.length), repository })),
    );
}

/** Where the blobs below `manifest` can be fetched again; undefined when nobody knows. */
export async function sourceOf(
  ctx: TransferContext,
  call: NamespacedCall,
  manifest: Digest,
): Promise<(BlobSource & { readonly repositories: ReadonlyMap<string, readonly string[]> }) | undefined> {
  const open = ctx.openSource;
  if (open === undefined) return undefined;
  const origins = await originsOf(ctx, call, manifest);
  if (origins.length === 0) return undefined;
  const opened = new Map<string, Promise<BlobSource>>();
  const source = (host: string, repository: string): Promise<BlobSource> => {
    const reference = `${host}/${repository}@${manifest}`;
    const known = opened.get(reference) ?? open(call, reference);
    opened.set(reference, known);
    return known;
  };
  let last: BlobSource | undefined;
  const repositories = new Map<string, readonly string[]>();
  for (const { host, repository } of origins)
    repositories.set(host, [...(repositories.get(host) ?? []), repository]);
  return {
    repositories,
    distrust: (digest) => last?.distrust(digest),
    async *stream(desc: Descriptor, offset: bigint, signal: AbortSignal, ranges?: RangeOptions) {
      let failure: unknown;
      for (const { host, repository } of origins) {
        let begun = false;
        try {
          last = await source(host, repository);
          for await (const chunk of last.stream(desc, offset, signal, ranges)) {
            begun = true;
            yield chunk;
          }
          return;
        } catch (err) {
          if (begun || signal.aborted || isCanceled(err)) throw err;
          failure ??= err;
        }
      }
      throw failure;
    },
  };
}

/** The bytes of a blob that is not stored, checked while they pass. @throws failed-precondition at the end when they are wrong */
export async function* checkedStream(
  source: BlobSource,
  desc: Descriptor,
  offset: bigint,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  if (offset > 0n) {
    // A piece has no digest of its own: whoever puts the pieces together checks the whole.
    yield* source.stream(desc, offset, signal);
    return;
  }
  const hash = createHash(algorithmOf(desc.digest));
  for await (const chunk of source.stream(desc, 0n, signal)) {
    hash.update(chunk);
    yield chunk;
  }
  const got = `${algorithmOf(desc.digest)}:${hash.digest("hex")}`;
  if (got !== desc.digest) throw failedPrecondition(`fetch ${desc.digest}: unexpected digest ${got}`);
}

/**
 * Stores a blob below `manifest` when it is not there.
 * @returns false when it is not there and nobody knows where it can be had
 */
export async function refetch(
  ctx: TransferContext,
  call: NamespacedCall,
  desc: Descriptor,
  manifest: Digest,
  progress: ProgressTracker = new ProgressTracker(() => {}, "", "downloading"),
): Promise<boolean> {
  if ((await findBlob(ctx, call, desc.digest)) !== undefined) return true;
  const source = await sourceOf(ctx, call, manifest);
  if (source === undefined) return false;
  await storeBlob(ctx, call, { desc, source, labels: new Map(), progress });
  return true;
}
