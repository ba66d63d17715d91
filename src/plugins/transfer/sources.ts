/** Where bytes of images come from. */
import type { NamespacedCall } from "../../core/call.ts";
import type { Digest } from "../../core/ids/digest.ts";
import type { Descriptor } from "../../core/oci.ts";
import type { RangeOptions } from "../../registry/ranges.ts";

/** Where bytes come from: a registry session, an archive, another store. */
export interface BlobSource {
  /**
   * Exactly `desc.size - offset` bytes from `offset`; digests are checked by whoever stores them.
   * @param ranges the source may use several connections
   */
  stream(
    desc: Descriptor,
    offset: bigint,
    signal: AbortSignal,
    ranges?: RangeOptions,
  ): AsyncIterable<Uint8Array>;
  /** The last bytes given for `digest` were wrong. */
  distrust(digest: Digest): void;
}

/** A source for work on what is in the store: whatever it is asked for is missing, which is the given error. */
export function nowhere(missing: (digest: Digest) => Error): BlobSource {
  return {
    // biome-ignore lint/correctness/useYield: it only throws
    async *stream(desc) {
      throw missing(desc.digest);
    },
    distrust() {},
  };
}

/** A place images come from: a registry session fits. */
export interface PullSource extends BlobSource {
  resolve(signal: AbortSignal): Promise<Descriptor>;
  /** A small document, digest checked. */
  read(desc: Descriptor, max: number, signal: AbortSignal): Promise<Uint8Array>;
  /** Where from, for labels and progress. */
  readonly host: string;
  readonly repository: string;
}

/** Opens the repository of a reference as a source of blobs: see refetch.ts. */
export type OpenSource = (call: NamespacedCall, reference: string) => Promise<BlobSource>;
