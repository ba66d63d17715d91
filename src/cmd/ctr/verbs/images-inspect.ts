/** images inspect: an image and its blobs as a tree, or as JSON. */

import { contentClient } from "../../../client/content.ts";
import { imagesClient } from "../../../client/images.ts";
import { invalidArgument, isNotFound, notFound } from "../../../core/errors.ts";
import type { Image } from "../../../core/images/images.ts";
import type { Descriptor } from "../../../core/oci.ts";
import { formatRfc3339 } from "../../../lib/time.ts";
import { isConfigType, isIndexType, isManifestType } from "../../../oci/media-types.ts";
import { formatPlatform } from "../../../oci/platform.ts";
import { toStdout } from "../../shared/output.ts";
import type { Action } from "../command.ts";
import { need, textOf } from "../context.ts";
import { ImageContent } from "../image-content.ts";
import { toJson } from "../table.ts";

export const inspect: Action = async (context, args, options) => {
  await using transport = context.connect();
  const call = context.call();
  const name = need(args, 0, "image ref");
  const format = textOf(options, "output");
  if (format !== "" && format !== "json" && format !== "tree")
    throw invalidArgument(`output format "${format}": use json or tree`);
  const image = await imagesClient(transport)
    .get(call, name)
    .catch((err: unknown) => {
      throw isNotFound(err) ? notFound(`image "${name}"`, { hint: "see ctr images ls -q" }) : err;
    });
  const content = new ImageContent(contentClient(transport), call);
  if (format === "json") toStdout(toJson({ ...plain(image), Content: await tree(content, image.target) }));
  else toStdout(`${(await lines(content, image, options["content"] === true)).join("\n")}\n`);
  return 0;
};

function plain(image: Image): Record<string, unknown> {
  return {
    Name: image.name,
    Labels: image.labels,
    CreatedAt: formatRfc3339(image.createdAt),
    UpdatedAt: formatRfc3339(image.updatedAt),
  };
}

/** A descriptor with its document (for JSON kinds) and its children. */
async function tree(content: ImageContent, desc: Descriptor): Promise<Record<string, unknown>> {
  const there = await content.stored(desc.digest);
  const children = there ? await content.children(desc) : [];
  return {
    MediaType: desc.mediaType,
    Digest: desc.digest,
    Size: desc.size,
    Platform: desc.platform === undefined ? undefined : formatPlatform(desc.platform),
    Stored: there,
    Document: there && isDocument(desc) ? await content.read(desc.digest) : undefined,
    Children: children.length === 0 ? undefined : await Promise.all(children.map((c) => tree(content, c))),
  };
}

function isDocument(desc: Descriptor): boolean {
  return isIndexType(desc.mediaType) || isManifestType(desc.mediaType) || isConfigType(desc.mediaType);
}

async function lines(content: ImageContent, image: Image, documents: boolean): Promise<string[]> {
  const out = [
    image.name,
    `│    Created: ${formatRfc3339(image.createdAt)}`,
    `│    Updated: ${formatRfc3339(image.updatedAt)}`,
    ...[...image.labels].sort().map(([k, v]) => `│    Label ${JSON.stringify(k)}: ${JSON.stringify(v)}`),
  ];
  await branch(content, image.target, { first: "└── ", rest: "    " }, documents, out);
  return out;
}

async function branch(
  content: ImageContent,
  desc: Descriptor,
  indent: { readonly first: string; readonly rest: string },
  documents: boolean,
  out: string[],
): Promise<void> {
  const there = await content.stored(desc.digest);
  const missing = there ? "" : " (not stored)";
  out.push(`${indent.first}${desc.mediaType} @${desc.digest} (${desc.size} bytes)${missing}`);
  const children = there ? await content.children(desc) : [];
  const inner = `${indent.rest}${children.length > 0 ? "│   " : "    "}`;
  if (desc.platform !== undefined) out.push(`${inner} Platform: ${formatPlatform(desc.platform)}`);
  if (documents && there && isDocument(desc)) {
    const json = JSON.stringify(await content.read(desc.digest), undefined, 4);
    out.push(`${inner} Content:`, ...json.split("\n").map((line) => `${inner}  ${line}`));
  }
  for (const [i, child] of children.entries()) {
    const last = i === children.length - 1;
    const next = {
      first: `${indent.rest}${last ? "└── " : "├── "}`,
      rest: `${indent.rest}${last ? "    " : "│   "}`,
    };
    await branch(content, child, next, documents, out);
  }
}
