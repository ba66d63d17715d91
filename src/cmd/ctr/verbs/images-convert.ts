/** images convert: the same image with OCI media types, or with plain layers. */

import { createHash } from "node:crypto";
import { pipeline, Readable } from "node:stream";
import { createZstdCompress } from "node:zlib";
import type { NamespacedCall } from "../../../core/call.ts";
import { dataLoss, invalidArgument, isAlreadyExists } from "../../../core/errors.ts";
import type { Digest } from "../../../core/ids/digest.ts";
import type { Descriptor } from "../../../core/oci.ts";
import { type DescriptorJson, describe } from "../../../oci/descriptors.ts";
import {
  type Index,
  isImageManifest,
  MAX_MANIFEST,
  type Manifest,
  parseManifestOrIndex,
} from "../../../oci/documents.ts";
import * as media from "../../../oci/media-types.ts";
import { hostPlatform, matchOnly } from "../../../oci/platform.ts";
import { parseReference } from "../../../oci/reference.ts";
import { isatty } from "../../../platform/syscalls/tty.ts";
import { openArchive } from "../../../plugins/transfer/archive/decompress.ts";
import { findBlob, holdBlob, readBlob, storeBytes } from "../../../plugins/transfer/blobs.ts";
import { type TransferContext, withLease } from "../../../plugins/transfer/context.ts";
import { childLabels, noMatch, readConfig, selectManifests } from "../../../plugins/transfer/graph.ts";
import { recordImage } from "../../../plugins/transfer/pull.ts";
import { refetch } from "../../../plugins/transfer/refetch.ts";
import { stderrStream, toStdout } from "../../shared/output.ts";
import type { Action } from "../command.ts";
import { need, textOf } from "../context.ts";
import { ProgressView } from "../progress.ts";
import { platformsOf, type Wanted } from "../registry-options.ts";
import { transferContext } from "../transfer-context.ts";
import { mkfsArguments } from "./erofs-layers.ts";
import { erofsManifest } from "./erofs-manifest.ts";

export const convert: Action = async (context, args, options) => {
  const source = need(args, 0, "source reference");
  const target = need(args, 1, "target reference");
  parseReference(target);
  const zstd = options["zstd"] === true;
  const erofs = textOf(options, "erofs");
  if (erofs !== "" && erofs !== "raw" && erofs !== "zstd")
    throw invalidArgument(`flag --erofs "${erofs}": want raw or zstd`);
  const mkfs = mkfsArguments(textOf(options, "erofsCompressors"), textOf(options, "erofsMkfsOptions"));
  if (erofs === "" && mkfs.length > 0)
    throw invalidArgument("flags --erofs-compressors and --erofs-mkfs-options: for --erofs only");
  const what: Wish = {
    // Docker's media types have none for zstd and EROFS.
    oci: options["oci"] === true || zstd || erofs !== "",
    uncompress: options["uncompress"] === true,
    zstd,
    ...(erofs === "" ? {} : { erofs: { zstd: erofs === "zstd", mkfs } }),
  };
  if (!what.oci && !what.uncompress)
    throw invalidArgument("nothing to convert", {
      hint: "give --oci, --uncompress, --zstd, --erofs or several of them",
    });
  if ([what.uncompress, zstd, erofs !== ""].filter(Boolean).length > 1)
    throw invalidArgument("flags --uncompress, --zstd and --erofs: give one of them");
  await using transport = context.connect();
  const ctx = transferContext(transport);
  const image = await ctx.stores.images.get(context.call(), source);
  await withLease(ctx, context.call(), async (call) => {
    // for people only: what scripts read is the digest
    const view = isatty(2) ? new ProgressView(stderrStream()) : undefined;
    const progress: Tell = (name, event, done, total) =>
      view?.update({ name, event, parents: [], progress: done, total });
    let failed = true;
    try {
      const conversion = new Conversion(ctx, call, source, what, platformsOf(options), progress);
      progress(source, "converting", 0n, 0n);
      const made = await conversion.document(image.target);
      progress(source, "done", 0n, 0n);
      await recordImage(ctx, call, target, made, image.labels);
      failed = false;
      view?.end();
      toStdout(`${made.digest}\n`);
    } finally {
      if (failed) view?.end(true);
    }
  });
  return 0;
};

