/** Reads what CRI tells of an image from the stores. */
import type { NamespacedCall } from "../../core/call.ts";
import type { ContentStore } from "../../core/content/content.ts";
import { dataLoss, failedPrecondition, notFound, wrap } from "../../core/errors.ts";
import type { ChainId, Digest } from "../../core/ids/digest.ts";
import type { Image } from "../../core/images/images.ts";
import type { Descriptor } from "../../core/oci.ts";
import { concatBytes } from "../../lib/bytes.ts";
import { chainIds } from "../../oci/chain-id.ts";
import {
  type ImageConfig,
  isImageManifest,
  MAX_CONFIG,
  MAX_MANIFEST,
  type Manifest,
  parseImageConfig,
  parseManifestOrIndex,
} from "../../oci/documents.ts";
import { hostPlatform, matchOnly } from "../../oci/platform.ts";
import { PINNED } from "./labels.ts";

/** An image, or an artifact, as its documents describe it. */
export interface LoadedImage {
  /** The id: digest of the config; of the manifest for an artifact, as all artifacts may have the same (empty) config. */
  readonly id: Digest;
  readonly manifest: Manifest;
  readonly target: Descriptor;
  /** Undefined for an artifact: something that is no image to run, but can be mounted. */
  readonly config: ImageConfig | undefined;
  readonly chainId: ChainId | undefined;
  /** Bytes of its documents and layers as stored. */
  readonly size: bigint;
  readonly pinned: boolean;
}

const MAX_DEPTH = 8;

/** A small blob. @throws not-found, failed-precondition when larger than `max`, data-loss */
export async function readBlob(
  content: ContentStore,
  call: NamespacedCall,
  digest: Digest,
  max: number,
): Promise<Uint8Array> {
  await using reader = await content.reader(call, digest);
  if (reader.size > BigInt(max))
    throw failedPrecondition(`blob ${digest}: ${reader.size} bytes, larger than ${max}`);
  const parts: Uint8Array[] = [];
  for await (const part of reader.stream()) parts.push(part);
  const bytes = concatBytes(parts);
  if (BigInt(bytes.length) !== reader.size) throw dataLoss(`blob ${digest}: shorter than stored`);
  return bytes;
}

/**
 * Follows a record to the manifest for this machine.
 * @throws not-found when content is missing or nothing fits this machine
 */
export async function loadImage(
  content: ContentStore,
  call: NamespacedCall,
  image: Image,
): Promise<LoadedImage> {
  const matcher = matchOnly(hostPlatform());
  let target = image.target;
  let size = 0n;
  for (let depth = 0; depth < MAX_DEPTH; depth++) {
    size += target.size;
    const doc = await parseManifestOrIndex(
      await readBlob(content, call, target.digest, MAX_MANIFEST),
      target.mediaType,
    );
    if (doc.kind === "manifest") return finish(content, call, image, target.digest, doc, size);
    const fitting = doc.manifests
      .filter((m) => m.platform === undefined || matcher.match(m.platform))
      .sort((a, b) =>
        a.platform === undefined || b.platform === undefined
          ? Number(a.platform === undefined) - Number(b.platform === undefined)
          : matcher.compare(a.platform, b.platform),
      );
    const [best] = fitting;
    if (best === undefined) throw notFound(`image "${image.name}" for this platform`);
    target = best;
  }
  throw failedPrecondition(`image "${image.name}": nested deeper than ${MAX_DEPTH} indexes`);
}

async function finish(
  content: ContentStore,
  call: NamespacedCall,
  image: Image,
  digest: Digest,
  manifest: Manifest,
  documents: bigint,
): Promise<LoadedImage> {
  const { config: desc, layers } = manifest;
  const config = isImageManifest(manifest)
    ? await parseImageConfig(await readBlob(content, call, desc.digest, MAX_CONFIG)).catch((err: unknown) => {
        throw wrap(err, `image "${image.name}": config`);
      })
    : undefined;
  return {
    id: config === undefined ? digest : desc.digest,
    manifest,
    target: image.target,
    config,
    chainId: config === undefined ? undefined : chainIds(config.diffIds).at(-1),
    size: layers.reduce((sum, layer) => sum + layer.size, documents + desc.size),
    pinned: image.labels.get(PINNED.key) === PINNED.value,
  };
}
