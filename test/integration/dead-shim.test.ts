/** A shim that is killed after its container has ended. Our daemon and our `ctr`; needs root and runc. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { until } from "./client.ts";
import { remove, status } from "./scenarios/containers.ts";
import { useBed } from "./suite.ts";
import { processesOf } from "./traces.ts";

const holder = useBed("ours", "ours");

test("the task stays as stopped with its exit code, and is removed with nothing left", () =>
  holder.check(async ({ ctr, engine, image }) => {
    const id = engine.id("dead");
    await ctr.ok("run", "-d", image, id, "sh", "-c", "exit 7");
    await until("the end", async () => (await status(ctr, id)) === "STOPPED");
    const shim = processesOf(engine).find(({ pid }) =>
      readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(id),
    );
    assert.ok(shim !== undefined, "its shim is not found");
    process.kill(shim.pid, "SIGKILL");
    await until("the end of the shim", () => !processesOf(engine).some(({ pid }) => pid === shim.pid));
    assert.equal(await status(ctr, id), "STOPPED");
    const said = await ctr.run("tasks", "rm", id);
    assert.equal(said.code, 0, said.err);
    assert.match(said.err, /exit code 7/);
    assert.equal(await status(ctr, id), "");
    // the id is free again
    await ctr.ok("tasks", "start", "-d", id);
    await until("the second end", async () => (await status(ctr, id)) === "STOPPED");
    await remove(ctr, id);
  }));