/** Docker's media types and what OCI calls the same thing. */
const OCI_OF: ReadonlyMap<string, string> = new Map([
  [media.DOCKER_LIST, media.OCI_INDEX],
  [media.DOCKER_MANIFEST, media.OCI_MANIFEST],
  [media.DOCKER_CONFIG, media.OCI_CONFIG],
  [media.DOCKER_LAYER, media.OCI_LAYER],
  [media.DOCKER_LAYER_GZIP, media.OCI_LAYER_GZIP],
  [media.DOCKER_LAYER_ZSTD, media.OCI_LAYER_ZSTD],
]);

/** What is asked for. */
interface Wish {
  readonly oci: boolean;
  readonly uncompress: boolean;
  readonly zstd: boolean;
  /** Layers become EROFS images. */
  readonly erofs?: { readonly zstd: boolean; readonly mkfs: readonly string[] };
}

/** Shows how far a part is, in bytes of what it is made of. */
type Tell = (name: string, event: string, done: bigint, total: bigint) => void;

/** The same bytes, and news about how many came. */
async function* counted(
  source: AsyncIterable<Uint8Array>,
  layer: Descriptor,
  tell: Tell,
): AsyncGenerator<Uint8Array, void, undefined> {
  const name = `layer-${layer.digest}`;
  let done = 0n;
  for await (const part of source) {
    done += BigInt(part.byteLength);
    tell(name, "converting", done, BigInt(layer.size));
    yield part;
  }
  tell(name, "complete", done, BigInt(layer.size));
}

class Conversion {
  readonly #ctx: TransferContext;
  readonly #call: NamespacedCall;
  readonly #name: string;
  readonly #what: Wish;
  readonly #wanted: Wanted;
  readonly #tell: Tell;

  constructor(
    ctx: TransferContext,
    call: NamespacedCall,
    name: string,
    what: Wish,
    wanted: Wanted,
    tell: Tell,
  ) {
    this.#tell = tell;
    this.#ctx = ctx;
    this.#call = call;
    this.#name = name;
    this.#what = what;
    this.#wanted = wanted;
  }

