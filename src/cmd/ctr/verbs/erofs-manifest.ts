/** What `images convert --erofs` puts into a manifest: layers that are EROFS images, and a config with their diff ids. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { pipeline } from "node:stream";
import { createZstdCompress } from "node:zlib";
import type { NamespacedCall } from "../../../core/call.ts";
import { invalidArgument, isAlreadyExists } from "../../../core/errors.ts";
import { type Digest, parseDigest } from "../../../core/ids/digest.ts";
import type { Descriptor } from "../../../core/oci.ts";
import { describe } from "../../../oci/descriptors.ts";
import { MAX_CONFIG, type Manifest } from "../../../oci/documents.ts";
import { EROFS_LAYER } from "../../../oci/media-types.ts";
import { holdBlob, readBlob, storeBytes } from "../../../plugins/transfer/blobs.ts";
import type { TransferContext } from "../../../plugins/transfer/context.ts";
import { refetch } from "../../../plugins/transfer/refetch.ts";
import { ErofsLayers } from "./erofs-layers.ts";

/** One manifest to convert. */
export interface ErofsWish {
  readonly desc: Descriptor;
  readonly doc: Manifest;
  readonly diffIds: readonly Digest[];
  /** Compress each image as a whole. */
  readonly zstd: boolean;
  /** Arguments of mkfs.erofs. */
  readonly mkfs: readonly string[];
}

/** Makes and stores the layers and the config. @throws see {@link ErofsLayers.next} */
export async function erofsManifest(
  ctx: TransferContext,
  call: NamespacedCall,
  { desc, doc, diffIds, zstd, mkfs }: ErofsWish,
): Promise<{ readonly layers: readonly Descriptor[]; readonly config: Descriptor }> {
  if (diffIds.length !== doc.layers.length)
    throw invalidArgument(`convert ${desc.digest}: ${doc.layers.length} layers, ${diffIds.length} diff ids`);
  const layers: Descriptor[] = [];
  const plain: Digest[] = [];
  await using made = await ErofsLayers.open(ctx, call, mkfs);
  for (const [i, layer] of doc.layers.entries()) {
    await refetch(ctx, call, layer, desc.digest);
    const file = await made.next(layer, diffIds[i] as Digest);
    const diffId = await digestOf(file);
    plain.push(diffId);
    layers.push(await storeImage(ctx, call, file, diffId, zstd));
  }
  const bytes = await readBlob(ctx, call, doc.config, MAX_CONFIG);
  // changed in place, so that whatever else the config says stays
  const json = JSON.parse(new TextDecoder().decode(bytes)) as Record<string, unknown>;
  json["rootfs"] = { ...(json["rootfs"] as Record<string, unknown>), diff_ids: plain };
  const next = Buffer.from(JSON.stringify(json));
  const config = describe(doc.config.mediaType, next);
  await storeBytes(ctx, call, config, next, new Map());
  return { layers, config };
}

async function digestOf(file: string): Promise<Digest> {
  const hash = createHash("sha256");
  for await (const part of createReadStream(file) as AsyncIterable<Uint8Array>) hash.update(part);
  return parseDigest(`sha256:${hash.digest("hex")}`);
}

async function storeImage(
  ctx: TransferContext,
  call: NamespacedCall,
  file: string,
  diffId: Digest,
  zstd: boolean,
): Promise<Descriptor> {
  const { content } = ctx.stores;
  const image = createReadStream(file, { highWaterMark: 1 << 20 });
  const bytes = zstd ? pipeline(image, createZstdCompress(), () => {}) : image;
  await using writer = await content.writer(call, { ref: `convert-erofs-${zstd ? "zstd-" : ""}${diffId}` });
  if (writer.status().offset > 0n) await writer.truncate(0n);
  for await (const part of bytes as AsyncIterable<Uint8Array>) await writer.write(part);
  const { offset: size } = writer.status();
  const digest = writer.digest();
  const labels = new Map([["containerd.io/uncompressed", diffId as string]]);
  await writer.commit(size, digest, labels).catch((err: unknown) => {
    if (!isAlreadyExists(err)) throw err;
  });
  await holdBlob(ctx, call, digest);
  return { mediaType: zstd ? `${EROFS_LAYER}+zstd` : EROFS_LAYER, digest, size };
}
