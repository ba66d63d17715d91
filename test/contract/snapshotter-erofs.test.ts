/** EROFS images, mounted for real: needs root, mkfs.erofs and a kernel with erofs, and is skipped without them. */

import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { noLog } from "../../src/core/log.ts";
import { setMainScript } from "../../src/platform/runtime.ts";
import { SnapshotDirectories } from "../../src/plugins/snapshots/directories.ts";
import { ErofsBackend } from "../../src/plugins/snapshots/erofs.ts";
import { type MakeStores, tempFolder } from "./harness.ts";
import { openLocal } from "./local-stores.ts";
import { snapshotterSuite } from "./snapshotter.ts";

setMainScript(new URL("../../src/main.ts", import.meta.url).pathname);

const make: MakeStores = async (options) => {
  const folder = await tempFolder();
  const root = join(folder.path, "snapshotter");
  await mkdir(root);
  const dirs = new SnapshotDirectories(root, noLog, false);
  await dirs.open();
  const backend = new ErofsBackend(dirs, { rootPath: "", mountOptions: [] });
  const stores = await openLocal(folder.path, { ...options, backends: new Map([["erofs", backend]]) });
  let closed = false;
  return {
    ...stores,
    close: async () => {
      await stores.close();
      if (closed) return;
      closed = true;
      await dirs.settled();
      await dirs.close();
      await backend.close();
      await folder.remove();
    },
  };
};

const works =
  process.getuid?.() === 0 &&
  spawnSync("mkfs.erofs", ["--help"]).error === undefined &&
  /\terofs$/m.test(readFileSync("/proc/filesystems", "utf8"));
if (works)
  snapshotterSuite(
    { name: "erofs", mounts: true, renamesDirectories: false, depth: 12, wholeFiles: true },
    make,
  );
else test("erofs snapshotter", { skip: "needs root, mkfs.erofs and erofs in the kernel" }, () => {});
