/** What the mounts of a snapshot mean for the differ: mostly a directory that can be used without mounting. */
import { failedPrecondition } from "../../core/errors.ts";
import type { Mount } from "../../core/mounts/mount.ts";
import type { Destination, FinishInstruction } from "./helper/protocol.ts";

/** Layers of an overlay mount. */
export interface OverlayLayers {
  readonly upper: string | undefined;
  /** Nearest first. */
  readonly lowers: readonly string[];
  readonly userxattr: boolean;
}

/** Splits a lowerdir list; `\:` and `\\` are escapes of the kernel's. */
function splitLowers(value: string): string[] {
  const parts: string[] = [""];
  for (let i = 0; i < value.length; i++) {
    const c = value[i] ?? "";
    if (c === ":") parts.push("");
    else {
      const escaped = c === "\\" && i + 1 < value.length;
      if (escaped) i++;
      parts[parts.length - 1] += escaped ? (value[i] ?? "") : c;
    }
  }
  return parts.filter((part) => part !== "");
}

/** The layers of an overlay mount's options. */
function overlayLayers(mount: Mount): OverlayLayers {
  let upper: string | undefined;
  const lowers: string[] = [];
  for (const option of mount.options) {
    if (option.startsWith("upperdir=")) upper = option.slice("upperdir=".length);
    else if (option.startsWith("lowerdir=")) lowers.push(...splitLowers(option.slice("lowerdir=".length)));
    else if (option.startsWith("lowerdir+=")) lowers.push(option.slice("lowerdir+=".length));
  }
  return { upper, lowers, userxattr: mount.options.includes("userxattr") };
}

/** True for bind mounts in any of their spellings. */
function isBind(mount: Mount): boolean {
  return mount.type === "bind" || mount.options.includes("bind") || mount.options.includes("rbind");
}

/** The directory that one mount shows as it is, when it is a plain bind. */
export function bindSource(mounts: readonly Mount[]): string | undefined {
  const [mount] = mounts;
  return mounts.length === 1 && mount !== undefined && isBind(mount) && mount.target === ""
    ? mount.source
    : undefined;
}

/** The overlay mount, when that is all there is. */
export function onlyOverlay(mounts: readonly Mount[]): OverlayLayers | undefined {
  const [mount] = mounts;
  return mounts.length === 1 && mount?.type === "overlay" && mount.target === ""
    ? overlayLayers(mount)
    : undefined;
}

/**
 * Where a layer for `mounts` is unpacked.
 * @throws failed-precondition when they are read-only
 */
export function destinationOf(mounts: readonly Mount[]): Destination {
  if (mounts.length === 0) throw failedPrecondition("unpack layer: snapshot has no mounts");
  const overlay = onlyOverlay(mounts);
  if (overlay !== undefined) {
    if (overlay.upper === undefined) throw failedPrecondition("unpack layer: snapshot is read-only");
    return { kind: "directory", path: overlay.upper, whiteouts: "defer" };
  }
  const source = bindSource(mounts);
  if (source === undefined) return { kind: "mounts", path: "", mounts, whiteouts: "auto" };
  if (mounts[0]?.options.includes("ro") === true)
    throw failedPrecondition("unpack layer: snapshot is read-only");
  return { kind: "directory", path: source, whiteouts: "auto" };
}

/** How a layer for `mounts` is completed. */
export function finishOf(mounts: readonly Mount[], sync: boolean): FinishInstruction {
  const overlay = onlyOverlay(mounts);
  return overlay === undefined
    ? { style: "plain", overlayXattr: "trusted", parents: [], sync }
    : {
        style: "overlay",
        overlayXattr: overlay.userxattr ? "user" : "trusted",
        parents: overlay.lowers,
        sync,
      };
}
