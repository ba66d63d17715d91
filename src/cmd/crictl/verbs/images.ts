/** images, inspecti, rmi, imagefsinfo. */
import {
  type FilesystemUsage,
  type Image,
  ImageFsInfoResponseSchema,
  ImageSchema,
  ListImagesResponseSchema,
} from "../../../api/gen/cri/runtime/v1/api_pb.ts";
import { invalidArgument, messageOf, notFound, wrap } from "../../../core/errors.ts";
import { formatSizeSi } from "../../../lib/human.ts";
import type { Action } from "../command.ts";
import type { CriContext } from "../context.ts";
import { format, list, nothing, on, text, untruncated } from "../options.ts";
import { LIST_FORMATS, STATUS_FORMATS } from "../output/formats.ts";
import type { StatusData } from "../output/structured.ts";
import { infoLine, renderTable, shortId } from "../output/table.ts";
import { writeMessage } from "../output/write.ts";
import { filterImages, nameAndDigest, namesAndTags, sortImages } from "./image-list.ts";
import { forAll } from "./parallel.ts";

async function listImages(cri: CriContext, name: string, filters: readonly string[]): Promise<Image[]> {
  const { images: found } = await (await cri.images()).listImages(
    { filter: { image: { image: name } } },
    cri.options(),
  );
  return filterImages(sortImages(found), filters);
}

export const images: Action = async (context, args, options) => {
  await using cri = context;
  const out = format(options, LIST_FORMATS, "table");
  const found = await listImages(cri, args[0] ?? "", list(options, "filter")).catch((err: unknown) => {
    throw wrap(err, "listing images");
  });
  if (on(options, "quiet")) process.stdout.write(found.map((image) => `${image.id}\n`).join(""));
  else if (out !== "table")
    await writeMessage(
      ListImagesResponseSchema,
      { $typeName: "runtime.v1.ListImagesResponse", images: found },
      out,
    );
  else if (on(options, "verbose")) process.stdout.write(found.map(verbose).join(""));
  else {
    const [digests, pinned, whole] = [on(options, "digests"), on(options, "pinned"), untruncated(options)];
    const line = (
      name: string,
      tag: string,
      digest: string,
      rest: readonly string[],
      pin: string,
    ): string[] => [...[name, tag], ...(digests ? [digest] : []), ...rest, ...(pinned ? [pin] : [])];
    const rows = [line("IMAGE", "TAG", "DIGEST", ["IMAGE ID", "SIZE"], "PINNED")];
    for (const image of found) {
      const { name, digest } = nameAndDigest(image);
      const shown = whole
        ? { id: image.id, digest }
        : { id: shortId(image.id, "sha256:"), digest: shortId(digest, "sha256:") };
      for (const [repo, tag] of namesAndTags(image, name))
        rows.push(line(repo, tag, shown.digest, [shown.id, formatSizeSi(image.size)], String(image.pinned)));
    }
    process.stdout.write(renderTable(rows));
  }
  return 0;
};

function verbose(image: Image): string {
  const lines = [`ID: ${image.id}`];
  for (const tag of image.repoTags) lines.push(`RepoTags: ${tag}`);
  for (const digest of image.repoDigests) lines.push(`RepoDigests: ${digest}`);
  if (image.size !== 0n) lines.push(`Size: ${image.size}`);
  if (image.uid !== undefined) lines.push(`Uid: value:${image.uid.value}`);
  if (image.username !== "") lines.push(`Username: ${image.username}`);
  if (image.pinned) lines.push("Pinned: true");
  return `${lines.join("\n")}\n\n`;
}

