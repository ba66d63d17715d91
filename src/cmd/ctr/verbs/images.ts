/** images list, delete, tag, label, usage, prune: what needs only the records. */

import { containersClient } from "../../../client/containers.ts";
import { contentClient } from "../../../client/content.ts";
import { imagesClient } from "../../../client/images.ts";
import { snapshotterClient } from "../../../client/snapshots.ts";
import { alreadyExists, isAlreadyExists, isNotFound, messageOf, notFound } from "../../../core/errors.ts";
import type { Image } from "../../../core/images/images.ts";
import { formatSize } from "../../../lib/human.ts";
import { formatPlatform, hostPlatform } from "../../../oci/platform.ts";
import { parseReference } from "../../../oci/reference.ts";
import { toStderr, toStdout } from "../../shared/output.ts";
import type { Action } from "../command.ts";
import { labelsOf, need } from "../context.ts";
import { chainIdOf, resolveImage } from "../image-config.ts";
import { ImageContent } from "../image-content.ts";
import { snapshotterName } from "../snapshotter-name.ts";
import { formatLabels, renderTable } from "../table.ts";

export const list: Action = async (context, args, options) => {
  await using transport = context.connect();
  const call = context.call();
  const all = await imagesClient(transport).list(call, args);
  if (options["quiet"] === true) {
    toStdout(all.map((i) => `${i.name}\n`).join(""));
    return 0;
  }
  const content = new ImageContent(contentClient(transport), call);
  const rows = await Promise.all(all.map((image) => row(content, image)));
  toStdout(renderTable(["REF", "TYPE", "DIGEST", "SIZE", "PLATFORMS", "LABELS"], rows));
  return 0;
};

/** An image whose content is missing still has a row. */
async function row(content: ImageContent, image: Image): Promise<string[]> {
  const { target } = image;
  const size = await content.size(target).catch((err: unknown) => {
    toStderr(`ctr: failed calculating size for image ${image.name}: ${messageOf(err)}\n`);
    return 0n;
  });
  const platforms = await content.platforms(target).catch((err: unknown) => {
    toStderr(`ctr: failed resolving platform for image ${image.name}: ${messageOf(err)}\n`);
    return [];
  });
  const names = [...new Set(platforms.map(formatPlatform))].sort();
  return [
    image.name,
    target.mediaType,
    target.digest,
    formatSize(size),
    names.length === 0 ? "-" : names.join(","),
    formatLabels(image.labels),
  ];
}

export const remove: Action = async (context, args, options) => {
  await using transport = context.connect();
  const call = context.call();
  need(args, 0, "image ref");
  let code = 0;
  for (const [i, ref] of args.entries()) {
    try {
      // only the last one waits for the collection
      const sync = options["sync"] === true && i === args.length - 1;
      await imagesClient(transport).delete(call, ref, { sync });
      toStdout(`${ref}\n`);
    } catch (err) {
      if (isNotFound(err)) {
        // containerd's client warns and succeeds: scripts rely on it
        toStderr(`ctr: ${ref}: image not found\n`);
        continue;
      }
      toStderr(`ctr: unable to delete ${ref}: ${messageOf(err)}\n`);
      code = 1;
    }
  }
  return code;
};

/**
 * `ctr delete REF`, as documents for people who come from Docker write it. No image of that name is an error here: people may
 * mean a container.
 */
export const removeShort: Action = async (context, args, options) => {
  {
    await using transport = context.connect();
    const images = imagesClient(transport);
    const call = context.call();
    for (const ref of args)
      await images.get(call, ref).catch(async (err: unknown) => {
        if (!isNotFound(err)) throw err;
        const isContainer = await containersClient(transport)
          .get(call, ref)
          .then(
            () => true,
            () => false,
          );
        throw notFound(`image "${ref}"`, {
          hint: isContainer
            ? `there is a container of that name: ctr containers delete ${ref}`
            : "see ctr images ls -q",
        });
      });
  }
  return await remove(context, args, options);
};

export const tag: Action = async (context, args, options) => {
  await using transport = context.connect();
  const call = context.call();
  const images = imagesClient(transport);
  const source = need(args, 0, "source image ref");
  need(args, 1, "target image ref");
  const image = await images.get(call, source).catch((err: unknown) => {
    throw isNotFound(err) ? notFound(`image "${source}"`, { hint: "see ctr images ls -q" }) : err;
  });
  for (const name of args.slice(1)) {
    if (options["skipReferenceCheck"] !== true) parseReference(name);
    const input = { name, labels: image.labels, target: image.target };
    try {
      await images.create(call, input);
    } catch (err) {
      if (!isAlreadyExists(err)) throw err;
      if (options["force"] !== true)
        throw alreadyExists(`image "${name}"`, { hint: "add --force to move the name" });
      await images.delete(call, name);
      await images.create(call, input);
    }
    toStdout(`${name}\n`);
  }
  return 0;
};

export const label: Action = async (context, args, options) => {
  await using transport = context.connect();
  const call = context.call();
  const images = imagesClient(transport);
  const name = need(args, 0, "image name");
  const labels = labelsOf(args.slice(1));
  const image = await images.get(call, name);
  const fields = options["replaceAll"] === true ? ["labels"] : [...labels.keys()].map((k) => `labels.${k}`);
  const next =
    fields.length === 0 ? image : await images.update(call, { name, target: image.target, labels }, fields);
  toStdout(`${formatLabels(next.labels, "")}\n`);
  return 0;
};

export const usage: Action = async (context, args, options) => {
  await using transport = context.connect();
  const call = context.call();
  const image = await imagesClient(transport).get(call, need(args, 0, "image ref"));
  const name = await snapshotterName(transport, call, options);
  const resolved = await resolveImage(contentClient(transport), call, image.target, hostPlatform());
  const snapshots = snapshotterClient(transport, name);
  const rows: string[][] = [];
  let key: string = chainIdOf(resolved.diffIds) ?? "";
  while (key !== "") {
    const used = await snapshots.usage(call, key).catch((err: unknown) => {
      throw isNotFound(err)
        ? notFound(`snapshot of image "${image.name}" in snapshotter "${name}"`, {
            hint: `unpack it: ctr snapshots --snapshotter ${name} unpack ${image.target.digest}`,
          })
        : err;
    });
    rows.push([key, formatSize(used.size), String(used.inodes)]);
    key = (await snapshots.stat(call, key)).parent;
  }
  toStdout(renderTable(["KEY", "SIZE", "INODES"], rows));
  return 0;
};

export const prune: Action = async (context, _args, options) => {
  if (options["all"] !== true) {
    toStderr("ctr: no images pruned: `images prune` requires --all to be specified\n");
    return 0;
  }
  await using transport = context.connect();
  const call = context.call();
  const images = imagesClient(transport);
  const used = new Set((await containersClient(transport).list(call, [])).map((c) => c.image));
  const unused = (await images.list(call, [])).filter((i) => !used.has(i.name));
  for (const [i, image] of unused.entries()) {
    try {
      await images.delete(call, image.name, { sync: i === unused.length - 1 });
      toStdout(`deleted image: ${image.name}\n`);
    } catch (err) {
      if (!isNotFound(err)) throw err;
    }
  }
  return 0;
};
