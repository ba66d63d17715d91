/** Archives of `docker save`, whose layers have names instead of digests: imported once more, in another namespace, after a removal. */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { testImages } from "../fixtures/images.ts";
import { type Daemon, startDaemon } from "../peers/peer.ts";
import { BUN, MAIN } from "./program.ts";

const dir = mkdtempSync(join(tmpdir(), "gantry-docker-archive-"));
const NAME = "gantry.test/saved:1";

describe("docker archive", { skip: process.getuid?.() !== 0 }, () => {
  let daemon: Daemon;
  const archive = join(dir, "saved.tar");
  const ctr = (...args: string[]): string => {
    const done = spawnSync(BUN, [MAIN, "ctr", "-a", daemon.address, ...args], { encoding: "utf8" });
    assert.equal(done.status, 0, done.stderr);
    assert.equal(done.stderr, "");
    return done.stdout;
  };

  before(async () => {
    const from = `oci:${testImages().layout}:busybox`;
    execFileSync("skopeo", ["copy", "--quiet", from, `docker-archive:${archive}:${NAME}`]);
    daemon = await startDaemon({ command: [BUN, MAIN, "daemon"] });
  });
  after(async () => {
    await daemon.stop();
    rmSync(dir, { recursive: true, force: true });
  });

  test("an archive that is not there is named once, with its reason once", () => {
    const missing = join(dir, "nowhere.tar");
    const args = ["ctr", "-a", daemon.address, "images", "import", missing];
    const done = spawnSync(BUN, [MAIN, ...args], { encoding: "utf8" });
    assert.equal(done.status, 1);
    assert.equal(done.stdout, "");
    assert.match(
      done.stderr,
      /^ctr: open archive "[^"]+nowhere\.tar": no such file or directory: not found\n/,
    );
    assert.equal(done.stderr.split("nowhere.tar").length, 2);
    assert.equal(done.stderr.split("no such file").length, 2);
  });

  test("every import names its image and leaves no ingest", () => {
    const steps: string[][] = [[], [], ["-n", "other"]];
    for (const where of steps)
      assert.match(
        ctr(...where, "images", "import", "--snapshotter", "native", archive),
        /^unpacking gantry\.test\/saved:1 \(sha256:\w+\)\.\.\.done\n$/,
      );
    ctr("images", "rm", NAME);
    ctr("images", "import", "--snapshotter", "native", archive);
    for (const ns of ["default", "other"]) {
      assert.equal(ctr("-n", ns, "images", "ls", "-q"), `${NAME}\n`);
      assert.equal(ctr("-n", ns, "content", "active").trim().split("\n").length, 1, "only the heading");
    }
  });
});
