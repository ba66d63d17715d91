/** Bit rot (F7): flipped, cut and removed files in blobs and unpacked layers are all found, and the next pull heals. Needs root. */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import {
  closeSync,
  lstatSync,
  openSync,
  readdirSync,
  readSync,
  rmSync,
  truncateSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { testImages } from "../fixtures/images.ts";
import { startRegistry } from "../fixtures/registry.ts";
import { ourBin } from "../integration/program.ts";
import { ctrOf, startDaemon } from "../peers/peer.ts";
import { random } from "./campaign.ts";

/** All regular files with content below a folder. */
function filesOf(folder: string): string[] {
  return execFileSync("find", [folder, "-type", "f", "-size", "+0", "-links", "1", "-print0"], {
    encoding: "utf8",
  })

    .split("\0")
    .filter(Boolean);
}

/** Turns one bit of one byte. */
function flip(path: string, at: number): void {
  const fd = openSync(path, "r+");
  const byte = Buffer.alloc(1);
  readSync(fd, byte, 0, 1, at);
  writeSync(fd, Buffer.of((byte[0] ?? 0) ^ 4), 0, 1, at);
  closeSync(fd);
}

test("damaged blobs and files of layers are found and healed", {
  skip: process.getuid?.() !== 0,
  timeout: 300_000,
}, async () => {
  const bin = ourBin();
  const images = testImages();
  await using registry = await startRegistry({ filled: images });
  const daemon = await startDaemon({ command: [join(bin, "containerd")], path: [bin] });
  const ctr = ctrOf(join(bin, "ctr"), daemon.address);
  const check = (...more: string[]) => {
    const said = spawnSync(join(bin, "../gantry"), ["check", "-a", daemon.address, "-o", "json", ...more], {
      encoding: "utf8",
      maxBuffer: 64 << 20,
    });
    const report = JSON.parse(said.stdout || "{}") as {
      damaged?: { kind: string; object: string; problem: string }[];
    };
    return { code: said.status, damaged: report.damaged ?? [], err: said.stderr };
  };
  const names = ["busybox", "layers10"];
  const pull = (): void => {
    for (const name of names) {
      const said = ctr("images", "pull", "--plain-http", registry.ref(name));
      assert.equal(said.code, 0, said.err);
    }
  };
  const next = random(7);
  const pick = (list: readonly string[]): string => list[Math.floor(next() * list.length)] ?? "";
  try {
    pull();
    assert.deepEqual(check(), { code: 0, damaged: [], err: "" });
    const root = join(daemon.dir, "root");
    const snapshots = join(root, "io.containerd.snapshotter.v1.overlayfs/snapshots");
    const layers = readdirSync(snapshots).map((id) => join(snapshots, id, "fs"));
    for (let round = 0; round < 30; round++) {
      const [path = ""] = [pick(layers.flatMap((layer) => filesOf(layer)))];
      const { size } = lstatSync(path);
      if (round % 3 === 0) flip(path, Math.floor(next() * size));
      else if (round % 3 === 1) truncateSync(path, size - 1);
      else rmSync(path);
      const found = check();
      assert.equal(found.code, 1, `${path}: not found`);
      assert.deepEqual(
        found.damaged.map((d) => d.kind),
        ["snapshot"],
        path,
      );
      assert.equal(check("--repair").code, 1);
      pull();
      assert.deepEqual(check().damaged, [], path);
      layers.splice(
        0,
        layers.length,
        ...readdirSync(snapshots)
          .filter((id) => /^\d+$/.test(id))
          .map((id) => join(snapshots, id, "fs")),
      );
    }
    const blobs = join(root, "io.containerd.content.v1.content/blobs/sha256");
    for (const name of readdirSync(blobs)) {
      const path = join(blobs, name);
      flip(path, Math.floor(next() * lstatSync(path).size));
    }
    const count = readdirSync(blobs).length;
    assert.deepEqual(
      check("--quick").damaged.map((d) => d.kind),
      Array.from({ length: count }, () => "blob"),
    );
    check("--quick", "--repair");
    pull();
    assert.deepEqual(check(), { code: 0, damaged: [], err: "" });
    assert.equal(readdirSync(blobs).length, count, "every blob is back");
    assert.match(ctr("run", "--rm", registry.ref("layers10"), "v", "/verify.sh").out, / 0 bad/);
  } finally {
    await daemon.stop();
  }
});
