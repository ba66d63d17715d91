/** ImageStore over the images service. */
import { Images, type Image as Wire } from "../api/gen/containerd/services/images/v1/images_pb.ts";
import { internal } from "../core/errors.ts";
import type { Image, ImageInput, ImageStore } from "../core/images/images.ts";
import { createClient } from "../rpc/client.ts";
import { fromLabels, fromTimestamp, toRecord, toTimestamp } from "../rpc/convert/basic.ts";
import { fromDescriptor, toDescriptor } from "../rpc/convert/oci.ts";
import { callOptions } from "../rpc/headers.ts";
import type { Transport } from "../rpc/types.ts";

/** Makes the store. */
export function imagesClient(transport: Transport): ImageStore {
  const client = createClient(Images, transport);
  return {
    async get(call, name) {
      return fromWire((await client.get({ name }, callOptions(call))).image);
    },
    async list(call, filters) {
      return (await client.list({ filters: [...filters] }, callOptions(call))).images.map(fromWire);
    },
    async create(call, image, epoch) {
      const request = {
        image: toWire(image),
        ...(epoch === undefined ? {} : { sourceDateEpoch: toTimestamp(epoch) }),
      };
      return fromWire((await client.create(request, callOptions(call))).image);
    },
    async update(call, image, fields, epoch) {
      const request = {
        image: toWire(image),
        ...(fields.length === 0 ? {} : { updateMask: { paths: [...fields] } }),
        ...(epoch === undefined ? {} : { sourceDateEpoch: toTimestamp(epoch) }),
      };
      return fromWire((await client.update(request, callOptions(call))).image);
    },
    async delete(call, name, options = {}) {
      const target = options.target === undefined ? {} : { target: { digest: options.target } };
      await client.delete({ name, sync: options.sync ?? false, ...target }, callOptions(call));
    },
  };
}

function toWire(i: ImageInput) {
  return { name: i.name, labels: toRecord(i.labels), target: toDescriptor(i.target) };
}

function fromWire(i: Wire | undefined): Image {
  if (i === undefined) throw internal("read image: empty answer");
  return {
    name: i.name,
    labels: fromLabels(i.labels),
    target: fromDescriptor(i.target, `image "${i.name}"`),
    createdAt: fromTimestamp(i.createdAt),
    updatedAt: fromTimestamp(i.updatedAt),
  };
}
