/** Archives of `docker save` before OCI layouts: `manifest.json` names config and layer files. */

import { pipeline, Readable } from "node:stream";
import { createGzip } from "node:zlib";
import type { NamespacedCall } from "../../../core/call.ts";
import { invalidArgument, isAlreadyExists } from "../../../core/errors.ts";
import type { Descriptor } from "../../../core/oci.ts";
import { describe, descriptorToJson } from "../../../oci/descriptors.ts";
import { type DockerArchiveImage, MAX_CONFIG, parseImageConfig } from "../../../oci/documents.ts";
import {
  DOCKER_CONFIG,
  DOCKER_LAYER,
  DOCKER_LAYER_GZIP,
  DOCKER_LAYER_ZSTD,
  DOCKER_MANIFEST,
} from "../../../oci/media-types.ts";
import { openWriter, readBlob, storeBytes } from "../blobs.ts";
import type { TransferContext } from "../context.ts";
import { compressionOf } from "./decompress.ts";
import type { StoredFile } from "./ingest.ts";
import { dockerTagName, IMAGE_NAME, REF_NAME } from "./naming.ts";
import { cleanPath } from "./tar-reader.ts";

/** Files of an archive by path, links resolved. */
export interface ArchiveFiles {
  readonly files: ReadonlyMap<string, StoredFile>;
  /** Symbolic and hard links: path to path. */
  readonly links: ReadonlyMap<string, string>;
}

/** The file at a path, through links. @throws invalid-argument */
function fileAt(archive: ArchiveFiles, path: string, what: string): StoredFile {
  let at = cleanPath(path);
  for (let hops = 0; hops < 16; hops++) {
    const file = archive.files.get(at);
    if (file !== undefined) return file;
    const next = archive.links.get(at);
    if (next === undefined) break;
    at = next;
  }
  throw invalidArgument(`read archive: ${what} "${path}" not found`);
}

/**
 * Makes a manifest of each image and stores it.
 * @returns descriptors that carry the names as annotations, as an OCI index does
 */
export async function dockerManifests(
  ctx: TransferContext,
  call: NamespacedCall,
  images: readonly DockerArchiveImage[],
  archive: ArchiveFiles,
  compress: boolean,
): Promise<Descriptor[]> {
  const out: Descriptor[] = [];
  const layerCache = new Map<string, Descriptor>();
  for (const image of images) {
    const configFile = fileAt(archive, image.config, "image config");
    const config: Descriptor = { mediaType: DOCKER_CONFIG, ...configFile };
    const { platform } = await parseImageConfig(await readBlob(ctx, call, config, MAX_CONFIG));
    const layers: Descriptor[] = [];
    for (const path of image.layers) {
      const file = fileAt(archive, path, "layer");
      const layer = layerCache.get(file.digest) ?? (await layerOf(ctx, call, file, compress));
      layerCache.set(file.digest, layer);
      layers.push(layer);
    }
    const json = JSON.stringify({
      schemaVersion: 2,
      mediaType: DOCKER_MANIFEST,
      config: descriptorToJson(config),
      layers: layers.map(descriptorToJson),
    });
    const bytes = new TextEncoder().encode(json);
    const manifest = { ...describe(DOCKER_MANIFEST, bytes), platform };
    await storeBytes(ctx, call, manifest, bytes, new Map());
    if (image.repoTags.length === 0) out.push(manifest);
    for (const tag of image.repoTags) {
      const name = dockerTagName(tag);
      const annotations = new Map([
        [IMAGE_NAME, name],
        [REF_NAME, name.slice(name.lastIndexOf(":") + 1)],
      ]);
      out.push({ ...manifest, annotations });
    }
  }
  return out;
}

async function layerOf(
  ctx: TransferContext,
  call: NamespacedCall,
  file: StoredFile,
  compress: boolean,
): Promise<Descriptor> {
  await using reader = await ctx.stores.content.reader(call, file.digest);
  const kind = compressionOf(await reader.readAt(0n, 6));
  if (kind === "gzip") return { mediaType: DOCKER_LAYER_GZIP, ...file };
  if (kind === "zstd") return { mediaType: DOCKER_LAYER_ZSTD, ...file };
  if (kind !== "none")
    throw invalidArgument(`read archive: layer ${file.digest}: compression ${kind} is not supported`);
  if (!compress) return { mediaType: DOCKER_LAYER, ...file };
  const gzip = createGzip();
  pipeline(Readable.from(reader.stream()), gzip, () => {});
  await using writer = await openWriter(ctx, call, `compress-${crypto.randomUUID()}`, undefined);
  for await (const chunk of gzip as AsyncIterable<Uint8Array>) await writer.write(chunk);
  const digest = writer.digest();
  const size = writer.status().offset;
  const labels = new Map([["containerd.io/uncompressed", file.digest as string]]);
  await writer.commit(size, digest, labels).catch((err: unknown) => {
    if (!isAlreadyExists(err)) throw err;
  });
  return { mediaType: DOCKER_LAYER_GZIP, digest, size };
}
