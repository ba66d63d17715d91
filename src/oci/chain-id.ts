import { createHash } from "node:crypto";
import type { ChainId, Digest } from "../core/ids/digest.ts";

/** Chain ids of all prefixes of `diffIds` (image-spec config.md "Layer ChainID"): `out[i]` names layers 0..i. */
export function chainIds(diffIds: readonly Digest[]): ChainId[] {
  const out: ChainId[] = [];
  for (const diffId of diffIds) {
    const parent = out.at(-1);
    out.push(
      parent === undefined
        ? diffId
        : (`sha256:${createHash("sha256").update(`${parent} ${diffId}`).digest("hex")}` as ChainId),
    );
  }
  return out;
}
