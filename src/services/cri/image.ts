/** CRI's ImageService. */
import type { MessageInitShape } from "@bufbuild/protobuf";
import {
  type FilesystemUsageSchema,
  type ImageSchema,
  ImageService,
  type ImageSpec,
} from "../../api/gen/cri/runtime/v1/api_pb.ts";
import { invalidArgument, isNotFound } from "../../core/errors.ts";
import type { Cri } from "../../cri/cri.ts";
import { authFor } from "../../cri/images/auth.ts";
import { FsUsage } from "../../cri/images/fs-usage.ts";
import { type IndexedImage, matches, splitReferences } from "../../cri/images/image-index.ts";
import type { CriImageService } from "../../cri/images/service.ts";
import { nowNs } from "../../lib/time.ts";
import { bindService, type ServiceBinding } from "../../rpc/types.ts";

type Wire = MessageInitShape<typeof ImageSchema>;

/** Images in one message of a stream. */
const BATCH = 5000;
/** Largest numeric user that CRI can tell. */
const MAX_INT64 = 2n ** 63n - 1n;

/** The service over the images of `cri`. */
export function imageService(cri: Pick<Cri, "deps" | "images">): ServiceBinding {
  const { deps, images } = cri;
  const usage = new FsUsage(deps.call, deps.metadata.snapshotters, deps.imagesConfig.statsCollectPeriod);
  const list = (spec: ImageSpec | undefined): Wire[] => {
    const wanted = spec?.image ?? "";
    const all = images.list();
    return (wanted === "" ? all : all.filter((image) => matches(image, wanted))).map(toImage);
  };
  return bindService(ImageService, {
    listImages(request) {
      return { images: list(request.filter?.image) };
    },
    async *streamImages(request) {
      const all = list(request.filter?.image);
      for (let at = 0; at < all.length; at += BATCH) yield { images: all.slice(at, at + BATCH) };
    },
    async imageStatus(request) {
      let image: IndexedImage;
      try {
        image = images.find(request.image?.image ?? "");
      } catch (err) {
        // CRI: no image in the answer, no error
        if (isNotFound(err)) return {};
        throw err;
      }
      return { image: toImage(image), info: request.verbose ? await verboseInfo(images, image) : {} };
    },
    async pullImage(request, { call }) {
      const reference = request.image?.image ?? "";
      if (reference === "") throw invalidArgument("pull image: no image given");
      const handler =
        request.image?.runtimeHandler ||
        request.sandboxConfig?.annotations["io.containerd.cri.runtime-handler"] ||
        "";
      const imageRef = await images.pullImage(
        call.with({ namespace: deps.call.namespace }).in(deps.call.namespace),
        {
          reference,
          auth: authFor(request.auth, reference),
          snapshotter: snapshotterOf(cri, handler),
        },
      );
      return { imageRef };
    },
    async removeImage(request) {
      const reference = request.image?.image ?? "";
      if (reference === "") throw invalidArgument("remove image: no image given");
      await images.remove(deps.call, reference);
      return {};
    },
    async imageFsInfo() {
      const { snapshotter: standard } = deps.imagesConfig;
      const all = await usage.get();
      const own = all.find((u) => u.snapshotter === standard);
      const others = all.filter((u) => u !== own);
      const first = own ?? { snapshotter: standard, size: 0n, inodes: 0n, at: nowNs() };
      // the kubelet looks at the first one only
      return {
        imageFilesystems: [first, ...others].map((u) => toUsage(deps.snapshotterRoot(u.snapshotter), u)),
      };
    },
  });
}

function snapshotterOf({ deps }: Pick<Cri, "deps">, handler: string): string {
  const named = deps.imagesConfig.runtimePlatforms.get(handler)?.snapshotter ?? "";
  const own = deps.config.handlers.get(handler)?.snapshotter ?? "";
  return named || own || deps.imagesConfig.snapshotter;
}

function toImage(image: IndexedImage): Wire {
  const { tags, digests } = splitReferences(image.references);
  const [user = ""] = (image.config?.config.user ?? "").split(":");
  const uid = /^\d{1,19}$/.test(user) && BigInt(user) <= MAX_INT64 ? BigInt(user) : undefined;
  return {
    id: image.id,
    repoTags: tags,
    repoDigests: digests,
    size: image.size,
    ...(uid === undefined ? {} : { uid: { value: uid } }),
    username: uid === undefined ? user : "",
    pinned: image.pinned,
  };
}

async function verboseInfo(images: CriImageService, image: IndexedImage): Promise<Record<string, string>> {
  const text = await images.configText(image);
  const imageSpec: unknown = JSON.parse(text);
  return { info: JSON.stringify({ chainID: image.chainId ?? "", imageSpec }) };
}

function toUsage(
  mountpoint: string,
  u: { size: bigint; inodes: bigint; at: bigint },
): MessageInitShape<typeof FilesystemUsageSchema> {
  return {
    timestamp: u.at,
    fsId: { mountpoint },
    usedBytes: { value: u.size },
    inodesUsed: { value: u.inodes },
  };
}
