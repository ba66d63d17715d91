/**
 * The differ `io.containerd.differ.v1.erofs`: unpacks layers into snapshots of the erofs snapshotter and makes their images at
 * once, with the configured options of mkfs.erofs. Layers that are EROFS images already are taken as they are (`+zstd`: decompressed). Everything
 * else is left to the next differ of the diff service's list: `default = ["erofs", "walking"]`.
 */
import type { NamespacedCall } from "../../core/call.ts";
import type { LocalContentStore } from "../../core/content/content.ts";
import type { ApplyOptions, StreamApplier, StreamResult } from "../../core/diff/diff.ts";
import { failedPrecondition, internal, invalidArgument, notImplemented } from "../../core/errors.ts";
import { parseDigest } from "../../core/ids/digest.ts";
import type { Mount } from "../../core/mounts/mount.ts";
import type { Descriptor } from "../../core/oci.ts";
import { DIFFER, METADATA, SNAPSHOTTER } from "../../core/plugin/kinds.ts";
import { all, definePlugin, one, SkipPlugin } from "../../core/plugin/plugin.ts";
import type { LayerImages } from "../../core/snapshots/snapshotter.ts";
import { isErofsLayer } from "../../oci/media-types.ts";
import { HelperApplier } from "./apply.ts";
import { layerLimits } from "./limits.ts";
import { parseStreamProcessors } from "./stream-processors.ts";

/** Applies to the snapshots that `images` owns. */
export class ErofsApplier {
  readonly #images: LayerImages;
  readonly #content: LocalContentStore;
  readonly #applier: StreamApplier;
  readonly #options: readonly string[];

  constructor(
    images: LayerImages,
    content: LocalContentStore,
    applier: StreamApplier,
    options: readonly string[],
  ) {
    this.#images = images;
    this.#content = content;
    this.#applier = applier;
    this.#options = options;
  }

  async apply(
    call: NamespacedCall,
    desc: Descriptor,
    mounts: readonly Mount[],
    options?: ApplyOptions,
  ): Promise<Descriptor> {
    if (!this.#images.owns(mounts)) throw notImplemented("unpack layer: not a snapshot of erofs");
    if (isErofsLayer(desc.mediaType)) return this.#take(call, desc, mounts);
    const applied = await this.#applier.apply(call, desc, mounts, options);
    await this.#images.seal(call, mounts, this.#options);
    return applied;
  }

  /** Takes an image as it is, or decompresses it. Its digest is the diff id. */
  async #take(call: NamespacedCall, desc: Descriptor, mounts: readonly Mount[]): Promise<Descriptor> {
    const [type = "", compression, more] = desc.mediaType.split("+");
    if (more !== undefined || (compression !== undefined && compression !== "zstd"))
      throw notImplemented(`unpack layer: media type "${desc.mediaType}": no processor for media type`);
    const sourcePath = await this.#content.blobPath(call, desc.digest);
    const read = async (plainPath?: string): Promise<StreamResult> => {
      await using proof = await this.#applier.start(call, { mediaType: type, sourcePath, plainPath });
      const seen = await proof.end();
      if (seen.blob.digest === desc.digest) return seen;
      throw failedPrecondition(
        `apply layer ${desc.digest}: blob has digest ${seen.blob.digest}: unexpected digest`,
      );
    };
    if (compression === undefined) {
      // store and hash only: the bytes of the blob are proven before they are mounted as a file system
      const { blob } = await read();
      await this.#images.take(call, mounts, sourcePath);
      return { mediaType: type, digest: desc.digest, size: blob.size };
    }
    let plain: StreamResult["diff"];
    await this.#images.receive(mounts, async (path) => {
      plain = (await read(path)).diff;
    });
    if (plain === undefined) throw internal(`apply layer ${desc.digest}: nothing was decompressed`);
    return { mediaType: type, digest: parseDigest(plain.digest), size: plain.size };
  }
}

export default definePlugin({
  kind: DIFFER,
  id: "erofs",
  requires: { metadata: one(METADATA), snapshotters: all(SNAPSHOTTER) },
  config: {
    defaults: { mkfs_options: [], enable_tar_index: false, enable_dmverity: false },
    parse(table) {
      const options = table["mkfs_options"] ?? [];
      if (!Array.isArray(options) || !options.every((option) => typeof option === "string"))
        throw invalidArgument('config key "mkfs_options": must be a list of strings');
      for (const key of ["enable_tar_index", "enable_dmverity"])
        if (table[key] === true) throw invalidArgument(`config key "${key}": not offered`);
      return { options: options as string[], limits: layerLimits(table) };
    },
  },
  onFailure: "optional",
  init(host, { metadata, snapshotters }, { options, limits }) {
    const images = snapshotters.get("erofs")?.images;
    if (images === undefined) throw new SkipPlugin("the erofs snapshotter is not there");
    host.describe({
      platforms: [{ os: "linux", architecture: process.arch === "arm64" ? "arm64" : "amd64" }],
    });
    const processors = parseStreamProcessors(host.daemon.settings["stream_processors"]);
    const helper = new HelperApplier(metadata.content, limits, processors);
    const applier = new ErofsApplier(images, metadata.content, helper, options);
    return {
      apply: applier.apply.bind(applier),
      start() {
        throw notImplemented("unpack while fetching: not offered by the erofs differ");
      },
      compare() {
        throw notImplemented("make layer: not offered by the erofs differ");
      },
    };
  },
});
