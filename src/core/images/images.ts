/** Image store: names that point at content. */
import type { Labels, TimeNs } from "../any.ts";
import type { NamespacedCall } from "../call.ts";
import type { Digest } from "../ids/digest.ts";
import type { Descriptor } from "../oci.ts";

/** A named image. */
export interface Image {
  /** Reference, e.g. `host/name:tag`; any non-empty string. */
  readonly name: string;
  readonly labels: Labels;
  /** Manifest or index. */
  readonly target: Descriptor;
  readonly createdAt: TimeNs;
  readonly updatedAt: TimeNs;
}

/** What create and update take. */
export interface ImageInput {
  readonly name: string;
  readonly labels: Labels;
  readonly target: Descriptor;
}

/** Options of delete. */
export interface ImageDeleteOptions {
  /** Run garbage collection before returning. */
  readonly sync?: boolean | undefined;
  /** Delete only while the image points here. @throws not-found when it does not (containerd's behaviour) */
  readonly target?: Digest | undefined;
}

/** Images of a namespace. */
export interface ImageStore {
  /** @throws not-found */
  get(call: NamespacedCall, name: string): Promise<Image>;
  list(call: NamespacedCall, filters: readonly string[]): Promise<Image[]>;
  /** `epoch` sets both timestamps (reproducible builds). @throws already-exists, invalid-argument */
  create(call: NamespacedCall, image: ImageInput, epoch?: TimeNs): Promise<Image>;
  /** Fields: labels, labels.KEY, target, annotations, annotations.KEY; empty = labels and target. @throws not-found */
  update(call: NamespacedCall, image: ImageInput, fields: readonly string[], epoch?: TimeNs): Promise<Image>;
  /** @throws not-found */
  delete(call: NamespacedCall, name: string, options?: ImageDeleteOptions): Promise<void>;
}
