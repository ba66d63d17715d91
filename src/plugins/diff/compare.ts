import { randomBytes } from "node:crypto";
import type { NamespacedCall } from "../../core/call.ts";
import type { LocalContentStore } from "../../core/content/content.ts";
import type { CompareOptions, Comparer } from "../../core/diff/diff.ts";
import { codeOf, wrap } from "../../core/errors.ts";
import { parseDigest } from "../../core/ids/digest.ts";
import type { Mount } from "../../core/mounts/mount.ts";
import type { Descriptor } from "../../core/oci.ts";
import { HelperProcess } from "./helper/process.ts";
import type { CompareInstruction } from "./helper/protocol.ts";
import { OCI_TAR, outputCompression } from "./media-types.ts";

/** Label of a compressed layer that tells its diff id. */
const UNCOMPRESSED = "containerd.io/uncompressed";

/** Makes layers with a helper process that writes the ingest's file itself. */
export class HelperComparer implements Comparer {
  readonly #content: LocalContentStore;

  constructor(content: LocalContentStore) {
    this.#content = content;
  }

  async compare(
    call: NamespacedCall,
    lower: readonly Mount[],
    upper: readonly Mount[],
    options: CompareOptions = {},
  ): Promise<Descriptor> {
    call.check();
    const mediaType = options.mediaType || `${OCI_TAR}+gzip`;
    const compression = outputCompression(mediaType);
    const ref = options.ref || `uncompressed-diff-${randomBytes(9).toString("base64url")}`;
    const ingest = await this.#content.externalWriter(call, { ref });
    let helper: HelperProcess | undefined;
    try {
      const instruction: CompareInstruction = {
        mode: "compare",
        parent: process.pid,
        lower,
        upper,
        compression,
        outputPath: ingest.path,
        latest: toTarTime(options.sourceDateEpoch),
      };
      helper = HelperProcess.compare(instruction, call.signal);
      const { blob, diff } = await helper.expect("compared");
      await helper.ended();
      const labels = new Map(options.labels);
      labels.set(UNCOMPRESSED, diff.digest);
      const size = BigInt(blob.size);
      const digest = parseDigest(blob.digest);
      await ingest.adopt(size, digest, undefined, labels).catch(async (err: unknown) => {
        if (codeOf(err) !== "already-exists") throw err;
        // The same layer was made before: it only needs the labels.
        const fields = [...labels.keys()].map((key) => `labels.${key}`);
        await this.#content.update(call, digest, labels, fields);
      });
      return { mediaType, digest, size };
    } catch (err) {
      // one that stays goes with its lease or expires: what failed first is what to tell
      await ingest.abort().catch(() => {});
      throw wrap(err, "make layer");
    } finally {
      await helper?.close();
      await ingest[Symbol.asyncDispose]();
    }
  }
}

function toTarTime(time: bigint | undefined): { sec: number; nsec: number } | undefined {
  if (time === undefined) return undefined;
  return { sec: Number(time / 1_000_000_000n), nsec: Number(time % 1_000_000_000n) };
}
