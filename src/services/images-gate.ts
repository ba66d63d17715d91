/** Asks the image verifiers also for images that clients bring by themselves (pulls in nerdctl, `ctr` of containerd 1.x). */
import type { ImageStore } from "../core/images/images.ts";
import type { ImageVerifier } from "../core/transfer/transfer.ts";

/** `store`, with every new name and every new target checked. @throws permission-denied from create and update */
export function gatedImages(store: ImageStore, verifiers: Iterable<ImageVerifier>): ImageStore {
  const asked = [...verifiers].filter((v) => v.forClients === true);
  if (asked.length === 0) return store;
  return {
    get: store.get.bind(store),
    list: store.list.bind(store),
    delete: store.delete.bind(store),
    async create(call, image, epoch) {
      for (const verifier of asked) await verifier.verify(call, image.name, image.target);
      return store.create(call, image, epoch);
    },
    async update(call, image, fields, epoch) {
      const labelsOnly =
        fields.length > 0 && fields.every((field) => /^(labels|annotations)(\.|$)/.test(field));
      if (!labelsOnly) for (const verifier of asked) await verifier.verify(call, image.name, image.target);
      return store.update(call, image, fields, epoch);
    },
  };
}
