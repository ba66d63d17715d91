/** Files of a snapshot that nobody has written to yet, read in its layers: a mount and an unmount less. */
import { lstatSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Mount } from "../../core/mounts/mount.ts";
import { readFileInRoot } from "../../platform/fs/read-in-root.ts";
import { llistxattr } from "../../platform/syscalls/xattr.ts";

/** A file's content; `undefined` when the snapshot has no such file. */
export interface LayerFile {
  readonly bytes: Uint8Array | undefined;
}

/**
 * Layers of an overlay that was made just now, upper first; undefined for other mounts and for paths that hold escapes.
 * The folder for changes is left out: it is empty.
 */
export function layersOf(mounts: readonly Mount[]): readonly string[] | undefined {
  const [mount] = mounts;
  if (mounts.length !== 1 || mount === undefined || mount.type !== "overlay" || mount.target !== "")
    return undefined;
  const values = mount.options.filter((option) => option.startsWith("lowerdir="));
  const layers = values[0]?.slice("lowerdir=".length).split(":") ?? [];
  // "::" divides layers of data only, "\" escapes
  const plain = layers.every((layer) => layer.startsWith("/") && !layer.includes("\\"));
  return values.length === 1 && layers.length > 0 && plain ? layers : undefined;
}

/**
 * Reads FOLDER/NAME ("etc/passwd") as overlayfs would show it.
 * @returns undefined when only a mount can tell: a whiteout, a link or an overlay's mark in the way
 * @throws as readFileInRoot
 */
export function readInLayers(layers: readonly string[], path: string, limit: number): LayerFile | undefined {
  const folder = dirname(path);
  for (const [index, layer] of layers.entries()) {
    const place = join(layer, folder);
    const above = lstatSync(place, { throwIfNoEntry: false });
    if (above === undefined) continue;
    if (!above.isDirectory()) return undefined;
    const found = lstatSync(join(layer, path), { throwIfNoEntry: false });
    if (found?.isFile() === true) return { bytes: readFileInRoot(layer, path, limit) };
    if (found !== undefined) return undefined;
    // an opaque folder hides those below, a moved one is elsewhere there
    if (index < layers.length - 1 && llistxattr(place).some((name) => name.includes(".overlay.")))
      return undefined;
  }
  return { bytes: undefined };
}
