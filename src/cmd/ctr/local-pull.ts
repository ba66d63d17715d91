/** Pulls by this process, for servers that do not pull by themselves and for flags their messages cannot say. */
import type { NamespacedCall } from "../../core/call.ts";
import { pull as pullImage } from "../../plugins/transfer/pull.ts";
import { registrySource } from "../../plugins/transfer/registry-source.ts";
import { Registry } from "../../registry/registry.ts";
import type { Transport } from "../../rpc/types.ts";
import { labelsOf, listOf } from "./context.ts";
import type { ProgressView } from "./progress.ts";
import { countOf, platformsOf, registryOptions } from "./registry-options.ts";
import { transferContext } from "./transfer-context.ts";

/** What one pull is. */
export interface Pull {
  readonly transport: Transport;
  readonly call: NamespacedCall;
  readonly ref: string;
  readonly options: Readonly<Record<string, unknown>>;
  readonly snapshotter: string;
  readonly view: ProgressView;
}

/** Pulls an image, its bytes through this process. */
export async function localPull({ transport, call, ref, options, snapshotter, view }: Pull): Promise<void> {
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
