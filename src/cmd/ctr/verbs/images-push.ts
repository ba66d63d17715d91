/** images push. */
import { contentClient } from "../../../client/content.ts";
import { imagesClient } from "../../../client/images.ts";
import type { NamespacedCall } from "../../../core/call.ts";
import { isNotFound, notFound } from "../../../core/errors.ts";
import { parseDigest } from "../../../core/ids/digest.ts";
import type { Descriptor } from "../../../core/oci.ts";
import { parseReference } from "../../../oci/reference.ts";
import { push as pushImage } from "../../../plugins/transfer/push.ts";
import { Registry } from "../../../registry/registry.ts";
import type { Transport } from "../../../rpc/types.ts";
import type { Action } from "../command.ts";
import { need, textOf } from "../context.ts";
import { ProgressView } from "../progress.ts";
import { countOf, platformsOf, registryOptions } from "../registry-options.ts";
import { offersTransfer, remotePush, saysAllRemotely } from "../remote-transfer.ts";
import { transferContext } from "../transfer-context.ts";

export const push: Action = async (context, args, options) => {
  const ref = need(args, 0, "remote reference");
  parseReference(ref);
  const local = args[1] ?? ref;
  await using transport = context.connect();
  const call = context.call();
  const target = await targetOf(transport, call, local, options);
  const remote =
    options["local"] !== true &&
    options["allowNonDistributableBlobs"] !== true &&
    textOf(options, "manifest") === "" &&
    textOf(options, "maxConcurrentUploadedLayers") === "" &&
    saysAllRemotely(options) &&
    (await offersTransfer(transport, call));
  const view = new ProgressView();
  let failed = true;
  try {
    if (remote) {
      await remotePush({ transport, call, ref, options, snapshotter: "", progress: view.update }, local);
    } else {
      const uploads = countOf(options, "maxConcurrentUploadedLayers", "max-concurrent-uploaded-layers");
      const ctx = transferContext(transport, uploads === undefined ? {} : { uploads });
      await using registry = new Registry(await registryOptions(options, ref));
      await pushImage(ctx, call, {
        name: local,
        target,
        session: await registry.session(ref),
        matcher: platformsOf(options).matcher,
        allowNonDistributable: options["allowNonDistributableBlobs"] === true,
        progress: view.update,
      });
    }
    failed = false;
  } finally {
    view.end(failed);
  }
  return 0;
};

/** What is pushed: the image's target, or the manifest of `--manifest`. */
async function targetOf(
  transport: Transport,
  call: NamespacedCall,
  local: string,
  options: Readonly<Record<string, unknown>>,
): Promise<Descriptor> {
  const manifest = textOf(options, "manifest");
  if (manifest !== "") {
    const { digest, size } = await contentClient(transport).info(call, parseDigest(manifest));
    return { mediaType: textOf(options, "manifestType"), digest, size };
  }
  const image = await imagesClient(transport)
    .get(call, local)
    .catch((err: unknown) => {
      throw isNotFound(err)
        ? notFound(`image "${local}"`, {
            hint: `name the local image after the remote one: ctr images push REMOTE LOCAL`,
          })
        : err;
    });
  return image.target;
}
