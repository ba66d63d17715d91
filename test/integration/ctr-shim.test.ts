/** `ctr shim`: one shim asked without the daemon, ours and Debian's; hints of `ctr tasks`. Needs root and runc. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { peerBin } from "../peers/peer.ts";
import { until } from "./client.ts";
import { remove, status } from "./scenarios/containers.ts";
import { useBed } from "./suite.ts";
import { taskRow } from "./tasks.ts";

const holder = useBed("ours", "ours");

for (const [name, flags, version] of [
  ["our shim", () => [], "3"],
  ["Debian's 1.7 shim", () => ["--runtime", join(peerBin("1.7"), "containerd-shim-runc-v2")], "2"],
] as const) {
  test(`${name}: state, exec with output and exit code, exec in the background, delete, shutdown`, () =>
    holder.check(async ({ ctr, engine, image }) => {
      const id = engine.id("direct");
      const api = ["--api-version", version];
      await ctr.ok("run", "-d", ...flags(), image, id, "sleep", "1000");
      const { pid } = await taskRow(ctr, id);
      const state = JSON.parse(await ctr.ok("shim", "--id", id, "state", ...api)) as Record<string, unknown>;
      assert.deepEqual([state["id"], state["pid"], state["status"]], [id, pid, "RUNNING"]);
      const said = await ctr.run(
        "shim",
        "--id",
        id,
        "exec",
        "-a",
        "-e",
        "A=b c",
        ...api,
        "one",
        "sh",
        "-c",
        "echo $A; exit 6",
      );
      assert.deepEqual([said.out, said.code], ["b c\n", 6], said.err);
      const back = await ctr.ok("shim", "--id", id, "exec", ...api, "two", "sleep", "1000");
      assert.match(back, /^exec running with pid \d+\n$/);
      await ctr.ok("tasks", "kill", "--exec-id", "two", "-s", "SIGKILL", id);
      await until("its end", async () => (await ctr.run("tasks", "rm", "--exec-id", "two", id)).code === 0);
      const profile = await ctr.run("shim", "--id", id, "pprof", "heap");
      assert.equal(profile.code, 1);
      assert.match(profile.err, /no debug socket/);
      if (version === "3") {
        // a shim that holds a container does not end
        await ctr.ok("shim", "--id", id, "shutdown");
        assert.equal(await status(ctr, id), "RUNNING");
        await ctr.ok("tasks", "kill", "-s", "KILL", id);
        await until("the end", async () => (await status(ctr, id)) === "STOPPED");
        assert.equal((await ctr.run("shim", "--id", id, "delete")).code, 137);
      }
      await remove(ctr, id);
    }));
}

test("what is missing is said, with what to do", () =>
  holder.check(async ({ ctr, engine, image }) => {
    for (const args of [
      ["tasks", "kill", "nobody"],
      ["tasks", "exec", "--exec-id", "e", "nobody", "true"],
      ["tasks", "start", "nobody"],
    ]) {
      const { code, err } = await ctr.run(...args);
      assert.equal(code, 1);
      assert.match(err, /"nobody".*not found\n.*ctr containers ls/s, args.join(" "));
    }
    const id = engine.id("idle");
    await ctr.ok("containers", "create", image, id, "true");
    for (const verb of ["kill", "pause", "resume", "ps", "attach", "checkpoint"]) {
      const { code, err } = await ctr.run("tasks", verb, id);
      assert.equal(code, 1);
      assert.match(err, /not found\n.*ctr tasks ls/s, verb);
    }
    assert.match((await ctr.run("tasks", "kill", "-s", "SIGNOTHING", id)).err, /SIGNOTHING/);
    assert.match((await ctr.run("shim", "state")).err, /container id must be specified/);
    assert.match(
      (await ctr.run("shim", "--id", id, "state")).err,
      /connect to the shim.*\n.*--shim-address/s,
    );
    await ctr.ok("containers", "rm", id);
  }));
