/** images build-erofs-cache: the layers of an image as EROFS files, named by their diff ids: DIR/sha256/HEX.erofs. */
import { existsSync } from "node:fs";
import { copyFile, mkdir, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { invalidArgument, notImplemented } from "../../../core/errors.ts";
import { algorithmOf, type Digest, hexOf } from "../../../core/ids/digest.ts";
import { hostPlatform, matchOnly, parsePlatform } from "../../../oci/platform.ts";
import { withLease } from "../../../plugins/transfer/context.ts";
import { manifestsOf, readConfig } from "../../../plugins/transfer/graph.ts";
import { refetch } from "../../../plugins/transfer/refetch.ts";
import { toStdout } from "../../shared/output.ts";
import type { Action } from "../command.ts";
import { need, textOf } from "../context.ts";
import { transferContext } from "../transfer-context.ts";
import { ErofsLayers, mkfsArguments } from "./erofs-layers.ts";

export const buildErofsCache: Action = async (context, args, options) => {
  const name = need(args, 0, "image reference");
  const dir = need(args, 1, "cache directory");
  if (options["dmverity"] === true)
    throw notImplemented("flag --dmverity", { hint: "layers are made without dm-verity data" });
  const mkfs = mkfsArguments(textOf(options, "compressors"), textOf(options, "mkfsOptions"));
  const wanted = textOf(options, "platform");
  const matcher = matchOnly(wanted === "" ? hostPlatform() : parsePlatform(wanted));
  await using transport = context.connect();
  const ctx = transferContext(transport);
  const image = await ctx.stores.images.get(context.call(), name);
  await withLease(ctx, context.call(), async (call) => {
    const [found] = await manifestsOf(ctx, call, image.target, matcher);
    if (found === undefined) throw invalidArgument(`image "${name}" has nothing for this platform`);
    const { diffIds } = await readConfig(ctx, call, found.manifest.config);
    const layers = found.manifest.layers.map((desc, i) => {
      const diffId = diffIds[i];
      if (diffId === undefined) throw invalidArgument(`image "${name}": layer ${desc.digest} has no diff id`);
      return { desc, diffId, path: pathOf(dir, diffId) };
    });
    const last = layers.findLastIndex(({ path }) => !existsSync(path));
    await using made = await ErofsLayers.open(ctx, call, mkfs);
    for (const [i, { desc, diffId, path }] of layers.entries()) {
      const known = existsSync(path);
      if (i <= last) {
        await refetch(ctx, call, desc, found.desc.digest);
        const file = await made.next(desc, diffId, !known);
        if (!known) await place(file, path);
      }
      toStdout(`${diffId} ${known ? "exists" : "built"}\n`);
    }
  });
  return 0;
};

function pathOf(dir: string, diffId: Digest): string {
  return join(dir, algorithmOf(diffId), `${hexOf(diffId)}.erofs`);
}

/** Whole or not at all: others may be reading the folder. */
async function place(file: string, path: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  const temporary = `${path}.${process.pid}.new`;
  try {
    await copyFile(file, temporary);
    await rename(temporary, path);
  } catch (err) {
    await rm(temporary, { force: true });
    throw err;
  }
}
