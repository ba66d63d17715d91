import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { removeTree } from "./remove-tree.ts";

/** A directory that goes away at the end of the block: `await using dir = await tempDir("gantry-")`. */
export interface TempDir extends AsyncDisposable {
  readonly path: string;
}

/** Makes a private (0700) directory below `parent` (default: the system's place for temporary files). */
export async function tempDir(prefix: string, parent: string = tmpdir()): Promise<TempDir> {
  const path = await mkdtemp(join(parent, prefix));
  return { path, [Symbol.asyncDispose]: () => removeTree(path) };
}
