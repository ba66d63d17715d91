/** Conversions of descriptors, platforms and mounts. */
import type { Descriptor as WireDescriptor } from "../../api/gen/containerd/types/descriptor_pb.ts";
import type { Mount as WireMount } from "../../api/gen/containerd/types/mount_pb.ts";
import type { Platform as WirePlatform } from "../../api/gen/containerd/types/platform_pb.ts";
import { invalidArgument } from "../../core/errors.ts";
import { parseDigest } from "../../core/ids/digest.ts";
import type { Mount } from "../../core/mounts/mount.ts";
import type { Descriptor, Platform } from "../../core/oci.ts";
import { toRecord } from "./basic.ts";

/** Wire form of a descriptor. */
export interface DescriptorInit {
  mediaType: string;
  digest: string;
  size: bigint;
  annotations: Record<string, string>;
}

export function toDescriptor(d: Descriptor): DescriptorInit {
  return {
    mediaType: d.mediaType,
    digest: d.digest,
    size: d.size,
    annotations: toRecord(d.annotations ?? new Map<string, string>()),
  };
}

/** @throws invalid-argument on a missing descriptor or a bad digest */
export function fromDescriptor(d: WireDescriptor | undefined, what: string): Descriptor {
  if (d === undefined) throw invalidArgument(`${what}: descriptor is required`);
  const annotations = new Map(Object.entries(d.annotations));
  return {
    mediaType: d.mediaType,
    digest: parseDigest(d.digest),
    size: d.size,
    ...(annotations.size > 0 ? { annotations } : {}),
  };
}

/** Wire form of a platform. */
export interface PlatformInit {
  os: string;
  architecture: string;
  variant: string;
  osVersion: string;
  osFeatures: string[];
}

export function toPlatform(p: Platform): PlatformInit {
  return {
    os: p.os,
    architecture: p.architecture,
    variant: p.variant ?? "",
    osVersion: p.osVersion ?? "",
    osFeatures: [...(p.osFeatures ?? [])],
  };
}

export function fromPlatform(p: WirePlatform): Platform {
  return {
    os: p.os,
    architecture: p.architecture,
    ...(p.variant === "" ? {} : { variant: p.variant }),
    ...(p.osVersion === "" ? {} : { osVersion: p.osVersion }),
    ...(p.osFeatures.length === 0 ? {} : { osFeatures: p.osFeatures }),
  };
}

/** Wire form of a mount. */
export interface MountInit {
  type: string;
  source: string;
  target: string;
  options: string[];
}

export function toMount(m: Mount): MountInit {
  return { type: m.type, source: m.source, target: m.target, options: [...m.options] };
}

export function fromMount(m: WireMount): Mount {
  return { type: m.type, source: m.source, target: m.target, options: m.options };
}