  /** Converts a manifest or index and what is below. @throws not-found when content is missing */
  async document(desc: Descriptor): Promise<Descriptor> {
    const bytes = await readBlob(this.#ctx, this.#call, desc, MAX_MANIFEST);
    const doc = await parseManifestOrIndex(bytes, desc.mediaType);
    // changed in place, so that whatever else the document says stays
    const json = JSON.parse(new TextDecoder().decode(bytes)) as Record<string, unknown>;
    return doc.kind === "index" ? this.#index(desc, doc, json) : this.#manifest(desc, doc, json);
  }

  async #index(desc: Descriptor, doc: Index, json: Record<string, unknown>): Promise<Descriptor> {
    const { allPlatforms, matcher, limit } = this.#wanted;
    const chosen = allPlatforms
      ? doc.manifests
      : selectManifests(doc, matcher ?? matchOnly(hostPlatform()), limit);
    if (chosen.length === 0) throw noMatch(this.#name, doc);
    const old = json["manifests"] as DescriptorJson[];
    const next: DescriptorJson[] = [];
    for (const child of chosen) {
      const entry = old.find((e) => e.digest === child.digest);
      if (entry !== undefined) next.push(patched(entry, await this.document(child)));
    }
    json["manifests"] = next;
    return this.#store(desc, json);
  }

  async #manifest(desc: Descriptor, doc: Manifest, json: Record<string, unknown>): Promise<Descriptor> {
    const { diffIds } = await readConfig(this.#ctx, this.#call, doc.config);
    const layers = json["layers"] as DescriptorJson[];
    const { erofs } = this.#what;
    // attestations look like images, but have no layers of files
    const files = isImageManifest(doc) && doc.layers.every((layer) => media.isLayerType(layer.mediaType));
    if (erofs !== undefined && files) {
      const made = await erofsManifest(this.#ctx, this.#call, { desc, doc, diffIds, ...erofs });
      for (const [i, layer] of made.layers.entries()) {
        const entry = layers[i];
        if (entry !== undefined) layers[i] = patched(entry, layer);
      }
      json["config"] = patched(json["config"] as DescriptorJson, {
        ...made.config,
        mediaType: this.#type(made.config.mediaType),
      });
      return this.#store(desc, json);
    }
    for (const [i, layer] of doc.layers.entries()) {
      const entry = layers[i];
      await refetch(this.#ctx, this.#call, layer, desc.digest);
      const made = await this.#layer(layer, diffIds[i]);
      if (entry !== undefined) layers[i] = patched(entry, made);
    }
    const config = json["config"] as DescriptorJson;
    json["config"] = patched(config, { ...doc.config, mediaType: this.#type(doc.config.mediaType) });
    await holdBlob(this.#ctx, this.#call, doc.config.digest);
    return this.#store(desc, json);
  }

  #type(old: string): string {
    return this.#what.oci ? (OCI_OF.get(old) ?? old) : old;
  }

  async #store(old: Descriptor, json: Record<string, unknown>): Promise<Descriptor> {
    const mediaType = this.#type(old.mediaType);
    if ("mediaType" in json) json["mediaType"] = mediaType;
    const bytes = Buffer.from(JSON.stringify(json));
    const desc = describe(mediaType, bytes);
    await storeBytes(
      this.#ctx,
      this.#call,
      desc,
      bytes,
      childLabels(await parseManifestOrIndex(bytes, mediaType)),
    );
    return desc;
  }

  async #layer(layer: Descriptor, diffId: Digest | undefined): Promise<Descriptor> {
    const mediaType = this.#type(layer.mediaType);
    if (
      this.#what.zstd &&
      diffId !== undefined &&
      media.isPlainLayer(layer.mediaType) &&
      !/zstd$/.test(mediaType)
    )
      return this.#zstd(layer, diffId);
    const able = media.isLayerType(layer.mediaType) && !media.isUncompressedLayer(layer.mediaType);
    if (!this.#what.uncompress || !able || diffId === undefined) {
      await holdBlob(this.#ctx, this.#call, layer.digest);
      return { ...layer, mediaType };
    }
    const plain = mediaType.replace(/[.+](gzip|zstd)$/, "");
    const known = await findBlob(this.#ctx, this.#call, diffId);
    const size = known?.size ?? (await this.#uncompress(layer, diffId));
    await holdBlob(this.#ctx, this.#call, diffId);
    return { mediaType: plain, digest: diffId, size };
  }

  /** Compresses a layer anew. */
  async #zstd(layer: Descriptor, diffId: Digest): Promise<Descriptor> {
    const { content } = this.#ctx.stores;
    await using reader = await content.reader(this.#call, layer.digest);
    const hash = createHash("sha256");
    const source = counted(reader.stream(), layer, this.#tell);
    const plain = async function* (): AsyncGenerator<Uint8Array, void, undefined> {
      for await (const part of (await openArchive(source)).rest()) {
        hash.update(part);
        yield part;
      }
    };
    const zstd = createZstdCompress();
    pipeline(Readable.from(plain()), zstd, () => {});
    await using writer = await content.writer(this.#call, { ref: `convert-zstd-${layer.digest}` });
    if (writer.status().offset > 0n) await writer.truncate(0n);
    for await (const part of zstd as AsyncIterable<Uint8Array>) await writer.write(part);
    if (diffId !== `sha256:${hash.digest("hex")}`)
      throw dataLoss(`compress layer ${layer.digest}: its content is not ${diffId}`);
    const { offset: size } = writer.status();
    const digest = writer.digest();
    const labels = new Map([["containerd.io/uncompressed", diffId as string]]);
    await writer.commit(size, digest, labels).catch((err: unknown) => {
      if (!isAlreadyExists(err)) throw err;
    });
    await holdBlob(this.#ctx, this.#call, digest);
    return { mediaType: media.OCI_LAYER_ZSTD, digest, size };
  }

  /** Writes the plain tar of a layer under its diff id. @returns its size in bytes */
  async #uncompress(layer: Descriptor, diffId: Digest): Promise<bigint> {
    const { content } = this.#ctx.stores;
    await using reader = await content.reader(this.#call, layer.digest);
    const hash = createHash("sha256");
    let size = 0n;
    try {
      await using writer = await content.writer(this.#call, { ref: `convert-uncompress-${diffId}` });
      if (writer.status().offset > 0n) await writer.truncate(0n);
      const source = counted(reader.stream(), layer, this.#tell);
      for await (const part of (await openArchive(source)).rest()) {
        hash.update(part);
        size += BigInt(part.byteLength);
        await writer.write(part);
      }
      if (diffId !== `sha256:${hash.digest("hex")}`)
        throw dataLoss(`uncompress layer ${layer.digest}: what came out is not ${diffId}`);
      await writer.commit(size, diffId, new Map([["containerd.io/uncompressed", diffId]]));
    } catch (err) {
      if (!isAlreadyExists(err)) throw err;
    }
    return size;
  }
}

/** A descriptor with another content; platform and annotations stay. Keys in containerd's order: equal input, equal digest. */
function patched(old: DescriptorJson, d: Descriptor): DescriptorJson {
  const { mediaType: _type, digest: _digest, size: _size, ...rest } = old;
  return { mediaType: d.mediaType, digest: d.digest, size: Number(d.size), ...rest };
}
