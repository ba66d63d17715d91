/** Descriptors as OCI JSON. */

import { type Digest, parseDigest } from "../core/ids/digest.ts";
import type { Descriptor, Platform } from "../core/oci.ts";
import { createHash } from "../lib/hash.ts";

/** A descriptor as JSON has it. Key order is that of containerd, so bytes we write are stable. */
export interface DescriptorJson {
  mediaType: string;
  digest: string;
  size: number;
  urls?: string[];
  annotations?: Record<string, string>;
  data?: string;
  platform?: PlatformJson;
}

/** A platform as JSON has it. */
export interface PlatformJson {
  architecture: string;
  os: string;
  "os.version"?: string;
  "os.features"?: string[];
  variant?: string;
}

/** JSON form of a descriptor. */
export function descriptorToJson(d: Descriptor): DescriptorJson {
  const out: DescriptorJson = { mediaType: d.mediaType, digest: d.digest, size: Number(d.size) };
  if (d.urls !== undefined && d.urls.length > 0) out.urls = [...d.urls];
  if (d.annotations !== undefined && d.annotations.size > 0) out.annotations = mapToRecord(d.annotations);
  if (d.data !== undefined) out.data = Buffer.from(d.data).toString("base64");
  if (d.platform !== undefined) out.platform = platformToJson(d.platform);
  return out;
}

/** JSON form of a platform. */
export function platformToJson(p: Platform): PlatformJson {
  return {
    architecture: p.architecture,
    os: p.os,
    ...(p.osVersion === undefined ? {} : { "os.version": p.osVersion }),
    ...(p.osFeatures === undefined ? {} : { "os.features": [...p.osFeatures] }),
    ...(p.variant === undefined ? {} : { variant: p.variant }),
  };
}

/** A record without a prototype, so that a key `__proto__` stays data. */
export function mapToRecord(map: ReadonlyMap<string, string>): Record<string, string> {
  const out: Record<string, string> = Object.create(null);
  for (const key of [...map.keys()].sort()) out[key] = map.get(key) ?? "";
  return out;
}

/** Descriptor of bytes at hand. */
export function describe(mediaType: string, bytes: Uint8Array): Descriptor {
  return { mediaType, digest: sha256(bytes), size: BigInt(bytes.byteLength) };
}

/** sha256 digest of bytes. */
export function sha256(bytes: Uint8Array): Digest {
  return parseDigest(`sha256:${createHash("sha256").update(bytes).digest("hex")}`);
}
