import { Images, type Image as Wire } from "../api/gen/containerd/services/images/v1/images_pb.ts";
import { invalidArgument, messageOf } from "../core/errors.ts";
import { parseDigest } from "../core/ids/digest.ts";
import type { Image, ImageInput, ImageStore } from "../core/images/images.ts";
import { fieldPaths, fromLabels, fromStoredTime, toRecord, toTimestamp } from "../rpc/convert/basic.ts";
import { fromDescriptor, toDescriptor } from "../rpc/convert/oci.ts";
import { bindService, type ServiceBinding } from "../rpc/types.ts";

/** Images service. */
export function imagesService(store: ImageStore): ServiceBinding {
  return bindService(Images, {
    async get(request, { call }) {
      return { image: toWire(await store.get(call.namespaced(), request.name)) };
    },
    async list(request, { call }) {
      return { images: (await store.list(call.namespaced(), request.filters)).map(toWire) };
    },
    async create(request, { call }) {
      const image = fromWire(request.image);
      return {
        image: toWire(
          await store.create(
            call.namespaced(),
            image,
            fromStoredTime(request.sourceDateEpoch, "source date epoch"),
          ),
        ),
      };
    },
    async update(request, { call }) {
      const epoch = fromStoredTime(request.sourceDateEpoch, "source date epoch");
      const fields = fieldPaths(request.updateMask);
      const wire = request.image;
      // clients that change only labels send no target
      const image =
        wire !== undefined && (wire.target?.digest ?? "") === "" && !changesTarget(fields)
          ? {
              name: wire.name,
              labels: fromLabels(wire.labels),
              target: (await store.get(call.namespaced(), wire.name)).target,
            }
          : fromWire(wire);
      return { image: toWire(await store.update(call.namespaced(), image, fields, epoch)) };
    },
    async delete(request, { call }) {
      const target = request.target === undefined ? undefined : parseDigest(request.target.digest);
      await store.delete(call.namespaced(), request.name, { sync: request.sync, target });
      return {};
    },
  });
}

/** No fields at all means labels and target. */
function changesTarget(fields: readonly string[]): boolean {
  return fields.length === 0 || fields.some((field) => !/^labels(\.|$)/.test(field));
}

function toWire(i: Image) {
  return {
    name: i.name,
    labels: toRecord(i.labels),
    target: toDescriptor(i.target),
    createdAt: toTimestamp(i.createdAt),
    updatedAt: toTimestamp(i.updatedAt),
  };
}

function fromWire(i: Wire | undefined): ImageInput {
  if (i === undefined) throw invalidArgument("image is required");
  try {
    if (i.target !== undefined) parseDigest(i.target.digest);
  } catch (err) {
    // containerd's wording, which clients match
    throw invalidArgument(`target.Digest "${i.target?.digest}" invalid: ${messageOf(err)}`);
  }
  return {
    name: i.name,
    labels: fromLabels(i.labels),
    target: fromDescriptor(i.target, `image "${i.name}"`),
  };
}
