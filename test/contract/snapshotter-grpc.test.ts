/** Mounts for real: needs root, and is run on folders only without it. */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { noLog } from "../../src/core/log.ts";
import { setMainScript } from "../../src/platform/runtime.ts";
import { SnapshotDirectories } from "../../src/plugins/snapshots/directories.ts";
import { NativeBackend } from "../../src/plugins/snapshots/native.ts";
import { overGrpc } from "./grpc-stores.ts";
import { type MakeStores, tempFolder } from "./harness.ts";
import { makeLocal, openLocal } from "./local-stores.ts";
import { snapshotterSuite } from "./snapshotter.ts";

setMainScript(new URL("../../src/main.ts", import.meta.url).pathname);

const native: MakeStores = async (options) => {
  const folder = await tempFolder();
  const root = join(folder.path, "snapshotter");
  await mkdir(root);
  const dirs = new SnapshotDirectories(root, noLog, false);
  await dirs.open();
  const backends = new Map([["native", new NativeBackend(dirs)]]);
  const stores = await openLocal(folder.path, { ...options, backends });
  return {
    ...stores,
    close: async () => {
      await stores.close();
      await dirs.close();
      await folder.remove();
    },
  };
};

const isRoot = process.getuid?.() === 0;
snapshotterSuite(
  { name: "native", mounts: isRoot, renamesDirectories: true, depth: 8 },
  overGrpc(isRoot ? native : makeLocal),
);
