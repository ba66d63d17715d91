/** Files with ext4 on loop devices: needs root, mkfs.ext4 and loop devices, and is skipped without them. */
import assert from "node:assert/strict";
import { appendFileSync, readFileSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { copySparse } from "../../src/plugins/snapshots/copy-sparse.ts";
import { tempFolder } from "./harness.ts";
import { BLOCKFILE, runSuite } from "./real-snapshotters.ts";

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

runSuite(BLOCKFILE);
