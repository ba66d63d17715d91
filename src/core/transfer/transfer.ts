/** Transfer: moves images between registries, the store and streams. Source and destination are typed blobs (types/transfer). */
import type { AnyValue } from "../any.ts";
import type { NamespacedCall } from "../call.ts";
import type { Descriptor } from "../oci.ts";

/** One step of progress: `event` is containerd's word (waiting, downloading, extracting, complete, saved, ...). */
export interface Progress {
  readonly event: string;
  readonly name: string;
  readonly parents: readonly string[];
  /** Bytes done and in all; 0n when unknown. */
  readonly progress: bigint;
  readonly total: bigint;
  readonly desc?: Descriptor | undefined;
}

/** Performs transfers. */
export interface Transferrer {
  /** @throws not-implemented for a pair that is not offered */
  transfer(
    call: NamespacedCall,
    source: AnyValue,
    destination: AnyValue,
    progress: (p: Progress) => void,
  ): Promise<void>;
}
