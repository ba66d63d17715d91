/** images import, images export. */
import { createReadStream, createWriteStream, lstatSync, rmSync } from "node:fs";
import { pipeline } from "node:stream/promises";
import { invalidArgument, messageOf } from "../../../core/errors.ts";
import type { Progress } from "../../../core/transfer/transfer.ts";
import { importNaming } from "../../../plugins/transfer/archive/naming.ts";
import { exportArchive } from "../../../plugins/transfer/export.ts";
import { importArchive } from "../../../plugins/transfer/import.ts";
import type { Action } from "../command.ts";
import { labelsOf, listOf, need, textOf } from "../context.ts";
import { ProgressView } from "../progress.ts";
import { platformsOf } from "../registry-options.ts";
import { snapshotterName } from "../snapshotter-name.ts";
import { transferContext } from "../transfer-context.ts";
import { writeOut } from "../write-out.ts";

export const importImages: Action = async (context, args, options) => {
  const path = need(args, 0, "archive to import");
  const base = textOf(options, "baseName");
  await using transport = context.connect();
  const call = context.call();
  const wanted = platformsOf(options);
  // commander reads --no-unpack as "unpack is off"
  const unpack = options["unpack"] !== false;
  const snapshotter = await snapshotterName(transport, call, options);
  // only a terminal sees parts; elsewhere one line for each image, as containerd's client prints them
  const view = process.stdout.isTTY === true ? new ProgressView() : undefined;
  let failed = true;
  try {
    const images = await importArchive(transferContext(transport), call, await openInput(path), {
      naming: importNaming({
        baseName: base,
        digests: options["digests"] === true,
        skipNamed: options["skipDigestForNamed"] === true,
      }),
      indexName: textOf(options, "indexName") || undefined,
      labels: labelsOf(listOf(options, "label")),
      matcher: wanted.matcher,
      allPlatforms: wanted.allPlatforms,
      compress: options["compressBlobs"] === true,
      unpack: unpack ? [{ snapshotter }] : [],
      discardUnpacked: options["discardUnpackedLayers"] === true,
      ...(view === undefined ? {} : { progress: view.update }),
    });
    failed = false;
    view?.end();
    for (const image of images)
      process.stdout.write(
        unpack
          ? `unpacking ${image.name} (${image.target.digest})...done\n`
          : `imported ${image.name} (${image.target.digest})\n`,
      );
    if (images.length === 0)
      process.stderr.write(
        "ctr: the archive names no image: its content is stored, but no image was made\n     add --digests or --index-name NAME\n",
      );
  } finally {
    if (failed) view?.end(true);
  }
  return 0;
};

/** A file, or stdin. Opened before anything is asked of the daemon. */
async function openInput(path: string): Promise<AsyncIterable<Uint8Array>> {
  if (path === "-") return process.stdin;
  const file = createReadStream(path, { highWaterMark: 1 << 20 });
  await new Promise<void>((resolve, reject) => {
    file.once("open", () => resolve());
    file.once("error", (err) => reject(invalidArgument(`open archive "${path}": ${messageOf(err)}`)));
  });
  return file;
}

export const exportImages: Action = async (context, args, options) => {
  const out = need(args, 0, "output file");
  const names = args.slice(1);
  need(names, 0, "image name");
  await using transport = context.connect();
  const call = context.call();
  const wanted = platformsOf(options);
  const make = (progress?: (p: Progress) => void): AsyncIterable<Uint8Array> =>
    exportArchive(transferContext(transport), call, {
      names,
      matcher: wanted.matcher,
      allPlatforms: wanted.allPlatforms,
      skipManifestJson: options["skipManifestJson"] === true,
      skipNonDistributable: options["skipNonDistributable"] === true,
      ...(progress === undefined ? {} : { progress }),
    });
  if (out === "-") {
    if (process.stdout.isTTY === true)
      throw invalidArgument("export to a terminal", { hint: "give a file name, or send stdout elsewhere" });
    await writeOut(make());
    return 0;
  }
  const view = process.stdout.isTTY === true ? new ProgressView() : undefined;
  let failed = true;
  try {
    await pipeline(make(view?.update), createWriteStream(out));
    failed = false;
  } catch (err) {
    // half an archive helps nobody; a device or pipe (/dev/null!) is not ours to remove
    if (lstatSync(out, { throwIfNoEntry: false })?.isFile() === true) rmSync(out, { force: true });
    throw err;
  } finally {
    view?.end(failed);
  }
  return 0;
};
