/** install: programs (and libraries) of an image into the engine's folder. */

import { constants } from "node:fs";
import { mkdir, open, rename, rm, symlink } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { contentClient } from "../../../client/content.ts";
import { imagesClient } from "../../../client/images.ts";
import { introspectionClient } from "../../../client/introspection.ts";
import type { NamespacedCall } from "../../../core/call.ts";
import { alreadyExists, failedPrecondition, isNotFound, notFound } from "../../../core/errors.ts";
import { hostPlatform } from "../../../oci/platform.ts";
import { openArchive } from "../../../plugins/transfer/archive/decompress.ts";
import { readTar, type TarEntry } from "../../../plugins/transfer/archive/tar-reader.ts";
import type { Transport } from "../../../rpc/types.ts";
import { toStdout } from "../../shared/output.ts";
import type { Action } from "../command.ts";
import { need, textOf } from "../context.ts";
import { resolveImage } from "../image-config.ts";

export const install: Action = async (context, args, options) => {
  const ref = need(args, 0, "image reference");
  await using transport = context.connect();
  const call = context.call();
  const target = textOf(options, "path") || (await folderOf(transport, call));
  const image = await imagesClient(transport)
    .get(call, ref)
    .catch((err: unknown) => {
      throw isNotFound(err)
        ? notFound(`image "${ref}"`, { hint: `pull it first: ctr images pull ${ref}` })
        : err;
    });
  const content = contentClient(transport);
  const resolved = await resolveImage(content, call, image.target, hostPlatform());
  const folders = options["libs"] === true ? ["bin", "lib"] : ["bin"];
  const put: string[] = [];
  for (const layer of resolved.layers) {
    await using reader = await content.reader(call, layer.digest);
    for await (const entry of readTar(await openArchive(reader.stream()))) {
      // only what stands directly in these folders, and never through a link: an image is not trusted with more
      if (!folders.includes(dirname(entry.name)) || basename(entry.name).startsWith(".wh.")) continue;
      const path = join(target, entry.name);
      if (entry.kind === "file" || entry.kind === "symlink") {
        await place(entry, path, options["replace"] === true || put.includes(path));
        put.push(path);
      }
    }
  }
  if (put.length === 0)
    throw failedPrecondition(`image "${ref}" has no files in ${folders.map((f) => `/${f}`).join(" or ")}`);
  for (const path of new Set(put)) toStdout(`${path}\n`);
  return 0;
};

/** The daemon's folder, by the plugin that keeps it. */
async function folderOf(transport: Transport, call: NamespacedCall): Promise<string> {
  const plugins = await introspectionClient(transport).plugins(call, [
    "type==io.containerd.internal.v1,id==opt",
  ]);
  const path = plugins[0]?.exports.get("path");
  if (path === undefined)
    throw failedPrecondition("the daemon has no folder for programs", { hint: "name one with --path DIR" });
  return path;
}

async function place(entry: TarEntry, path: string, replace: boolean): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o711 });
  const part = `${path}.new.${process.pid}`;
  await rm(part, { force: true });
  if (entry.kind === "symlink") {
    if (entry.linkname.includes("/"))
      throw failedPrecondition(`"${entry.name}" links to "${entry.linkname}", outside of its folder`);
    await symlink(entry.linkname, part);
  } else {
    const { O_CREAT, O_EXCL, O_NOFOLLOW, O_WRONLY } = constants;
    await using file = await open(part, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o755);
    for await (const chunk of entry.body()) await file.write(chunk);
    await file.sync();
  }
  if (!replace && (await exists(path))) {
    await rm(part, { force: true });
    throw alreadyExists(`file "${path}"`, { hint: "--replace overwrites it" });
  }
  await rename(part, path);
}

async function exists(path: string): Promise<boolean> {
  const { lstat } = await import("node:fs/promises");
  return lstat(path).then(
    () => true,
    () => false,
  );
}
