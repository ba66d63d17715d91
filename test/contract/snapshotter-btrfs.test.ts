/** On a btrfs made in a file: needs root, mkfs.btrfs and a kernel that knows btrfs, and is skipped without them. */
import { execFileSync, spawnSync } from "node:child_process";
import { truncateSync, writeFileSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { noLog } from "../../src/core/log.ts";
import { setMainScript } from "../../src/platform/runtime.ts";
import { BtrfsBackend } from "../../src/plugins/snapshots/btrfs.ts";
import { SnapshotDirectories } from "../../src/plugins/snapshots/directories.ts";
import { type MakeStores, tempFolder } from "./harness.ts";
import { openLocal } from "./local-stores.ts";
import { snapshotterSuite } from "./snapshotter.ts";

setMainScript(new URL("../../src/main.ts", import.meta.url).pathname);

/** A new file system for every test: what one leaves does not reach the next. */
const make: MakeStores = async (options) => {
  const folder = await tempFolder();
  const image = join(folder.path, "disk");
  const root = join(folder.path, "snapshotter");
  await mkdir(root);
  writeFileSync(image, "");
  truncateSync(image, 256 << 20);
  execFileSync("mkfs.btrfs", ["-q", image]);
  execFileSync("mount", ["-o", "loop", image, root]);
  const dirs = new SnapshotDirectories(root, noLog, false);
  await dirs.open();
  const backends = new Map([["btrfs", new BtrfsBackend(dirs, noLog)]]);
  const stores = await openLocal(folder.path, { ...options, backends });
  let closed = false;
  return {
    ...stores,
    close: async () => {
      await stores.close();
      if (closed) return;
      closed = true;
      await dirs.settled();
      await dirs.close();
      execFileSync("umount", [root]);
      await folder.remove();
    },
  };
};

const works =
  process.getuid?.() === 0 &&
  spawnSync("mkfs.btrfs", ["--version"]).status === 0 &&
  execFileSync("cat", ["/proc/filesystems"], { encoding: "utf8" }).includes("btrfs");
if (works) snapshotterSuite({ name: "btrfs", mounts: true, renamesDirectories: true, depth: 16 }, make);
else test("btrfs snapshotter", { skip: "needs root, mkfs.btrfs and btrfs in the kernel" }, () => {});
