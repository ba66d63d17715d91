/** Transfer: moves images between registries, the store and streams. Source and destination are typed blobs (types/transfer). */

import type { Semaphore } from "../../lib/semaphore.ts";
import type { AnyValue, Labels } from "../any.ts";
import type { NamespacedCall } from "../call.ts";
import type { ChainId } from "../ids/digest.ts";
import type { Image } from "../images/images.ts";
import type { Descriptor, Platform } from "../oci.ts";

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

/** What a pull for CRI or another part of the daemon asks for. Everything but the reference is optional. */
export interface PullRequest {
  /** Full reference. */
  readonly reference: string;
  /** Name of the image record; default: the reference. */
  readonly name?: string | undefined;
  readonly labels?: Labels | undefined;
  readonly platform?: Platform | undefined;
  /** Unpack with this snapshotter; undefined = store only. */
  readonly snapshotter?: string | undefined;
  /**
   * Credentials for the reference's own host, never for its mirrors: username/password, auth, identitytoken or
   * registrytoken. With a serveraddress of another registry they are not used.
   */
  readonly auth?: Readonly<Record<string, unknown>> | undefined;
  /** Tell snapshotters image, manifest and layer digests by labels. */
  readonly annotate?: boolean | undefined;
  /** Let go of layer blobs once they are unpacked (they are fetched again when needed); default: as configured. */
  readonly discardUnpackedLayers?: boolean | undefined;
  /** Make layers durable before their snapshots are committed. */
  readonly syncFs?: boolean | undefined;
  /** Downloads at a time, shared by every pull that gets the same; default: as configured, for each pull. */
  readonly downloads?: Semaphore | undefined;
  readonly progress?: ((p: Progress) => void) | undefined;
}

/** What a pull brought. */
export interface PullOutcome {
  readonly image: Image;
  /** Root of the unpacked layers; undefined when nothing was unpacked. */
  readonly chainId: ChainId | undefined;
}

/** What an unpack of a stored image is asked for. */
export interface UnpackRequest {
  /** Name of the image record. */
  readonly name: string;
  readonly snapshotter: string;
  readonly platform?: Platform | undefined;
  /** Tell snapshotters image, manifest and layer digests by labels. */
  readonly annotate?: boolean | undefined;
}

/** What an import takes besides the bytes. */
export interface ImportRequest {
  readonly labels?: Labels | undefined;
  readonly snapshotter?: string | undefined;
  readonly progress?: ((p: Progress) => void) | undefined;
}

/** The transfer plugin as the daemon's own parts use it: CRI, the watched image folder. */
export interface ImageTransfer extends Transferrer {
  /** Told when the registry tables of the configuration were reloaded: the next transfer uses the new ones. */
  hostsChanged(): void;
  /** Pulls with the daemon's registry configuration. */
  pull(call: NamespacedCall, request: PullRequest): Promise<PullOutcome>;
  /**
   * Unpacks an image whose content is stored.
   * @returns root of its layers; undefined for an image without layers
   * @throws not-found when the record or a layer is missing
   */
  unpack(call: NamespacedCall, request: UnpackRequest): Promise<ChainId | undefined>;
  /** Imports every image of an archive stream. */
  importArchive(
    call: NamespacedCall,
    stream: AsyncIterable<Uint8Array>,
    request: ImportRequest,
  ): Promise<Image[]>;
}

/** Decides whether an image may be pulled or imported; plugins of the kind `io.containerd.image-verifier.v1`. */
export interface ImageVerifier {
  /** Asked also for image records that clients of the API write, not only for what the daemon pulls and imports. */
  readonly forClients?: boolean | undefined;
  /** @throws permission-denied with the reason; any other failure refuses too */
  verify(call: NamespacedCall, name: string, target: Descriptor): Promise<void>;
}
