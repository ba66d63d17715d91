/** EROFS images of an image's layers, made on this machine: unpacked by a helper in a folder of their own, then mkfs.erofs. */
import { createHash } from "node:crypto";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { NamespacedCall } from "../../../core/call.ts";
import { dataLoss, failedPrecondition, internal, invalidArgument } from "../../../core/errors.ts";
import { type Digest, hexOf } from "../../../core/ids/digest.ts";
import type { Mount } from "../../../core/mounts/mount.ts";
import type { Descriptor } from "../../../core/oci.ts";
import { isPlainLayer } from "../../../oci/media-types.ts";
import { HelperApplier } from "../../../plugins/diff/apply.ts";
import { layerLimits } from "../../../plugins/diff/limits.ts";
import { buildImage, IMAGE } from "../../../plugins/snapshots/erofs-image.ts";
import type { TransferContext } from "../../../plugins/transfer/context.ts";

/** Arguments of mkfs.erofs from the flags of a command. @throws invalid-argument */
export function mkfsArguments(compressors: string, options: string): string[] {
  if (/\s/.test(compressors)) throw invalidArgument(`compressors "${compressors}": must be without spaces`);
  return [
    ...(compressors === "" ? [] : [`-z${compressors}`]),
    ...options.split(/\s+/).filter((option) => option !== ""),
  ];
}

/** Makes the layers of one image, from the bottom up: each keeps its tree, as links may lead there from layers above. */
export class ErofsLayers implements AsyncDisposable {
  readonly #ctx: TransferContext;
  readonly #call: NamespacedCall;
  readonly #options: readonly string[];
  readonly #applier: HelperApplier;
  readonly #root: string;
  /** Trees of the layers so far, the last one first. */
  readonly #trees: string[] = [];

  /** @throws failed-precondition for those who may not make device nodes and owners */
  static async open(
    ctx: TransferContext,
    call: NamespacedCall,
    options: readonly string[],
  ): Promise<ErofsLayers> {
    if (process.getuid?.() !== 0) throw failedPrecondition("make EROFS layers: must be root");
    return new ErofsLayers(ctx, call, options, await mkdtemp(join(tmpdir(), "gantry-erofs-")));
  }

  private constructor(ctx: TransferContext, call: NamespacedCall, options: readonly string[], root: string) {
    this.#ctx = ctx;
    this.#call = call;
    this.#options = options;
    this.#root = root;
    const none = {
      blobPath: () => Promise.reject(internal("the client has no files of blobs")),
    };
    this.#applier = new HelperApplier(none, layerLimits({}));
  }

  /**
   * Unpacks the next layer and makes its image.
   * @param make false: the layers above need its tree only
   * @returns path of the image, there until this object is disposed of
   * @throws failed-precondition (not a tar), data-loss (other bytes than the digests say)
   */
  async next(layer: Descriptor, diffId: Digest, make = true): Promise<string> {
    if (!isPlainLayer(layer.mediaType))
      throw failedPrecondition(`make EROFS layer of ${layer.digest}: it is a ${layer.mediaType}, not a tar`);
    const folder = join(this.#root, String(this.#trees.length));
    const tree = join(folder, "fs");
    await mkdir(tree, { recursive: true, mode: 0o755 });
    await this.#unpack(layer, diffId, await this.#mounts(tree));
    this.#trees.unshift(tree);
    const fixed = this.#options.some((option) => option.startsWith("-U")) ? [] : [`-U${uuidOf(diffId)}`];
    if (make) await buildImage(this.#call, tree, folder, [...fixed, ...this.#options]);
    return join(folder, IMAGE);
  }

  /** Removes everything. */
  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.#root, { recursive: true, force: true });
  }

  /** As an overlay's upper folder, so that what a layer removes stays in it in the kernel's form. */
  async #mounts(tree: string): Promise<Mount[]> {
    const empty = join(this.#root, "empty");
    await mkdir(empty, { recursive: true });
    const lowers = this.#trees.length === 0 ? [empty] : this.#trees;
    const options = [`lowerdir=${lowers.map(escaped).join(":")}`, `upperdir=${tree}`];
    return [{ type: "overlay", source: "overlay", target: "", options }];
  }

  async #unpack(layer: Descriptor, diffId: Digest, mounts: readonly Mount[]): Promise<void> {
    await using reader = await this.#ctx.stores.content.reader(this.#call, layer.digest);
    await using unpack = await this.#applier.start(this.#call, { mediaType: layer.mediaType, mounts });
    for await (const part of reader.stream()) await unpack.write(part);
    const { blob, diff } = await unpack.end();
    if (blob.digest !== layer.digest)
      throw dataLoss(`make EROFS layer of ${layer.digest}: stored bytes have digest ${blob.digest}`);
    if (diff?.digest !== diffId)
      throw dataLoss(`make EROFS layer of ${layer.digest}: its content is not ${diffId}`);
    await unpack.finish(mounts);
  }
}

/** The same image has the same identifier each time, as far as mkfs.erofs goes. */
function uuidOf(diffId: Digest): string {
  const hex = createHash("sha256")
    .update(`erofs ${hexOf(diffId)}`)
    .digest("hex");
  const parts = [hex.slice(0, 8), hex.slice(8, 12), `8${hex.slice(13, 16)}`, `8${hex.slice(17, 20)}`];
  return [...parts, hex.slice(20, 32)].join("-");
}

function escaped(path: string): string {
  return path.replace(/[\\:]/g, "\\$&");
}
