/** Health of containers by label: `ctr run --health-*`, with a restart policy, over a restart of the daemon. Needs root and runc. */
import assert from "node:assert/strict";
import { rmSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { type Client, until } from "./client.ts";
import { remove } from "./scenarios/containers.ts";
import { useBed } from "./suite.ts";
import { alive, taskRow, taskRows } from "./tasks.ts";

const holder = useBed("ours", "ours");
const CHECK = ["--health-cmd", "test -e /ok", "--health-interval", "100ms", "--health-retries", "2"];

async function health(ctr: Client, id: string): Promise<string | undefined> {
  const info = JSON.parse(await ctr.ok("containers", "info", id)) as { Labels: Record<string, string> };
  return info.Labels["gantry.health/status"];
}
const becomes = (ctr: Client, id: string, status: string): Promise<void> =>
  until(`health ${status}`, async () => (await health(ctr, id)) === status);

test("starting, healthy, unhealthy, healthy again; also after a restart of the daemon; no exec is left", () =>
  holder.check(
    async ({ ctr, engine, image }) => {
      const id = engine.id("checked");
      await ctr.ok("run", "-d", ...CHECK, "--health-start-period", "1h", image, id, "sleep", "1000");
      await becomes(ctr, id, "starting");
      const { pid } = await taskRow(ctr, id);
      const mark = `/proc/${pid}/root/ok`;
      writeFileSync(mark, "");
      await becomes(ctr, id, "healthy");
      rmSync(mark);
      await becomes(ctr, id, "unhealthy");
      await engine.end("SIGKILL");
      await engine.start();
      writeFileSync(mark, "");
      await becomes(ctr, id, "healthy");
      const found = await ctr.ok("containers", "ls", "-q", 'labels."gantry.health/status"==healthy');
      assert.equal(found.trim(), id);
      await until("no exec", async () => !(await ctr.ok("tasks", "ps", id)).includes("health-"));
      await remove(ctr, id);
    },
    ["open files of the daemon", "fifos"],
  ));

test("a check that hangs is killed and has failed; --health-on-failure kill ends the container", () =>
  holder.check(async ({ ctr, engine, image }) => {
    const id = engine.id("hangs");
    const flags = [
      "--health-cmd",
      '["sleep", "1000"]',
      "--health-interval",
      "50ms",
      "--health-timeout",
      "100ms",
    ];
    await ctr.ok(
      "run",
      "-d",
      ...flags,
      "--health-retries",
      "1",
      "--health-on-failure",
      "kill",
      image,
      id,
      "sleep",
      "1000",
    );
    const { pid } = await taskRow(ctr, id);
    await until("its end", () => !alive(pid));
    await until("its exit", async () => (await taskRows(ctr)).some((row) => row.status === "STOPPED"));
    assert.equal(await health(ctr, id), "unhealthy");
    await remove(ctr, id);
    const bad = await ctr.run(
      "run",
      "-d",
      "--health-cmd",
      "true",
      "--health-retries",
      "none",
      image,
      engine.id("x"),
      "true",
    );
    assert.match(bad.err, /retries "none"/);
    const none = await ctr.run("run", "-d", "--health-interval", "1s", image, engine.id("x"), "true");
    assert.match(none.err, /--health-cmd/);
  }));
