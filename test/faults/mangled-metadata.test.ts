/**
 * Damaged metadata under a real daemon (reliability R2, R3, F6): files of a populated database are flipped, zeroed, cut, swapped or gone
 * between two starts. Every start must answer, list what is left, run a container after a new import, and stop. Longer:
 * GANTRY_MANGLE_ROUNDS; another one: GANTRY_FUZZ_SEED. Needs root.
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  existsSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { imageName, testImages } from "../fixtures/images.ts";
import { startEngine } from "../integration/engine.ts";
import { Random } from "../security/fuzz/random.ts";

const ROUNDS = Number(process.env["GANTRY_MANGLE_ROUNDS"] ?? 4);
const SEED = Number(process.env["GANTRY_FUZZ_SEED"] ?? 1);
const PAGE = 4096;
const skip = process.getuid?.() !== 0 ? "needs root" : false;

/** A copy as it is: owners, links, holes. */
function copy(from: string, to: string): void {
  execFileSync("cp", ["-a", from, to]);
}

/** Damages one file. @returns what was done */
function mangle(random: Random, path: string): string {
  const { size } = statSync(path);
  const pages = Math.max(1, Math.ceil(size / PAGE));
  const bytes = readFileSync(path);
  const page = random.below(pages) * PAGE;
  switch (random.below(8)) {
    case 0:
      truncateSync(path, random.below(size + 1));
      return "cut";
    case 1:
      bytes.fill(0, page, page + PAGE);
      break;
    case 2:
      bytes.fill(0xff, page, page + PAGE);
      break;
    case 3:
      bytes.copyWithin(page, random.below(pages) * PAGE, random.below(pages) * PAGE + PAGE);
      break;
    case 4:
      writeFileSync(path, "");
      return "emptied";
    case 5:
      rmSync(path);
      return "removed";
    default:
      for (let i = 1 + random.below(200); i > 0; i--) bytes[random.below(size)] = random.below(256);
  }
  writeFileSync(path, bytes);
  return "changed";
}

test(`${ROUNDS} starts over damaged metadata`, { skip, timeout: 3_600_000 }, async () => {
  await using engine = await startEngine("ours");
  const ctr = engine.client("ours");
  const image = imageName("busybox");
  await ctr.ok("images", "import", testImages().archive("busybox"));
  await ctr.ok("containers", "create", image, engine.id("made"), "true");
  for (let i = 0; i < 60; i++) await ctr.ok("images", "tag", image, `gantry.test/tag:${i}`);
  await ctr.ok("leases", "create", "kept");
  // killed, so that the log holds what is not in the file yet
  assert.ok(await engine.end("SIGKILL"));
  const folder = join(engine.root, "io.containerd.metadata.v1.bolt");
  const saved = join(engine.dir, "saved");
  copy(engine.root, saved);

  const random = new Random(SEED);
  for (let round = 1; round <= ROUNDS; round++) {
    rmSync(engine.root, { recursive: true });
    copy(saved, engine.root);
    const files = readdirSync(folder)
      .filter((name) => statSync(join(folder, name)).isFile())
      .sort();
    const done: string[] = [];
    for (let i = 1 + random.below(2); i > 0; i--) {
      const name = random.pick(files);
      if (existsSync(join(folder, name)) && statSync(join(folder, name)).size > 0)
        done.push(`${name} ${mangle(random, join(folder, name))}`);
    }
    const what = `round ${round} of seed ${SEED}: ${done.join(", ")}`;
    try {
      await engine.start();
      for (const words of [
        ["images", "ls"],
        ["containers", "ls"],
        ["content", "ls"],
        ["snapshots", "ls"],
        ["leases", "ls"],
        ["namespaces", "ls"],
      ])
        await ctr.ok(...words);
      await ctr.ok("images", "import", testImages().archive("busybox"));
      assert.equal(await ctr.ok("run", "--rm", image, engine.id("after"), "echo", "here"), "here\n");
      assert.ok(await engine.end(random.oneIn(2) ? "SIGTERM" : "SIGKILL"), "it did not end");
    } catch (err) {
      throw new Error(`${what}: ${String(err)}\n${engine.log().slice(-3000)}`, { cause: err });
    }
  }
});
