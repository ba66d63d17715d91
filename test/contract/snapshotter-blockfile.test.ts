/** Files with ext4 on loop devices: needs root, mkfs.ext4 and loop devices, and is skipped without them. */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { appendFileSync, existsSync, readFileSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { noLog } from "../../src/core/log.ts";
import { setMainScript } from "../../src/platform/runtime.ts";
import { BlockfileBackend } from "../../src/plugins/snapshots/blockfile.ts";
import { copySparse } from "../../src/plugins/snapshots/copy-sparse.ts";
import { SnapshotDirectories } from "../../src/plugins/snapshots/directories.ts";
import { type MakeStores, tempFolder } from "./harness.ts";
import { openLocal } from "./local-stores.ts";
import { snapshotterSuite } from "./snapshotter.ts";

setMainScript(new URL("../../src/main.ts", import.meta.url).pathname);

const make: MakeStores = async (options) => {
  const folder = await tempFolder();
  const scratchFile = join(folder.path, "scratch");
  const root = join(folder.path, "snapshotter");
  await mkdir(root);
  writeFileSync(scratchFile, "");
  truncateSync(scratchFile, 8 << 20);
  execFileSync("mkfs.ext4", ["-q", "-O", "^has_journal", "-E", "root_owner=0:0", scratchFile]);
  execFileSync("debugfs", ["-w", "-R", "rmdir lost+found", scratchFile], { stdio: "ignore" });
  const dirs = new SnapshotDirectories(root, noLog, false);
  await dirs.open();
  const config = { rootPath: "", scratchFile, fsType: "ext4", mountOptions: [] };
  const backends = new Map([["blockfile", new BlockfileBackend(dirs, config)]]);
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
      await folder.remove();
    },
  };
};

test("a copy of a file keeps its holes and bytes", async () => {
  const folder = await tempFolder();
  const [from, to] = [join(folder.path, "from"), join(folder.path, "to")];
  writeFileSync(from, "begin");
  truncateSync(from, 5_000_000);
  appendFileSync(from, "end");
  copySparse(from, to);
  assert.deepEqual(readFileSync(to), readFileSync(from));
  assert.ok(statSync(to).blocks * 512 < 1_000_000);
  assert.throws(() => copySparse(join(folder.path, "none"), join(folder.path, "x")), { code: "ENOENT" });
  await folder.remove();
});

const works =
  process.getuid?.() === 0 && spawnSync("mkfs.ext4", ["-V"]).status === 0 && existsSync("/dev/loop-control");
if (works)
  snapshotterSuite(
    { name: "blockfile", mounts: true, renamesDirectories: true, depth: 8, wholeFiles: true },
    make,
  );
else test("blockfile snapshotter", { skip: "needs root, mkfs.ext4 and loop devices" }, () => {});
