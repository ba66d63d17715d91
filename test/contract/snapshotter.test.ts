/** The overlayfs and native cases mount for real: they need root and are skipped without it. */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { noLog } from "../../src/core/log.ts";
import type { SnapshotBackend } from "../../src/core/snapshots/snapshotter.ts";
import { setMainScript } from "../../src/platform/runtime.ts";
import { SnapshotDirectories } from "../../src/plugins/snapshots/directories.ts";
import { NativeBackend } from "../../src/plugins/snapshots/native.ts";
import { OverlayBackend } from "../../src/plugins/snapshots/overlayfs.ts";
import { type MakeStores, tempFolder } from "./harness.ts";
import { makeLocal, openLocal } from "./local-stores.ts";
import { snapshotterSuite } from "./snapshotter.ts";

setMainScript(new URL("../../src/main.ts", import.meta.url).pathname);
const isRoot = process.getuid?.() === 0;

/** Stores over one real backend. */
function over(build: (dirs: SnapshotDirectories) => SnapshotBackend): MakeStores {
  return async (options) => {
    const folder = await tempFolder();
    const root = join(folder.path, "snapshotter");
    await mkdir(root);
    const dirs = new SnapshotDirectories(root, noLog, false);
    await dirs.open();
    const backend = build(dirs);
    const stores = await openLocal(folder.path, { ...options, backends: new Map([[backend.name, backend]]) });
    return {
      ...stores,
      close: async () => {
        await stores.close();
        await dirs.close();
        await folder.remove();
      },
    };
  };
}

const overlay = { rootPath: "", upperdirLabel: false, syncRemove: false, slowChown: false, mountOptions: [] };

if (!isRoot) {
  snapshotterSuite({ name: "native", mounts: false, renamesDirectories: true }, makeLocal);
} else {
  snapshotterSuite(
    { name: "overlayfs", mounts: true, renamesDirectories: false },
    over((dirs) => new OverlayBackend(dirs, overlay, ["index=off"])),
  );
  snapshotterSuite(
    { name: "native", mounts: true, renamesDirectories: true, depth: 32 },
    over((dirs) => new NativeBackend(dirs)),
  );
}
