/** `share_shims` of the shim manager: one shim for a namespace, or for the whole node. Needs root and runc. */
import assert from "node:assert/strict";
import { appendFileSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { imageName, testImages } from "../fixtures/images.ts";
import type { Client } from "./client.ts";
import { until } from "./client.ts";
import { Engine } from "./engine.ts";
import { alive, parentOf, taskRow } from "./tasks.ts";
import { watchEvents } from "./watch.ts";

async function withSharing(sharing: string, run: (engine: Engine) => Promise<void>): Promise<void> {
  const engine = new Engine("ours");
  try {
    const table = `[plugins."io.containerd.shim.v1.manager"]\n  share_shims = "${sharing}"\n`;
    appendFileSync(join(engine.dir, "config.toml"), table);
    await engine.start();
    await run(engine);
  } finally {
    await engine.stop();
  }
}

const image = imageName("busybox");
const shimOf = async (ctr: Client, id: string): Promise<number> => parentOf((await taskRow(ctr, id)).pid);

test("namespace: its containers share a shim, those of another namespace do not", () =>
  withSharing("namespace", async (engine) => {
    const ctr = engine.client("ours");
    const other = ctr.in(`${engine.namespace}-other`);
    const [a, b, c] = [engine.id("a"), engine.id("b"), engine.id("c")];
    for (const [client, ids] of [
      [ctr, [a, b]],
      [other, [c]],
    ] as const) {
      await client.ok("images", "import", testImages().archive("busybox"));
      for (const id of ids) await client.ok("run", "-d", image, id, "sleep", "1000");
    }
    const shim = await shimOf(ctr, a);
    assert.equal(await shimOf(ctr, b), shim);
    const second = await shimOf(other, c);
    assert.notEqual(second, shim);
    for (const id of [a, b]) await ctr.ok("tasks", "rm", "-f", id);
    await until("the end of the shim", () => !alive(shim));
    assert.ok(alive(second));
    await other.ok("tasks", "rm", "-f", c);
  }));

test("node: equal ids in two namespaces are two containers; restart, kill of the shim, exits told in their namespaces", () =>
  withSharing("node", async (engine) => {
    const ctr = engine.client("ours");
    const other = ctr.in(`${engine.namespace}-other`);
    const id = engine.id("same");
    for (const client of [ctr, other]) {
      await client.ok("images", "import", testImages().archive("busybox"));
      await client.ok("run", "-d", image, id, "sleep", "1000");
    }
    const rows = [await taskRow(ctr, id), await taskRow(other, id)];
    assert.notEqual(rows[0]?.pid, rows[1]?.pid);
    const shim = parentOf(rows[0]?.pid ?? 0);
    assert.equal(parentOf(rows[1]?.pid ?? 0), shim);
    assert.equal((await other.run("tasks", "exec", "--exec-id", "e", id, "sh", "-c", "exit 9")).code, 9);
    await engine.end("SIGKILL");
    await engine.start();
    assert.deepEqual([await taskRow(ctr, id), await taskRow(other, id)], rows);
    const events = await watchEvents(engine, "ours");
    process.kill(shim, "SIGKILL");
    const exits = () => events.of(id).filter((e) => e.topic === "/tasks/exit");
    await until("both exits", () => exits().length === 2);
    await until("the end of both", () => !rows.some((row) => alive(row.pid)));
    assert.deepEqual(
      exits().map((e) => e.body["exit_status"]),
      [137, 137],
    );
    await events.stop();
    // told before all is cleaned up
    await until(
      "the mounts of both to go",
      () => !readFileSync("/proc/mounts", "utf8").includes(engine.state),
    );
  }));
