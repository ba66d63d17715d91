/** Unpacking of layers by helper processes: the Applier and StreamApplier of the walking differ. */
import type { NamespacedCall } from "../../core/call.ts";
import type { LocalContentStore } from "../../core/content/content.ts";
import type {
  ApplyOptions,
  StreamApplier,
  StreamResult,
  StreamUnpack,
  StreamUnpackOptions,
} from "../../core/diff/diff.ts";
import { failedPrecondition, wrap } from "../../core/errors.ts";
import { parseDigest } from "../../core/ids/digest.ts";
import type { Mount } from "../../core/mounts/mount.ts";
import type { Descriptor } from "../../core/oci.ts";
import { HelperProcess } from "./helper/process.ts";
import type { UnpackInstruction } from "./helper/protocol.ts";
import { expectLayer } from "./helper/start.ts";
import { compressionOf, OCI_TAR, requireCompression } from "./media-types.ts";
import { chainFor, runChain, type StreamProcessor } from "./stream-processors.ts";
import { destinationOf, finishOf } from "./targets.ts";

/** Bounds of one layer. */
export interface LayerLimits {
  readonly entries: number;
  /** Bytes of file content; 0 = no bound. */
  readonly bytes: number;
}

/** Unpacks in helper processes; the daemon's thread only passes bytes on. */
export class HelperApplier implements StreamApplier {
  readonly #content: Pick<LocalContentStore, "blobPath">;
  readonly #limits: LayerLimits;
  readonly #processors: readonly StreamProcessor[];

  constructor(
    content: Pick<LocalContentStore, "blobPath">,
    limits: LayerLimits,
    processors: readonly StreamProcessor[] = [],
  ) {
    this.#content = content;
    this.#limits = limits;
    this.#processors = processors;
  }

  async apply(
    call: NamespacedCall,
    desc: Descriptor,
    mounts: readonly Mount[],
    options: ApplyOptions = {},
  ): Promise<Descriptor> {
    call.check();
    const known = (type: string): boolean => compressionOf(type) !== undefined;
    const chain = chainFor(this.#processors, desc.mediaType, known);
    const compression = requireCompression(chain?.at(-1)?.returns ?? desc.mediaType);
    const path = await this.#content.blobPath(call, desc.digest);
    const instruction: UnpackInstruction = {
      mode: "apply",
      parent: process.pid,
      source: chain === undefined ? { kind: "file", path } : { kind: "frames" },
      compression,
      destination: destinationOf(mounts),
      limits: this.#limits,
    };
    const helper = await HelperProcess.apply(instruction, call.signal, options.progress);
    try {
      if (chain !== undefined) {
        const output = runChain(call, chain, path, desc.mediaType, options.processorPayloads);
        for await (const bytes of output) await helper.data(bytes);
        await helper.end();
      }
      const seen = await helper.expect("extracted");
      if (chain === undefined && seen.blob.digest !== desc.digest)
        throw failedPrecondition(`blob has digest ${seen.blob.digest}: unexpected digest`);
      await helper.finish(finishOf(mounts, options.syncFs ?? false));
      const { again } = await helper.expect("finished");
      for (const warning of seen.warnings) call.log.warn("unpack layer", { layer: desc.digest, warning });
      const diff = seen.diff ?? seen.blob;
      options.progress?.(desc.size > 0n ? desc.size : BigInt(seen.blob.size));
      // mounts of its own end with it, and what they flush belongs to the layer
      if (instruction.destination?.kind === "mounts") await helper.ended();
      else helper.dismiss(again);
      return { mediaType: OCI_TAR, digest: parseDigest(diff.digest), size: BigInt(diff.size) };
    } catch (err) {
      throw wrap(err, `apply layer ${desc.digest}`);
    } finally {
      await helper.close();
    }
  }

  expect(): void {
    expectLayer();
  }

  async start(call: NamespacedCall, options: StreamUnpackOptions): Promise<StreamUnpack> {
    call.check();
    const compression =
      options.plainPath !== undefined
        ? "detect"
        : options.mounts === undefined
          ? "none"
          : requireCompression(options.mediaType);
    const instruction: UnpackInstruction = {
      mode: "apply",
      parent: process.pid,
      source:
        options.sourcePath === undefined ? { kind: "frames" } : { kind: "file", path: options.sourcePath },
      blobPath: options.blobPath,
      plainPath: options.plainPath,
      compression,
      destination: options.mounts === undefined ? undefined : destinationOf(options.mounts),
      limits: this.#limits,
    };
    const helper = await HelperProcess.apply(instruction, call.signal, options.progress, options.small);
    return new HelperStream(call, helper, {
      framed: options.sourcePath === undefined,
      mounted: instruction.destination?.kind === "mounts",
    });
  }
}

/** A running streamed unpack. */
class HelperStream implements StreamUnpack {
  readonly #call: NamespacedCall;
  readonly #helper: HelperProcess;
  #finished = false;

  readonly #framed: boolean;
  readonly #mounted: boolean;

  /** @param how framed: the bytes come by `write`, not from a file; mounted: it has mounts of its own */
  constructor(call: NamespacedCall, helper: HelperProcess, how: { framed: boolean; mounted: boolean }) {
    this.#call = call;
    this.#helper = helper;
    this.#framed = how.framed;
    this.#mounted = how.mounted;
  }

  write(data: Uint8Array): Promise<void> {
    return this.#helper.data(data);
  }

  async end(): Promise<StreamResult> {
    if (this.#framed) await this.#helper.end();
    const { blob, diff, warnings } = await this.#helper.expect("extracted");
    for (const warning of warnings) this.#call.log.warn("unpack layer", { layer: blob.digest, warning });
    return {
      blob: { digest: blob.digest, size: BigInt(blob.size) },
      ...(diff === undefined ? {} : { diff: { digest: diff.digest, size: BigInt(diff.size) } }),
    };
  }

  rest(): void {
    this.#helper.rest();
  }

  async finish(mounts: readonly Mount[]): Promise<void> {
    await this.#helper.finish(finishOf(mounts, false));
    const { again } = await this.#helper.expect("finished");
    this.#finished = true;
    if (this.#mounted) await this.#helper.ended();
    else this.#helper.dismiss(again);
  }

  async abort(): Promise<void> {
    await this.#helper.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#finished) await this.abort();
  }
}
