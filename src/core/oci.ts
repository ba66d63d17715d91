import type { Digest } from "./ids/digest.ts";

/** An OCI content descriptor (image-spec descriptor.md) with the fields the engine uses; `size` in bytes. */
export interface Descriptor {
  readonly mediaType: string;
  readonly digest: Digest;
  readonly size: bigint;
  readonly annotations?: ReadonlyMap<string, string> | undefined;
  readonly urls?: readonly string[] | undefined;
  readonly platform?: Platform | undefined;
  /** Inline content, checked against `digest` before use. */
  readonly data?: Uint8Array | undefined;
}

/** What an image was built for (image-spec image-index.md). */
export interface Platform {
  readonly os: string;
  readonly architecture: string;
  readonly variant?: string | undefined;
  readonly osVersion?: string | undefined;
  readonly osFeatures?: readonly string[] | undefined;
}
