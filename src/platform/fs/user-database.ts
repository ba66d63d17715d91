/** Reads the user database of an image: in the layers of a snapshot made just now, or in a root. */
import { readInLayers } from "./layer-files.ts";
import { readFileInRoot } from "./read-in-root.ts";

/** Texts of the files; undefined for one that is not there. */
export interface UserFiles {
  readonly passwd: string | undefined;
  readonly group: string | undefined;
}

/** Largest user database read. Bytes (S24). */
const MAX_DATABASE = 10 << 20;

/**
 * @returns undefined when only a mount can tell
 * @throws as readFileInRoot
 */
export function databaseInLayers(layers: readonly string[]): UserFiles | undefined {
  const passwd = readInLayers(layers, "etc/passwd", MAX_DATABASE);
  const group = readInLayers(layers, "etc/group", MAX_DATABASE);
  if (passwd === undefined || group === undefined) return undefined;
  return { passwd: textOf(passwd.bytes), group: textOf(group.bytes) };
}

/** @param unreadable says what stands for a file that cannot be read, or throws */
export function databaseInRoot(
  root: string,
  unreadable: (path: string, err: unknown) => undefined,
): UserFiles {
  const read = (path: string): string | undefined => {
    try {
      return textOf(readFileInRoot(root, path, MAX_DATABASE));
    } catch (err) {
      return unreadable(path, err);
    }
  };
  return { passwd: read("/etc/passwd"), group: read("/etc/group") };
}

function textOf(bytes: Uint8Array | undefined): string | undefined {
  return bytes === undefined ? undefined : new TextDecoder().decode(bytes);
}
