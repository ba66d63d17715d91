import { invalidArgument } from "../errors.ts";

declare const brand: unique symbol;
/** A content digest `algorithm:hex`, checked; safe to use as a path part after {@link hexOf}. */
export type Digest = string & { readonly [brand]: "digest" };
/** Digest of a chain of diff ids (image-spec config.md, "Layer ChainID"). */
export type ChainId = Digest;

const LENGTH: Readonly<Record<string, number>> = { sha256: 64, sha384: 96, sha512: 128 };

/**
 * Parses a digest. Only sha256, sha384 and sha512 with exactly the right number of lower-case hex digits pass (S12).
 * @throws invalid-argument
 */
export function parseDigest(value: string): Digest {
  const colon = value.indexOf(":");
  const algorithm = colon < 0 ? "" : value.slice(0, colon);
  const hex = value.slice(colon + 1);
  const want = Object.hasOwn(LENGTH, algorithm) ? LENGTH[algorithm] : undefined;
  if (want === undefined) {
    throw invalidArgument(
      colon < 0
        ? `digest "${value}": invalid checksum digest format`
        : `digest "${value}": unsupported digest algorithm`,
    );
  }
  if (hex.length !== want || !/^[a-f0-9]+$/.test(hex))
    throw invalidArgument(`digest "${value}": invalid checksum digest format`);
  return value as Digest;
}

/** The algorithm part. */
export function algorithmOf(digest: Digest): string {
  return digest.slice(0, digest.indexOf(":"));
}

/** The hex part. */
export function hexOf(digest: Digest): string {
  return digest.slice(digest.indexOf(":") + 1);
}
