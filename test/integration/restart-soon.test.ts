/** Containers with a restart policy are started again when their exit is told, not at the next pass: here that is an hour away. */
import assert from "node:assert/strict";
import { appendFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { imageName, testImages } from "../fixtures/images.ts";
import { type Client, until } from "./client.ts";
import { Engine } from "./engine.ts";
import { remove, status } from "./scenarios/containers.ts";
import { alive, parentOf, taskRow } from "./tasks.ts";

const engine = new Engine("ours");
const image = imageName("busybox");
let ctr: Client;

before(async () => {
  appendFileSync(
    join(engine.dir, "config.toml"),
    '[plugins."io.containerd.monitor.container.v1.restart"]\n  interval = "1h"\n',
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
/** Resolves when another process than `old` runs in it. */
const anew = (id: string, old: number): Promise<void> =>
  until(`${id} to run again`, async () => {
    const row = await taskRow(ctr, id).catch(() => undefined);
    return row?.status === "RUNNING" && row.pid !== old;
  });
const stopFor = async (id: string): Promise<void> => {
  await ctr.ok("containers", "label", id, "containerd.io/restart.status=changing");
  await remove(ctr, id);
};

test("always: killed, and killed again; then with its shim", async () => {
  const id = engine.id("always");
  await ctr.ok("run", "-d", "--restart", "always", image, id, "sleep", "1000");
  for (let turn = 1; turn <= 2; turn++) {
    const { pid } = await taskRow(ctr, id);
    await ctr.ok("tasks", "kill", "-s", "KILL", id);
    await anew(id, pid);
    assert.equal(await label(id, "count"), String(turn));
  }
  const { pid } = await taskRow(ctr, id);
  process.kill(parentOf(pid), "SIGKILL");
  await anew(id, pid);
  assert.equal(alive(pid), false);
  await stopFor(id);
});

test("on-failure:3 tries three times, success ends it, unless-stopped and no stay ended", async () => {
  const [bad, good, no, stopped] = ["bad", "good", "no", "stopped"].map((name) => engine.id(name)) as [
    string,
    string,
    string,
    string,
  ];
  await ctr.ok("run", "-d", "--restart", "unless-stopped", image, stopped, "sleep", "1000");
  await ctr.ok("containers", "label", stopped, "containerd.io/restart.explicitly-stopped=true");
  await ctr.ok("tasks", "kill", "-s", "KILL", stopped);
  await ctr.ok("run", "-d", "--restart", "on-failure", image, good, "true");
  await ctr.ok("run", "-d", image, no, "false");
  await ctr.ok("run", "-d", "--restart", "on-failure:3", image, bad, "sh", "-c", "exit 7");
  // 100, 200 and 400 ms: the others were looked at long before
  await until(
    "three restarts",
    async () => (await label(bad, "count")) === "3" && (await status(ctr, bad)) === "STOPPED",
  );
  for (const id of [good, no, stopped]) {
    assert.equal(await status(ctr, id), "STOPPED", id);
    assert.equal(await label(id, "count"), "", id);
  }
  for (const id of [bad, good, no, stopped]) await stopFor(id);
});

test("a client that removes a container is not raced", async () => {
  for (let i = 0; i < 5; i++) {
    const id = engine.id("removed");
    await ctr.ok("run", "-d", "--restart", "always", image, id, "sleep", "1000");
    await ctr.ok("tasks", "rm", "-f", id);
    await ctr.ok("containers", "rm", id);
    const { code } = await ctr.run("containers", "info", id);
    assert.equal(code, 1);
  }
  assert.equal((await ctr.ok("tasks", "ls", "-q")).trim(), "");
});
