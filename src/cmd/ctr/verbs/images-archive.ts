/** images import, images export. */

import { createReadStream, createWriteStream, lstatSync, rmSync } from "node:fs";
import { pipeline } from "node:stream/promises";
import type { NamespacedCall } from "../../../core/call.ts";
import { type GantryError, invalidArgument, messageOf, notFound } from "../../../core/errors.ts";
import type { Progress } from "../../../core/transfer/transfer.ts";
import { importNaming } from "../../../plugins/transfer/archive/naming.ts";
import { exportArchive } from "../../../plugins/transfer/export.ts";
import { importArchive } from "../../../plugins/transfer/import.ts";
import type { Transport } from "../../../rpc/types.ts";
import { stdoutStream, toStderr, toStdout } from "../../shared/output.ts";
import type { Action } from "../command.ts";
import { labelsOf, listOf, need, textOf } from "../context.ts";
import { ProgressView } from "../progress.ts";
import { platformsOf } from "../registry-options.ts";
import { offersTransfer, remoteImport } from "../remote-transfer.ts";
import { snapshotterName } from "../snapshotter-name.ts";
import { transferContext } from "../transfer-context.ts";
import { writeOut } from "../write-out.ts";

export const importImages: Action = async (context, args, options) => {
  const path = need(args, 0, "archive to import");
  await using transport = context.connect();
  const call = context.call();
  const unpack = unpacks(options);
  const snapshotter = await snapshotterName(transport, call, options);
  // only a terminal sees parts; elsewhere one line for each image, as containerd's client prints them
  const view = stdoutStream().isTTY === true ? new ProgressView() : undefined;
  let failed = true;
  const remote =
    // Only the client leaves out images of other repositories.
    textOf(options, "baseName") === "" &&
    options["local"] !== true &&
    options["discardUnpackedLayers"] !== true &&
    options["syncFs"] !== true &&
    (await offersTransfer(transport, call));
  const progress = view?.update ?? (() => {});
  try {
    const images = remote
      ? await remoteImport(
          { transport, call, ref: "", options, snapshotter: unpack ? snapshotter : "", progress },
          await openInput(path),
        )
      : await localImport(transport, call, await openInput(path), options, snapshotter, view?.update);
    failed = false;
    view?.end();
    for (const image of images)
      toStdout(
        unpack
          ? `unpacking ${image.name} (${image.digest})...done\n`
          : `imported ${image.name} (${image.digest})\n`,
      );
    if (images.length === 0)
      toStderr(
        "ctr: the archive names no image: its content is stored, but no image was made\n     add --digests or --index-name NAME\n",
      );
  } finally {
    if (failed) view?.end(true);
  }
  return 0;
};

/** commander reads `--no-unpack` as "unpack is off". */
function unpacks(options: Readonly<Record<string, unknown>>): boolean {
  return options["unpack"] !== false;
}

/** Imports with the daemon's stores over RPC. */
async function localImport(
  transport: Transport,
  call: NamespacedCall,
  archive: AsyncIterable<Uint8Array>,
  options: Readonly<Record<string, unknown>>,
  snapshotter: string,
  progress: ((p: Progress) => void) | undefined,
): Promise<{ readonly name: string; readonly digest: string }[]> {
  const wanted = platformsOf(options);
  const images = await importArchive(transferContext(transport), call, archive, {
    naming: importNaming({
      baseName: textOf(options, "baseName"),
      digests: options["digests"] === true,
      skipNamed: options["skipDigestForNamed"] === true,
    }),
    indexName: textOf(options, "indexName") || undefined,
    labels: labelsOf(listOf(options, "label")),
    matcher: wanted.matcher,
    allPlatforms: wanted.allPlatforms,
    compress: options["compressBlobs"] === true,
    unpack: unpacks(options) ? [{ snapshotter }] : [],
    discardUnpacked: options["discardUnpackedLayers"] === true,
    progress,
  });
  return images.map(({ name, target }) => ({ name, digest: target.digest }));
}

/** A file, or stdin. Opened before anything is asked of the daemon. */
async function openInput(path: string): Promise<AsyncIterable<Uint8Array>> {
  if (path === "-") return process.stdin;
  const file = createReadStream(path, { highWaterMark: 1 << 20 });
  await new Promise<void>((resolve, reject) => {
    file.once("open", () => resolve());
    file.once("error", (err) => reject(cannotOpen(path, err)));
  });
  return file;
}

function cannotOpen(path: string, err: Error): GantryError {
  // node: "EACCES: permission denied, open '/x'"; the file was said already
  const reason = messageOf(err).replace(/^[A-Z0-9]+: (.*), \w+ '.*'$/s, "$1");
  const what = `open archive "${path}": ${reason}`;
  const missing = "code" in err && (err.code === "ENOENT" || err.code === "ENOTDIR");
  return missing ? notFound(what, { cause: err }) : invalidArgument(what, { cause: err });
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
    if (stdoutStream().isTTY === true)
      throw invalidArgument("export to a terminal", { hint: "give a file name, or send stdout elsewhere" });
    await writeOut(make());
    return 0;
  }
  const view = stdoutStream().isTTY === true ? new ProgressView() : undefined;
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
