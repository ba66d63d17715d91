/**
 * kill -9 of the daemon and of shims with live containers (reliability F1, F3, R5, R6): nothing is lost, nothing is left, every
 * exit is told once. Needs root, runc, docker-registry, skopeo.
 */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { AFTER_RESTART } from "./census.ts";
import { until } from "./client.ts";
import { detached, exitedWith, remove } from "./scenarios/containers.ts";
import { type Bed, useBed } from "./suite.ts";
import { alive, parentOf, taskRow, taskRows } from "./tasks.ts";
import { watchEvents } from "./watch.ts";

/** FIFOs of a detached start: the client made them and removes them with the task, which is gone here. */
const CLIENTS_OWN = ["fifos"];

/** A container that ends with a code when a file appears. */
async function waitsForFile(bed: Bed, file: string, code: number): Promise<string> {
  const id = bed.engine.id("waits");
  const mount = `type=bind,src=${bed.dir},dst=/go,options=rbind:ro`;
  const script = `while [ ! -e /go/${file} ]; do sleep 0.02; done; exit ${code}`;
  await bed.ctr.ok("run", "-d", "--mount", mount, bed.image, id, "sh", "-c", script);
  await until("the task to run", async () => (await taskRow(bed.ctr, id)).status === "RUNNING");
  return id;
}

describe("restarts", () => {
  const bed = useBed("ours", "1.6");

  test("kill -9 of the daemon: containers run on, are found again, exits meanwhile are right", () =>
    bed.check(async (b) => {
      const { ctr, engine, dir } = b;
      const stays = await detached(b, "stays", "sh", "-c", "while :; do sleep 0.1; done");
      const paused = await detached(b, "paused", "sleep", "1000");
      await ctr.ok("tasks", "pause", paused);
      const ends = await waitsForFile(b, "now", 7);
      const before = await taskRows(ctr);
      const endsPid = (await taskRow(ctr, ends)).pid;
      await engine.end("SIGKILL");
      writeFileSync(join(dir, "now"), "");
      await until("the exit while the daemon is down", () => !alive(endsPid));
      const ms = await engine.start();
      console.log(`ready ${ms.toFixed(0)} ms after the start`);
      const now = new Map((await taskRows(ctr)).map((row) => [row.id, row]));
      for (const row of before) {
        const status = row.id === ends ? "STOPPED" : row.status;
        assert.deepEqual(now.get(row.id), { ...row, status });
      }
      await exitedWith(ctr, ends, 7);
      await ctr.ok("containers", "rm", ends);
      for (const client of ["ours", "1.6", "1.7"] as const) {
        const said = await engine
          .client(client)
          .run("tasks", "exec", "--exec-id", engine.id("e"), stays, "sh", "-c", "echo in; exit 3");
        assert.equal(said.out, "in\n", said.err);
        assert.equal(said.code, 3);
      }
      await ctr.ok("tasks", "resume", paused);
      for (const id of [stays, paused]) await remove(ctr, id);
    }, AFTER_RESTART));

  test("TERM and a new start: containers run on", () =>
    bed.check(async (b) => {
      const id = await detached(b, "term", "sleep", "1000");
      const row = await taskRow(b.ctr, id);
      assert.ok(await b.engine.end("SIGTERM"), "the daemon ends by itself");
      assert.ok(alive(row.pid));
      await b.engine.start();
      assert.deepEqual(await taskRow(b.ctr, id), row);
      await remove(b.ctr, id);
    }, AFTER_RESTART));

  test("kill -9 of a shim: the container is dead, one exit event within 2 s, nothing left", () =>
    bed.check(async (b) => {
      const { ctr, engine } = b;
      const watch = await watchEvents(engine);
      const id = await detached(b, "shim", "sh", "-c", "while :; do sleep 0.1; done");
      const other = await detached(b, "other", "sleep", "1000");
      const { pid } = await taskRow(ctr, id);
      const began = performance.now();
      process.kill(parentOf(pid), "SIGKILL");
      await until("the exit event", () => watch.of(id).some((e) => e.topic === "/tasks/exit"));
      const took = performance.now() - began;
      console.log(`exit told ${took.toFixed(0)} ms after the death of the shim`);
      assert.ok(!alive(pid), "the container is dead");
      await until("the end of the task", async () => !(await taskRows(ctr)).some((row) => row.id === id));
      await ctr.ok("containers", "rm", id);
      assert.equal((await taskRow(ctr, other)).status, "RUNNING");
      await remove(ctr, other);
      const exits = watch.of(id).filter((e) => e.topic === "/tasks/exit");
      assert.equal(exits.length, 1);
      assert.equal(exits[0]?.body["exit_status"], 137);
      assert.ok(took < 2000, `exit told after ${took} ms`);
      await watch.stop();
    }, CLIENTS_OWN));

  test("kill -9 of a shim while the daemon is down: the next start cleans up", () =>
    bed.check(
      async (b) => {
        const { ctr, engine } = b;
        const id = await detached(b, "down", "sh", "-c", "while :; do sleep 0.1; done");
        const { pid } = await taskRow(ctr, id);
        await engine.end("SIGKILL");
        const shim = parentOf(pid);
        process.kill(shim, "SIGKILL");
        await until("the end of the shim", () => !alive(shim));
        await engine.start();
        await until("the end of the task", async () => !(await taskRows(ctr)).some((row) => row.id === id));
        await until("the end of the container", () => !alive(pid));
        await ctr.ok("containers", "rm", id);
      },
      [...AFTER_RESTART, ...CLIENTS_OWN],
    ));
});
