import type { ChainId, Digest } from "../core/ids/digest.ts";
import { createHash } from "../lib/hash.ts";

const hashed = (text: string): string => createHash("sha256").update(text).digest("hex");

/** Chain ids of all prefixes of `diffIds` (image-spec config.md "Layer ChainID"): `out[i]` names layers 0..i. `sha256` in hexadecimal digits. */
export function chainIds(diffIds: readonly Digest[], sha256: (text: string) => string = hashed): ChainId[] {
  const out: ChainId[] = [];
  for (const diffId of diffIds) {
    const parent = out.at(-1);
    out.push(parent === undefined ? diffId : (`sha256:${sha256(`${parent} ${diffId}`)}` as ChainId));
  }
  return out;
}
