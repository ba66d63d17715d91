/** The restart monitor in the real daemon, with its interval shortened. Needs root and runc. */
import assert from "node:assert/strict";
import { appendFileSync, existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { imageName, testImages } from "../fixtures/images.ts";
import { type Client, until } from "./client.ts";
import { Engine } from "./engine.ts";
import { remove, status } from "./scenarios/containers.ts";

const engine = new Engine("ours");
const image = imageName("busybox");
let ctr: Client;

before(async () => {
  appendFileSync(
    join(engine.dir, "config.toml"),
    '[plugins."io.containerd.monitor.container.v1.restart"]\n  interval = "500ms"\n',
  );
  await engine.start();
  ctr = engine.client("ours");
  await ctr.ok("images", "import", testImages().archive("busybox"));
});
after(() => engine.stop());

const label = async (id: string, key: string): Promise<string> => {
  const info = JSON.parse(await ctr.ok("containers", "info", id)) as { Labels: Record<string, string> };
  return info.Labels[`containerd.io/restart.${key}`] ?? "";
};
const pid = async (id: string): Promise<string> => {
  const row = (await ctr.ok("tasks", "ls")).split("\n").find((line) => line.startsWith(`${id} `)) ?? "";
  return row.trim().split(/\s+/)[1] ?? "";
};
const running = (id: string): Promise<void> =>
  until(`${id} to run`, async () => (await status(ctr, id)) === "RUNNING");

test("always: what is killed runs again, its output goes to the log of the label", async () => {
  const id = engine.id("always");
  const log = join(engine.dir, "out.log");
  const flags = ["-d", "--restart", "always", "--log-uri", `file://${log}`];
  await ctr.ok("run", ...flags, image, id, "sh", "-c", "echo begin; exec sleep 1000");
  await running(id);
  const first = await pid(id);
  await ctr.ok("tasks", "kill", "-s", "KILL", id);
  await until(
    "another process",
    async () => (await status(ctr, id)) === "RUNNING" && (await pid(id)) !== first,
  );
  await until("both lines", () => existsSync(log) && readFileSync(log, "utf8") === "begin\nbegin\n");
  assert.equal(await label(id, "count"), "1");

  // a daemon that was killed takes it up again
  await engine.end("SIGKILL");
  const second = await runningPid(id);
  process.kill(second, "SIGKILL");
  await engine.start();
  await until(
    "a third process",
    async () => (await status(ctr, id)) === "RUNNING" && Number(await pid(id)) !== second,
  );

  // stopped by its label
  await ctr.ok("containers", "label", id, "containerd.io/restart.status=stopped");
  await until("the end of the task", async () => (await status(ctr, id)) === "");
  await ctr.ok("containers", "rm", id);
});

/** Process of a container, from the kernel: the daemon is down. */
async function runningPid(id: string): Promise<number> {
  const state = join("/run/containerd/runc", engine.namespace, id, "state.json");
  return (JSON.parse(readFileSync(state, "utf8")) as { init_process_pid: number }).init_process_pid;
}

test("on-failure:2: two more tries, then it stays ended; success is left alone", async () => {
  const bad = engine.id("bad");
  const good = engine.id("good");
  await ctr.ok("run", "-d", "--restart", "on-failure:2", image, bad, "sh", "-c", "exit 7");
  await ctr.ok("run", "-d", "--restart", "on-failure:2", image, good, "true");
  await until(
    "two restarts",
    async () => (await label(bad, "count")) === "2" && (await status(ctr, bad)) === "STOPPED",
  );
  // the other one was looked at by the same passes
  assert.equal(await label(good, "count"), "");
  assert.equal(await status(ctr, good), "STOPPED");
  const pidOfBad = await pid(bad);
  const waiter = engine.id("waiter");
  await ctr.ok("run", "-d", "--restart", "always", image, waiter, "true");
  await until("later passes", async () => Number(await label(waiter, "count")) >= 2);
  assert.equal(await pid(bad), pidOfBad);
  await ctr.ok("containers", "label", waiter, "containerd.io/restart.status=stopped");
  for (const id of [bad, good]) await remove(ctr, id);
  await until("the end of the waiter", async () => (await status(ctr, waiter)) !== "RUNNING");
  await remove(ctr, waiter);
});

test("unless-stopped: what a user stopped stays stopped", async () => {
  const id = engine.id("unless");
  await ctr.ok("run", "-d", "--restart", "unless-stopped", image, id, "sleep", "1000");
  await running(id);
  await ctr.ok("containers", "label", id, "containerd.io/restart.explicitly-stopped=true");
  await ctr.ok("tasks", "kill", "-s", "KILL", id);
  await until("its end", async () => (await status(ctr, id)) === "STOPPED");
  await ctr.ok("containers", "label", id, "containerd.io/restart.explicitly-stopped=false");
  await running(id);
  await ctr.ok("containers", "label", id, "containerd.io/restart.status=stopped");
  await until("the end of the task", async () => (await status(ctr, id)) === "");
  await ctr.ok("containers", "rm", id);
});

test("flags: --restart needs --detach and a known policy", async () => {
  assert.match((await ctr.run("run", "--restart", "always", image, "x", "true")).err, /needs --detach/);
  assert.match((await ctr.run("run", "-d", "--restart", "ever", image, "x", "true")).err, /unknown/);
  assert.match(await ctr.ok("plugins", "ls"), /io\.containerd\.monitor\.container\.v1\s+restart\s.*ok/);
});
