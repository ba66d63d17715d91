/** `ctr install`: programs of an image into the folder of the daemon's opt plugin, or another one; nothing beside its folders. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, lstatSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { imageName, testImages } from "../fixtures/images.ts";
import { type Daemon, startDaemon } from "../peers/peer.ts";
import { BUN, MAIN } from "./program.ts";

const dir = mkdtempSync(join(tmpdir(), "gantry-install-cmd-"));

describe("ctr install", { skip: process.getuid?.() !== 0 }, () => {
  let daemon: Daemon;
  const ctr = (...args: string[]): { code: number | null; out: string; err: string } => {
    const done = spawnSync(BUN, [MAIN, "ctr", "-a", daemon.address, ...args], { encoding: "utf8" });
    return { code: done.status, out: done.stdout, err: done.stderr };
  };
  before(async () => {
    daemon = await startDaemon({ command: [BUN, MAIN, "daemon"] });
    const said = ctr("images", "import", "--no-unpack", testImages().archive("busybox"));
    assert.equal(said.code, 0, said.err);
  });
  after(async () => {
    await daemon.stop();
    rmSync(dir, { recursive: true, force: true });
  });

  test("puts what stands in /bin there, executable; refuses to replace unless told", () => {
    const path = join(dir, "opt");
    const said = ctr("install", "--path", path, imageName("busybox"));
    assert.equal(said.code, 0, said.err);
    assert.deepEqual(readdirSync(path), ["bin"]);
    assert.equal(lstatSync(join(path, "bin/busybox")).mode & 0o777, 0o755);
    assert.equal(
      spawnSync(join(path, "bin/busybox"), ["echo", "works"], { encoding: "utf8" }).stdout,
      "works\n",
    );
    const again = ctr("install", "--path", path, imageName("busybox"));
    assert.equal(again.code, 1);
    assert.match(again.err, /already exists[\s\S]*--replace/);
    assert.equal(ctr("install", "--replace", "--path", path, imageName("busybox")).code, 0);
    assert.deepEqual(
      readdirSync(join(path, "bin")).filter((name) => name.includes(".new.")),
      [],
    );
  });

  test("an image that is not there", () => {
    const said = ctr("install", "--path", join(dir, "none"), "gantry.test/none:1");
    assert.equal(said.code, 1);
    assert.match(said.err, /not found[\s\S]*ctr images pull/);
    assert.equal(existsSync(join(dir, "none")), false);
  });
});
