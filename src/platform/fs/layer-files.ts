/** Files of a snapshot that nobody has written to yet, read in its layers: a mount and an unmount less. */
import { lstatSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Mount } from "../mounts/options.ts";
import { llistxattr } from "../syscalls/xattr.ts";
import { readFileInRoot } from "./read-in-root.ts";

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
  if (mounts.length !== 1 || mount === undefined || mount.type !== "overlay" || (mount.target ?? "") !== "")
    return undefined;
  const values = mount.options.filter((option) => option.startsWith("lowerdir="));
  const layers = values[0]?.slice("lowerdir=".length).split(":") ?? [];
  // "::" divides layers of data only, "\" escapes
  const plain = layers.every((layer) => layer.startsWith("/") && !layer.includes("\\"));
  return values.length === 1 && layers.length > 0 && plain ? layers : undefined;
}

/** Whether a name in the root ("proc") is a folder or missing; false when only a mount can tell, as for {@link readInLayers}. */
export function isFolderOrMissing(layers: readonly string[], name: string): boolean {
  for (const [index, layer] of layers.entries()) {
    const found = lstatSync(join(layer, name), { throwIfNoEntry: false });
    if (found !== undefined) return found.isDirectory();
    if (index < layers.length - 1 && isMarked(layer)) return false;
  }
  return true;
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
    if (index < layers.length - 1 && isMarked(place)) return undefined;
  }
  return { bytes: undefined };
}

function isMarked(folder: string): boolean {
  return llistxattr(folder).some((name) => name.includes(".overlay."));
}
