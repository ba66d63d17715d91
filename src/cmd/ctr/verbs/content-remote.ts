/** content fetch, fetch-object, fetch-blob, push-object: parts of images between registries, the store and stdout. */

import { createHash } from "node:crypto";
import { contentClient } from "../../../client/content.ts";
import { dataLoss, invalidArgument } from "../../../core/errors.ts";
import { algorithmOf, parseDigest } from "../../../core/ids/digest.ts";
import type { Descriptor } from "../../../core/oci.ts";
import { OCI_LAYER_GZIP } from "../../../oci/media-types.ts";
import { formatReference, parseReference } from "../../../oci/reference.ts";
import { pull } from "../../../plugins/transfer/pull.ts";
import { registrySource } from "../../../plugins/transfer/registry-source.ts";
import { Registry } from "../../../registry/registry.ts";
import { toStdout } from "../../shared/output.ts";
import type { Action } from "../command.ts";
import { labelsOf, listOf, need, textOf } from "../context.ts";
import { ProgressView } from "../progress.ts";
import { platformsOf, registryOptions } from "../registry-options.ts";
import { transferContext } from "../transfer-context.ts";
import { writeOut } from "../write-out.ts";

/** `HOST/NAME:TAG`, or `HOST/NAME` and the tag or digest as a second word. */
function fullReference(remote: string, object: string | undefined): string {
  const ref = parseReference(remote);
  if (ref.object !== "") return remote;
  if (object === undefined || object === "")
    throw invalidArgument("object required", { hint: `name a tag or digest: ${remote}:TAG` });
  const digest = /^sha\d+:/.test(object) && !object.startsWith("@");
  return formatReference({ locator: ref.locator, object: digest ? `@${object}` : object });
}

export const fetch: Action = async (context, args, options) => {
  const ref = fullReference(need(args, 0, "remote"), args[1]);
  await using transport = context.connect();
  const call = context.call();
  const wanted = platformsOf(options);
  const metadataOnly = options["metadataOnly"] === true;
  await using registry = new Registry(await registryOptions(options, ref));
  const view = new ProgressView();
  let failed = true;
  try {
    await pull(transferContext(transport), call, {
      name: ref,
      labels: labelsOf(listOf(options, "label")),
      source: registrySource(await registry.session(ref)),
      // nothing matches, and of what does not match the metadata is taken
      matcher: metadataOnly ? { match: () => false, compare: () => 0 } : wanted.matcher,
      allMetadata: metadataOnly,
      allPlatforms: wanted.allPlatforms && !metadataOnly,
      manifestLimit: wanted.limit,
      progress: view.update,
    });
    failed = false;
  } finally {
    view.end(failed);
  }
  return 0;
};

export const fetchObject: Action = async (context, args, options) => {
  const ref = fullReference(need(args, 0, "remote"), args[1]);
  const { signal } = context.call();
  await using registry = new Registry(await registryOptions(options, ref));
  const session = await registry.session(ref);
  const desc = await session.resolve(signal);
  await writeOut(checked(session.fetcher.stream(desc, 0n, signal), desc));
  return 0;
};

export const fetchBlob: Action = async (context, args, options) => {
  const remote = need(args, 0, "remote");
  need(args, 1, "digest");
  const { signal } = context.call();
  await using registry = new Registry(await registryOptions(options, remote));
  const session = await registry.session(remote);
  const mediaType = textOf(options, "mediaType") || OCI_LAYER_GZIP;
  for (const text of args.slice(1)) {
    const desc = await session.fetcher.describe(parseDigest(text), mediaType, signal);
    await writeOut(checked(session.fetcher.stream(desc, 0n, signal), desc));
  }
  return 0;
};

/** The same bytes; throws at their end when they do not have the digest asked for. */
async function* checked(data: AsyncIterable<Uint8Array>, desc: Descriptor): AsyncIterable<Uint8Array> {
  const hash = createHash(algorithmOf(desc.digest));
  for await (const part of data) {
    hash.update(part);
    yield part;
  }
  const got = `${algorithmOf(desc.digest)}:${hash.digest("hex")}`;
  if (got !== desc.digest) throw dataLoss(`fetch ${desc.digest}: what came hashes to ${got}`);
}

export const pushObject: Action = async (context, args, options) => {
  const remote = need(args, 0, "remote");
  const digest = parseDigest(need(args, 1, "object digest"));
  const mediaType = need(args, 2, "media type");
  await using transport = context.connect();
  const call = context.call();
  await using reader = await contentClient(transport).reader(call, digest);
  const desc: Descriptor = { mediaType, digest, size: reader.size };
  await using registry = new Registry(await registryOptions(options, remote));
  const session = await registry.session(remote);
  await session.pusher.push({
    desc,
    open: (offset) => reader.stream(offset),
    tag: session.ref.tag,
    signal: call.signal,
  });
  toStdout(`Pushed ${digest} ${mediaType}\n`);
  return 0;
};