export const inspecti: Action = async (context, args, options) => {
  await using cri = context;
  const out = format(options, STATUS_FORMATS, "json");
  const verbosely = !on(options, "quiet");
  const service = await cri.images();
  const ids =
    args.length > 0
      ? args
      : (await listImages(cri, text(options, "name"), list(options, "filter"))).map((i) => i.id);
  if (ids.length === 0) throw nothing("image");
  const { messageJson, writeStatuses } = await import("../output/structured.ts");
  const statuses: StatusData[] = [];
  for (const id of ids) {
    const answer = await service
      .imageStatus({ image: { image: id }, verbose: verbosely }, cri.options())
      .catch((err: unknown) => {
        throw wrap(err, `image status for "${id}" request`);
      });
    const { image, info } = answer;
    if (image === undefined)
      throw notFound(`no such image "${id}" present`, { hint: "crictl images lists what there is" });
    if (out !== "table") statuses.push({ status: messageJson(ImageSchema, image), info });
    else {
      const lines = [`ID: ${image.id}`];
      for (const tag of image.repoTags) lines.push(`Tag: ${tag}`);
      for (const digest of image.repoDigests) lines.push(`Digest: ${digest}`);
      lines.push(`Size: ${formatSizeSi(image.size)}`, "");
      process.stdout.write(lines.join("\n") + (verbosely ? infoLine(info) : ""));
    }
  }
  if (out !== "table") await writeStatuses(statuses, out, text(options, "template"));
  return 0;
};

export const rmi: Action = async (context, args, options) => {
  await using cri = context;
  const service = await cri.images();
  const [all, prune] = [on(options, "all"), on(options, "prune")];
  const ids = new Set(args);
  if (all || prune)
    for (const image of (await service.listImages({}, cri.options())).images)
      if (!prune || !image.pinned) ids.add(image.id);
  if (prune) for (const id of await usedImages(cri)) ids.delete(id);
  if (ids.size === 0) {
    if (!all && !prune)
      throw invalidArgument("no image is named", { hint: "name images, or use --all or --prune" });
    process.stderr.write("No images to remove\n");
  }
  await forAll([...ids], async (id) => {
    const { image } = await service
      .imageStatus({ image: { image: id } }, cri.options())
      .catch((err: unknown) => {
        throw wrap(err, `image status request for "${id}" failed`);
      });
    if (image === undefined)
      throw notFound(`no such image ${id}`, { hint: "crictl images lists what there is" });
    if (image.repoTags.length > 1 && !id.startsWith("sha256:") && /[:/]/.test(id))
      process.stderr.write(
        `crictl: image "${id}" has several tags; all are removed: ${image.repoTags.join(", ")}\n        (ctr -n k8s.io images rm removes a single one)\n`,
      );
    try {
      await service.removeImage({ image: { image: id } }, cri.options());
    } catch (err) {
      // somebody started to use it
      if (prune) return;
      throw wrap(err, `removing image "${id}"`);
    }
    const names = image.repoTags.length > 0 ? image.repoTags : image.repoDigests;
    process.stdout.write(names.map((name) => `Deleted: ${name}\n`).join(""));
  });
  return 0;
};

/** Ids of the images that containers use. */
async function usedImages(cri: CriContext): Promise<Set<string>> {
  const { containers } = await (await cri.runtime()).listContainers({}, cri.options());
  const service = await cri.images();
  const used = new Set<string>();
  for (const c of containers) {
    const name = c.image?.image ?? "";
    try {
      const { image } = await service.imageStatus({ image: { image: name } }, cri.options());
      if (image !== undefined) used.add(image.id);
    } catch (err) {
      // what it uses is not known: nothing may be removed for it
      throw wrap(err, `image of container "${c.id}": image status request for "${name}": ${messageOf(err)}`);
    }
  }
  return used;
}

export const imagefsinfo: Action = async (context, _args, options) => {
  await using cri = context;
  const out = format(options, STATUS_FORMATS, "json");
  const answer = await (await cri.images()).imageFsInfo({}, cri.options()).catch((err: unknown) => {
    throw wrap(err, "image filesystem info request");
  });
  if (out !== "table") {
    const { messageJson, writeStatuses } = await import("../output/structured.ts");
    const status = messageJson(ImageFsInfoResponseSchema, answer);
    await writeStatuses([{ status }], out, text(options, "template"));
    return 0;
  }
  const block = (label: string, systems: readonly FilesystemUsage[]): string =>
    `${label} Filesystem \n${systems
      .map(
        (fs, i) =>
          `TimeStamp[${i}]: ${fs.timestamp}\nDisk[${i}]: ${formatSizeSi(fs.usedBytes?.value ?? 0n, 4)}\nInodes[${i}]: ${fs.inodesUsed?.value ?? 0n}\nMountpoint[${i}]: ${fs.fsId?.mountpoint ?? ""}\n`,
      )
      .join("")}`;
  process.stdout.write(
    block("Container", answer.containerFilesystems) + block("Image", answer.imageFilesystems),
  );
  return 0;
};
