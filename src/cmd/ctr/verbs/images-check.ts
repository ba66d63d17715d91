/** images check: is everything there that an image needs on this machine. */

import { contentClient } from "../../../client/content.ts";
import { imagesClient } from "../../../client/images.ts";
import { snapshotterClient } from "../../../client/snapshots.ts";
import type { NamespacedCall } from "../../../core/call.ts";
import { isNotFound, messageOf } from "../../../core/errors.ts";
import type { Image } from "../../../core/images/images.ts";
import type { Snapshotter } from "../../../core/snapshots/snapshotter.ts";
import { formatSize } from "../../../lib/human.ts";
import { hostPlatform } from "../../../oci/platform.ts";
import { toStderr, toStdout } from "../../shared/output.ts";
import type { Action } from "../command.ts";
import { chainIdOf, resolveImage } from "../image-config.ts";
import { ImageContent } from "../image-content.ts";
import { snapshotterName } from "../snapshotter-name.ts";
import { renderTable } from "../table.ts";

const HEADERS = ["REF", "TYPE", "DIGEST", "STATUS", "SIZE", "UNPACKED"];

export const check: Action = async (context, args, options) => {
  await using transport = context.connect();
  const call = context.call();
  const store = contentClient(transport);
  const content = new ImageContent(store, call);
  const snapshots = snapshotterClient(transport, await snapshotterName(transport, call, options));
  let code = 0;
  const complain = (image: Image, err: unknown): void => {
    toStderr(`ctr: unable to check ${image.name}: ${messageOf(err)}\n`);
    code = 1;
  };
  const rows: string[][] = [];
  for (const image of await imagesClient(transport).list(call, args)) {
    const { status, size } = await state(content, image).catch((err: unknown) => {
      complain(image, err);
      return { status: "error", size: "-" };
    });
    const unpacked = await isUnpacked(snapshots, call, () =>
      resolveImage(store, call, image.target, hostPlatform()).then((r) => chainIdOf(r.diffIds)),
    ).catch((err: unknown) => {
      complain(image, err);
      return false;
    });
    if (options["quiet"] !== true)
      rows.push([image.name, image.target.mediaType, image.target.digest, status, size, String(unpacked)]);
    else if (status.startsWith("complete") && unpacked) rows.push([image.name]);
  }
  toStdout(
    options["quiet"] === true
      ? rows.map((r) => `${r[0]}\n`).join("")
      : // containerd's client does not pad the last column of rows here
        renderTable(HEADERS, rows).replace(/(true|false) +\n/g, "$1\n"),
  );
  return code;
};

async function state(content: ImageContent, image: Image): Promise<{ status: string; size: string }> {
  const found = await content.check(image.target);
  if (found === undefined) return { status: "unavailable (0/?)", size: `${formatSize(0)}/?` };
  const { required, present } = found;
  const sum = (list: readonly { size: bigint }[]): bigint => list.reduce((n, d) => n + d.size, 0n);
  const word = present.length === required.length ? "complete" : "incomplete";
  return {
    status: `${word} (${present.length}/${required.length})`,
    size: `${formatSize(sum(present))}/${formatSize(sum(required))}`,
  };
}

/** Whether the chain's top snapshot is there. Content that is missing is the other columns' news. */
async function isUnpacked(
  snapshots: Snapshotter,
  call: NamespacedCall,
  chain: () => Promise<string | undefined>,
): Promise<boolean> {
  try {
    const key = await chain();
    if (key === undefined) return true;
    await snapshots.stat(call, key);
    return true;
  } catch (err) {
    if (isNotFound(err)) return false;
    throw err;
  }
}
