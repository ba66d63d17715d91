/** Images as graphs of blobs: labels that hold children, and which manifests of an index are wanted. */
import type { NamespacedCall } from "../../core/call.ts";
import { isNotFound, notFound } from "../../core/errors.ts";
import type { Descriptor } from "../../core/oci.ts";
import {
  childrenOf,
  type ImageConfig,
  type Index,
  isImageManifest,
  MAX_CONFIG,
  MAX_MANIFEST,
  type Manifest,
  parseImageConfig,
  parseManifestOrIndex,
} from "../../oci/documents.ts";
import { isConfigType, isIndexType, isLayerType, isManifestType } from "../../oci/media-types.ts";
import { formatPlatform, type PlatformMatcher } from "../../oci/platform.ts";
import { readBlob } from "./blobs.ts";
import type { TransferContext } from "./context.ts";

/** Deepest nesting of indexes. */
export const MAX_DEPTH = 8;

/** GC labels of a manifest or index: every child stays while its parent stays (containerd's label names). */
export function childLabels(doc: Manifest | Index): Map<string, string> {
  const out = new Map<string, string>();
  const counters = new Map<string, number>();
  for (const child of childrenOf(doc)) {
    const key = labelFor(child);
    if (!key.endsWith(".")) {
      out.set(key, child.digest);
      continue;
    }
    const n = counters.get(key) ?? 0;
    counters.set(key, n + 1);
    out.set(`${key}${n}`, child.digest);
  }
  return out;
}

function labelFor(child: Descriptor): string {
  const base = "containerd.io/gc.ref.content.";
  if (isManifestType(child.mediaType) || isIndexType(child.mediaType)) return `${base}m.`;
  if (isLayerType(child.mediaType)) return `${base}l.`;
  if (isConfigType(child.mediaType)) return `${base}config`;
  return base;
}

/**
 * Manifests of an index that fit, best first. Entries without a platform come last: only their config tells.
 * @param limit 0 = all
 */
export function selectManifests(index: Index, matcher: PlatformMatcher, limit: number): Descriptor[] {
  const able = index.manifests.filter((m) => isManifestType(m.mediaType) || isIndexType(m.mediaType));
  const fit = able.filter((m) => m.platform === undefined || matcher.match(m.platform));
  const sorted = fit.sort((a, b) => {
    if (a.platform === undefined || b.platform === undefined)
      return Number(a.platform === undefined) - Number(b.platform === undefined);
    return matcher.compare(a.platform, b.platform);
  });
  return limit > 0 ? sorted.slice(0, limit) : sorted;
}

/** The error for an index without a fitting manifest. */
export function noMatch(name: string, index: Index): Error {
  const offered = index.manifests.flatMap((m) =>
    m.platform === undefined ? [] : [formatPlatform(m.platform)],
  );
  return notFound(`image "${name}": no match for platform in manifest`, {
    hint: `the image offers: ${[...new Set(offered)].join(", ") || "nothing"}; choose with --platform or --all-platforms`,
  });
}

/** Reads a stored manifest or index. @throws not-found, data-loss, invalid-argument */
export async function readManifest(
  ctx: TransferContext,
  call: NamespacedCall,
  desc: Descriptor,
): Promise<Manifest | Index> {
  return parseManifestOrIndex(await readBlob(ctx, call, desc, MAX_MANIFEST), desc.mediaType);
}

/** Reads a stored image config. @throws not-found, data-loss, invalid-argument */
export async function readConfig(
  ctx: TransferContext,
  call: NamespacedCall,
  desc: Descriptor,
): Promise<ImageConfig> {
  return parseImageConfig(await readBlob(ctx, call, desc, MAX_CONFIG));
}

/** A manifest found below a target. */
export interface FoundManifest {
  readonly desc: Descriptor;
  readonly manifest: Manifest;
}

/** Image manifests below `target` that fit, best first. What is not stored is left out: an image pulled for one platform. */
export async function manifestsOf(
  ctx: TransferContext,
  call: NamespacedCall,
  target: Descriptor,
  matcher: PlatformMatcher,
  depth = 0,
): Promise<FoundManifest[]> {
  if (depth > MAX_DEPTH) return [];
  let doc: Manifest | Index;
  try {
    doc = await readManifest(ctx, call, target);
  } catch (err) {
    if (isNotFound(err)) return [];
    throw err;
  }
  if (doc.kind === "manifest") {
    if (target.platform === undefined && isImageManifest(doc)) {
      const config = await readConfig(ctx, call, doc.config).catch((err: unknown) => {
        if (isNotFound(err)) return undefined;
        throw err;
      });
      if (config === undefined || !matcher.match(config.platform)) return [];
    }
    return [{ desc: target, manifest: doc }];
  }
  const out: FoundManifest[] = [];
  for (const child of selectManifests(doc, matcher, 0))
    out.push(...(await manifestsOf(ctx, call, child, matcher, depth + 1)));
  return out;
}
