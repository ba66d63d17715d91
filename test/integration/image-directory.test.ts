/** The watched image folder with a real daemon: imported at start and on change, pinned; bad files do no harm. Needs root. */
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import {
  copyFileSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { gzipSync } from "node:zlib";
import { testImages } from "../fixtures/images.ts";
import { startRegistry } from "../fixtures/registry.ts";
import type { Said } from "../peers/peer.ts";
import { until } from "./client.ts";
import { Engine } from "./engine.ts";
import { BUN, MAIN } from "./program.ts";

/** Puts a file into the folder as a finished one: its last change was a while ago. */
function put(path: string, bytes: Uint8Array): void {
  writeFileSync(`${path}.part`, bytes);
  const past = Date.now() / 1000 - 60;
  utimesSync(`${path}.part`, past, past);
  renameSync(`${path}.part`, path);
}

describe("image folder", { skip: process.getuid?.() !== 0 }, () => {
  test("archives become pinned images; changes, removals and restarts are followed; bad files are named", async () => {
    const images = testImages();
    await using registry = await startRegistry({ filled: images });
    const engine = new Engine("bun");
    const ctr = (...args: string[]): Promise<Said> =>
      new Promise((resolve, reject) => {
        const child = spawn(BUN, [MAIN, "ctr", "-a", engine.address, "-n", "k8s.io", ...args]);
        let [out, err] = ["", ""];
        child.stdout.on("data", (d) => (out += String(d)));
        child.stderr.on("data", (d) => (err += String(d)));
        child.on("error", reject);
        child.on("close", (code) => resolve({ code: code ?? 128, out, err }));
      });
    const pinned = async (): Promise<string[]> =>
      (await ctr("images", "ls", 'labels."io.cri-containerd.pinned"==pinned', "-q")).out
        .trim()
        .split("\n")
        .filter((name) => name !== "");
    const archive = readFileSync(images.archive("busybox"));
    const second = readFileSync(images.archive("layers10"));
    const dir = join(engine.root, "images");
    try {
      mkdirSync(dir, { recursive: true });
      put(join(dir, "a.tar.gz"), gzipSync(archive, { level: 1 }));
      put(join(dir, "bad.tar"), archive.subarray(0, 5000));
      put(join(dir, "readme.md"), Buffer.from("# no archive"));
      await engine.start();
      await until("the first image", async () => (await pinned()).length === 1, 20_000);
      const [name] = await pinned();
      assert.match(name ?? "", /busybox:latest$/);
      await until("the bad file's name in the log", () => /bad\.tar/.test(engine.log()));
      assert.match(engine.log(), /readme\.md/);
      // Unpacked, ready to run.
      assert.match((await ctr("images", "check")).out, /complete .* true/);

      // What comes later, in another compression, and a list of names.
      put(join(dir, "b.tar.xz"), execFileSync("xz", ["-0", "-c"], { input: second, maxBuffer: 1 << 28 }));
      put(join(dir, "more.txt"), Buffer.from(`# by name\n${registry.ref("multi")}\n\n`));
      await until("the later ones", async () => (await pinned()).length === 3, 20_000);
      assert.ok((await pinned()).includes(registry.ref("multi")));

      // A restart reads nothing again, and brings back what was removed.
      await engine.end("SIGTERM");
      const before = engine.log().length;
      await engine.start();
      assert.equal((await ctr("images", "rm", name ?? "")).code, 0);
      await until("the bad file again", () => /bad\.tar/.test(engine.log().slice(before)));
      assert.doesNotMatch(engine.log().slice(before), /images imported/);
      await engine.end("SIGTERM");
      await engine.start();
      await until("the removed image", async () => (await pinned()).includes(name ?? ""), 20_000);

      // Other content under the same file name; then no file at all.
      put(join(dir, "a.tar.gz"), second);
      await until("the change", async () => !(await pinned()).includes(name ?? ""), 20_000);
      rmSync(join(dir, "b.tar.xz"));
      rmSync(join(dir, "more.txt"));
      await until("the unpinning", async () => (await pinned()).length === 1, 20_000);
      assert.equal((await ctr("images", "ls", "-q")).out.trim().split("\n").length, 3);
      copyFileSync(images.archive("busybox"), join(dir, "bad.tar"));
      await until("the mended file", async () => (await pinned()).includes(name ?? ""), 20_000);
    } catch (err) {
      throw new Error(engine.log().slice(-3000), { cause: err });
    } finally {
      await engine.stop();
    }
  });
});
