/** images pull. */

import { contentClient } from "../../../client/content.ts";
import { imagesClient } from "../../../client/images.ts";
import type { NamespacedCall } from "../../../core/call.ts";
import { formatDuration } from "../../../lib/human.ts";
import { hostPlatform, normalizePlatform } from "../../../oci/platform.ts";
import { parseReference } from "../../../oci/reference.ts";
import type { Transport } from "../../../rpc/types.ts";
import { stdoutStream } from "../../shared/output.ts";
import type { Action } from "../command.ts";
import { need } from "../context.ts";
import { chainIdOf, resolveImage } from "../image-config.ts";
import { ProgressView } from "../progress.ts";
import { platformsOf } from "../registry-options.ts";
import { offersTransfer, remotePull, saysAllRemotely } from "../remote-transfer.ts";
import { snapshotterName } from "../snapshotter-name.ts";

export const pull: Action = async (context, args, options) => {
  const ref = need(args, 0, "image reference");
  parseReference(ref);
  await using transport = context.connect();
  const call = context.call();
  const remotely = options["local"] !== true && saysAllRemotely(options);
  const [snapshotter, remote] = await Promise.all([
    snapshotterName(transport, call, options),
    remotely && offersTransfer(transport, call),
  ]);
  const started = process.hrtime.bigint();
  const view = new ProgressView();
  let failed = true;
  try {
    const job = { transport, call, ref, options, snapshotter, view };
    if (remote) await remotePull({ ...job, progress: view.update });
    else await (await import("../local-pull.ts")).localPull(job);
    failed = false;
  } finally {
    view.end(failed);
  }
  if (options["printChainid"] === true) await printChainId(transport, call, ref, options);
  stdoutStream().write(`done: ${formatDuration(process.hrtime.bigint() - started)}\t\n`);
  return 0;
};

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
