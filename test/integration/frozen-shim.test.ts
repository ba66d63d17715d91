/** A shim that does not answer is no dead shim: a daemon that restarts keeps its container, and cleans up when it really dies (R7). Needs root, runc. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { imageName, testImages } from "../fixtures/images.ts";
import { until } from "./client.ts";
import { startEngine } from "./engine.ts";

/** The shim whose command line names a container. */
function shimOf(id: string): number {
  for (const name of readdirSync("/proc").filter((n) => /^\d+$/.test(n))) {
    try {
      const words = readFileSync(`/proc/${name}/cmdline`, "utf8").split("\0");
      if (words[0] === "containerd-shim-runc-v2" && words.includes(id)) return Number(name);
    } catch {
      // ended meanwhile
    }
  }
  throw new Error(`no shim of "${id}"`);
}

test("a frozen shim at a daemon's restart", { timeout: 120_000 }, async () => {
  await using engine = await startEngine("bun");
  const ctr = engine.client("1.6");
  await ctr.ok("images", "import", testImages().archive("busybox"));
  const image = imageName("busybox");
  const [one, two] = [engine.id("frozen"), engine.id("other")];
  for (const id of [one, two]) await ctr.ok("run", "-d", image, id, "sleep", "1000");
  const shim = shimOf(one);
  process.kill(shim, "SIGSTOP");
  await engine.end("SIGKILL");
  await engine.start();
  const frozen = await ctr.ok("tasks", "ls");
  assert.match(frozen, new RegExp(`${one} +[1-9]\\d* +UNKNOWN`));
  assert.match(frozen, new RegExp(`${two} +\\d+ +RUNNING`));
  process.kill(shim, "SIGCONT");
  assert.match(await ctr.ok("tasks", "ls"), new RegExp(`${one} +\\d+ +RUNNING`));
  assert.equal(await ctr.ok("tasks", "exec", "--exec-id", "e", one, "echo", "alive"), "alive\n");
  process.kill(shim, "SIGKILL");
  await until("the end of the lost task", async () => !(await ctr.ok("tasks", "ls")).includes(one));
  await ctr.ok("containers", "rm", one);
  await ctr.ok("tasks", "rm", "-f", two);
  await ctr.ok("containers", "rm", two);
});
