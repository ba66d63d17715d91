/** Images by name straight from the store: what starts a pod before `images/` is there. */
import type { NamespacedCall } from "../core/call.ts";
import { notFound } from "../core/errors.ts";
import type { Digest } from "../core/ids/digest.ts";
import type { MetadataStore } from "../core/plugin/kinds.ts";
import type { ImageTransfer } from "../core/transfer/transfer.ts";
import { concatBytes } from "../lib/bytes.ts";
import { chainIds } from "../oci/chain-id.ts";
import { parseImageConfig, parseManifestOrIndex } from "../oci/documents.ts";
import { hostPlatform, matchOnly } from "../oci/platform.ts";
import type { CriImage, CriImages } from "./model.ts";

export function basicImages(metadata: MetadataStore, transfer: ImageTransfer): CriImages {
  const read = async (call: NamespacedCall, digest: Digest): Promise<Uint8Array> => {
    await using reader = await metadata.content.reader(call, digest);
    const parts: Uint8Array[] = [];
    for await (const part of reader.stream()) parts.push(part);
    return concatBytes(parts);
  };
  const resolve = async (call: NamespacedCall, reference: string): Promise<CriImage> => {
    const image = await metadata.images.get(call, reference);
    let target = image.target;
    for (;;) {
      const doc = await parseManifestOrIndex(await read(call, target.digest), target.mediaType);
      if (doc.kind === "manifest") {
        const config = await parseImageConfig(await read(call, doc.config.digest));
        const chainId = chainIds(config.diffIds).at(-1);
        if (chainId === undefined) throw notFound(`layers of image "${reference}"`);
        return { id: doc.config.digest, references: [reference], config, chainId, size: 0n };
      }
      const matcher = matchOnly(hostPlatform());
      const fit = doc.manifests.find((m) => m.platform === undefined || matcher.match(m.platform));
      if (fit === undefined) throw notFound(`image "${reference}" for this platform`);
      target = fit;
    }
  };
  return {
    resolve,
    async unpack() {},
    async pull(call, reference, snapshotter) {
      await transfer.pull(call, { reference, snapshotter });
      return await resolve(call, reference);
    },
  };
}
