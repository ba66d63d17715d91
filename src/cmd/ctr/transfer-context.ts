/** The transfer functions of `plugins/transfer` on a daemon's stores over RPC: what `--local` means. */
import { contentClient } from "../../client/content.ts";
import { diffClient } from "../../client/diff.ts";
import { imagesClient } from "../../client/images.ts";
import { leasesClient } from "../../client/leases.ts";
import { snapshotterClient } from "../../client/snapshots.ts";
import { lazyAsync } from "../../lib/lazy.ts";
import { createContext, type TransferContext, type TransferLimits } from "../../plugins/transfer/context.ts";
import { sourcesFrom } from "../../plugins/transfer/refetch.ts";
import type { Registry } from "../../registry/registry.ts";
import type { Transport } from "../../rpc/types.ts";
import { verifierGate } from "./verifiers.ts";

async function clientRegistry(): Promise<Registry> {
  const [{ Registry }, { hostsOfDaemon }, { runHelper }] = await Promise.all([
    import("../../registry/registry.ts"),
    import("./daemon-hosts.ts"),
    import("../../plugins/transfer/credential-helper.ts"),
  ]);
  return new Registry({ hosts: hostsOfDaemon(), runHelper });
}

/** Makes the context of one command. Layers of one image are unpacked in order: a foreign daemon cannot do better. */
export function transferContext(transport: Transport, limits: Partial<TransferLimits> = {}): TransferContext {
  return createContext(
    {
      content: contentClient(transport),
      images: imagesClient(transport),
      leases: leasesClient(transport),
      applier: diffClient(transport),
      snapshotter: (name) => snapshotterClient(transport, name),
      capabilities: () => [],
    },
    limits,
    [verifierGate(transport)],
    // What was dropped after unpacking is fetched again the daemon's way.
    sourcesFrom(lazyAsync(clientRegistry)),
  );
}
