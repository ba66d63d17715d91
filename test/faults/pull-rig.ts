/** An engine in this process: its own stores, differ and transfers, without a daemon. Unpacking needs root. */
import { realpath } from "node:fs/promises";
import { join } from "node:path";
import { noLog } from "../../src/core/log.ts";
import { setMainScript } from "../../src/platform/runtime.ts";
import { HelperApplier } from "../../src/plugins/diff/apply.ts";
import { SnapshotDirectories } from "../../src/plugins/snapshots/directories.ts";
import { OverlayBackend } from "../../src/plugins/snapshots/overlayfs.ts";
import {
  createContext,
  type TransferContext,
  type TransferLimits,
} from "../../src/plugins/transfer/context.ts";

import { Registry } from "../../src/registry/registry.ts";
import type { CredentialSource } from "../../src/registry/types.ts";
import { tempFolder } from "../contract/harness.ts";
import { type LocalStores, openLocal } from "../contract/local-stores.ts";

// helpers are started from the sources
setMainScript(new URL("../../src/main.ts", import.meta.url).pathname);

/** See the head of this file. */
export interface PullEngine extends AsyncDisposable {
  readonly ctx: TransferContext;
  readonly stores: LocalStores;
  readonly root: string;
}

/** Makes an engine in a folder of its own, with the overlayfs snapshotter. */
export async function pullEngine(limits: Partial<TransferLimits> = {}): Promise<PullEngine> {
  const folder = await tempFolder();
  const root = await realpath(folder.path);
  const dirs = new SnapshotDirectories(join(root, "overlay"), noLog, true);
  await dirs.open();
  const config = { rootPath: "", upperdirLabel: false, syncRemove: true, slowChown: false, mountOptions: [] };
  const backends = new Map([["overlayfs", new OverlayBackend(dirs, config, [])]]);
  const stores = await openLocal(root, { backends });
  const { content } = stores.metadata;
  const applier = new HelperApplier(content, { entries: 100_000, bytes: 0 });
  const ctx = createContext(
    {
      content: stores.content,
      images: stores.images,
      leases: stores.leases,
      applier,
      snapshotter: (name) => stores.snapshotter(name),
      capabilities: () => ["rebase"],
      local: { content, applier },
    },
    limits,
  );
  return {
    ctx,
    stores,
    root,
    async [Symbol.asyncDispose]() {
      await stores.close();
      await dirs.close();
      await folder.remove();
    },
  };
}

/** A client of registries that loses no time over faults: retries follow at once, a stall is one after 200 ms. */
export function hastyRegistry(credentials?: CredentialSource): Registry {
  return new Registry({
    dockerConfig: false,
    ...(credentials === undefined ? {} : { credentials }),
    limits: { initialDelayMs: 1, stall: { windowMs: 200, floorBytes: 64 } },
  });
}
