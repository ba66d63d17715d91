/** images, pull, rmi. */
import { contentClient } from "../../client/content.ts";
import { imagesClient } from "../../client/images.ts";
import { isNotFound, notFound } from "../../core/errors.ts";
import { formatAge, formatSize } from "../../lib/human.ts";
import { nowNs } from "../../lib/time.ts";
import { hostPlatform } from "../../oci/platform.ts";
import { normalizeReference, parseReference } from "../../oci/reference.ts";
import type { Transport } from "../../rpc/types.ts";
import type { Action } from "../ctr/command.ts";
import { type GlobalOptions, need } from "../ctr/context.ts";
import { resolveImage } from "../ctr/image-config.ts";
import { renderTable } from "../ctr/table.ts";
import { formatOf, writeStructured } from "./output.ts";
import { report } from "./report.ts";

/** A reference with the default host and tag where it has none: `app` is docker.io/library/app:latest. */
export function fullName(reference: string): string {
  return normalizeReference(reference);
}

/** Pulls with progress, through the daemon where it can. */
export async function pullImage(
  context: GlobalOptions,
  _transport: Transport,
  reference: string,
  options: Readonly<Record<string, unknown>>,
): Promise<void> {
  const { pull } = await import("../ctr/verbs/images-pull.ts");
  // progress is for people; what a script reads from stdout is the container's id
  const write = process.stdout.write;
  process.stdout.write = process.stderr.write.bind(process.stderr) as typeof process.stdout.write;
  try {
    await pull(context, [reference], { ...options, label: [], publish: undefined });
  } finally {
    process.stdout.write = write;
  }
}

export const pull: Action = async (context, args, options) => {
  const { pull: run } = await import("../ctr/verbs/images-pull.ts");
  return await run(context, [fullName(need(args, 0, "image")), ...args.slice(1)], options);
};

export const list: Action = async (context, _args, options) => {
  const format = formatOf(options);
  await using transport = context.connect();
  const call = context.call();
  const content = contentClient(transport);
  const images = await imagesClient(transport).list(call, []);
  const rows = await Promise.all(
    images.map(async (image) => {
      let size = 0n;
      let id = "";
      try {
        const resolved = await resolveImage(content, call, image.target, hostPlatform());
        id = resolved.config;
        for (const layer of resolved.layers) size += BigInt(layer.size);
      } catch (err) {
        // an image of another platform, or one whose blobs are damaged, is still an image
        id = isNotFound(err) ? "incomplete" : "other platform";
      }
      return { image, id, size };
    }),
  );
  if (options["quiet"] === true) for (const r of rows) process.stdout.write(`${shortDigest(r.id)}\n`);
  else if (format !== "table")
    await writeStructured(
      rows.map((r) => ({
        name: r.image.name,
        id: r.id,
        digest: r.image.target.digest,
        size: Number(r.size),
      })),
      format,
    );
  else
    process.stdout.write(
      renderTable(
        ["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"],
        rows.map(({ image, id, size }) => {
          const { repository, tag } = splitName(image.name);
          return [
            repository,
            tag,
            shortDigest(id),
            `${formatAge(nowNs() - image.createdAt)} ago`,
            size === 0n ? "-" : formatSize(size),
          ];
        }),
        3,
      ).replace(/ +$/gm, ""),
    );
  return 0;
};

export const remove: Action = async (context, args) => {
  need(args, 0, "image");
  await using transport = context.connect();
  const images = imagesClient(transport);
  const call = context.call();
  let code = 0;
  for (const wanted of args) {
    try {
      const all = await images.list(call, []);
      const found =
        all.find((i) => i.name === wanted) ??
        all.find((i) => i.name === safeFullName(wanted)) ??
        all.find((i) => wanted.length >= 6 && i.target.digest.replace("sha256:", "").startsWith(wanted));
      if (found === undefined)
        throw notFound(`image "${wanted}" in namespace "${call.namespace}"`, {
          hint: "gantry images lists them",
        });
      await images.delete(call, found.name, { sync: true });
      process.stdout.write(`${found.name}\n`);
    } catch (err) {
      report(err);
      code = 1;
    }
  }
  return code;
};

function safeFullName(text: string): string {
  try {
    return fullName(text);
  } catch {
    return text;
  }
}

function shortDigest(id: string): string {
  return id.startsWith("sha256:") ? id.slice(7, 19) : id;
}

function splitName(name: string): { repository: string; tag: string } {
  try {
    const { locator, tag, digest } = parseReference(name);
    return { repository: locator, tag: tag ?? (digest === undefined ? "-" : "<none>") };
  } catch {
    return { repository: name, tag: "-" };
  }
}
