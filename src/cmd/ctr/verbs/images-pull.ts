/** images pull. */

import { contentClient } from "../../../client/content.ts";
import { imagesClient } from "../../../client/images.ts";
import type { NamespacedCall } from "../../../core/call.ts";
import { formatDuration } from "../../../lib/human.ts";
import { hostPlatform, normalizePlatform } from "../../../oci/platform.ts";
import { parseReference } from "../../../oci/reference.ts";
import { pull as pullImage } from "../../../plugins/transfer/pull.ts";
import { registrySource } from "../../../plugins/transfer/registry-source.ts";
import { Registry } from "../../../registry/registry.ts";
import type { Transport } from "../../../rpc/types.ts";
import { stdoutStream } from "../../shared/output.ts";
import type { Action } from "../command.ts";
import { labelsOf, listOf, need } from "../context.ts";
import { chainIdOf, resolveImage } from "../image-config.ts";
import { ProgressView } from "../progress.ts";
import { countOf, platformsOf, registryOptions } from "../registry-options.ts";
import { offersTransfer, remotePull, saysAllRemotely } from "../remote-transfer.ts";
import { snapshotterName } from "../snapshotter-name.ts";
import { transferContext } from "../transfer-context.ts";

/** What one pull is. */
interface Pull {
  readonly transport: Transport;
  readonly call: NamespacedCall;
  readonly ref: string;
  readonly options: Readonly<Record<string, unknown>>;
  readonly snapshotter: string;
  readonly view: ProgressView;
}

export const pull: Action = async (context, args, options) => {
  const ref = need(args, 0, "image reference");
  parseReference(ref);
  await using transport = context.connect();
  const call = context.call();
  const snapshotter = await snapshotterName(transport, call, options);
  const remote =
    options["local"] !== true && saysAllRemotely(options) && (await offersTransfer(transport, call));
  const started = process.hrtime.bigint();
  const view = new ProgressView();
  let failed = true;
  try {
    const job: Pull = { transport, call, ref, options, snapshotter, view };
    await (remote ? remotePull({ ...job, progress: view.update }) : localPull(job));
    failed = false;
  } finally {
    view.end(failed);
  }
  if (options["printChainid"] === true) await printChainId(transport, call, ref, options);
  stdoutStream().write(`done: ${formatDuration(process.hrtime.bigint() - started)}\t\n`);
  return 0;
};

async function localPull({ transport, call, ref, options, snapshotter, view }: Pull): Promise<void> {
  const downloads = countOf(options, "maxConcurrentDownloads", "max-concurrent-downloads");
  const ctx = transferContext(transport, downloads === undefined ? {} : { downloads });
  const wanted = platformsOf(options);
  await using registry = new Registry(await registryOptions(options, ref));
  await pullImage(ctx, call, {
    name: ref,
    labels: labelsOf(listOf(options, "label")),
    source: registrySource(await registry.session(ref)),
    matcher: wanted.matcher,
    allPlatforms: wanted.allPlatforms,
    manifestLimit: wanted.limit,
    unpack: [{ snapshotter }],
    syncFs: options["syncFs"] === true,
    discardUnpacked: options["discardUnpackedLayers"] === true,
    progress: view.update,
  });
}

async function printChainId(
  transport: Transport,
  call: NamespacedCall,
  ref: string,
  options: Readonly<Record<string, unknown>>,
): Promise<void> {
  const { target } = await imagesClient(transport).get(call, ref);
  const platform = platformsOf(options).platforms[0] ?? hostPlatform();
  const resolved = await resolveImage(contentClient(transport), call, target, normalizePlatform(platform));
  stdoutStream().write(`image chain ID: ${chainIdOf(resolved.diffIds) ?? "-"}\n`);
}
