/** Artifacts as folders: one file for each layer. */
import { createWriteStream } from "node:fs";
import { mkdir, rename, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { pipeline } from "node:stream/promises";
import type { NamespacedCall } from "../../core/call.ts";
import type { ContentStore } from "../../core/content/content.ts";
import { invalidArgument } from "../../core/errors.ts";
import type { Descriptor } from "../../core/oci.ts";
import type { Manifest } from "../../oci/documents.ts";

/** Name of a layer's file, by the convention of tools that push files. */
const TITLE = "org.opencontainers.image.title";

/**
 * Writes the layers of an artifact below `folder`; what is there already stays.
 * @throws invalid-argument for names that lead out or are there twice
 */
export async function writeArtifact(
  content: ContentStore,
  call: NamespacedCall,
  manifest: Manifest,
  folder: string,
): Promise<void> {
  const seen = new Set<string>();
  for (const layer of manifest.layers) {
    const name = fileName(layer);
    if (seen.has(name)) throw invalidArgument(`artifact: two layers have the name "${name}"`);
    seen.add(name);
    const path = join(folder, name);
    if ((await stat(path).catch(() => undefined)) !== undefined) continue;
    await mkdir(dirname(path), { recursive: true, mode: 0o755 });
    await using reader = await content.reader(call, layer.digest);
    // whole or not at all: a later container of the pod takes what is there
    const part = `${path}.part`;
    await pipeline(reader.stream(), createWriteStream(part, { mode: 0o644 }), { signal: call.signal });
    await rename(part, path);
  }
}

/** The title, a relative path; without one the digest. */
function fileName(layer: Descriptor): string {
  const title = layer.annotations?.get(TITLE) ?? "";
  if (title === "") return layer.digest.replace(":", "-");
  const parts = title.split("/");
  if (title.includes("\0") || parts.some((part) => part === "" || part === "." || part === ".."))
    throw invalidArgument(`artifact: the name "${title}" of layer ${layer.digest} is not usable`);
  return title;
}
