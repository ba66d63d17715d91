/** Our shims asleep, under our daemon and Debian's: daemons that die and come back, ends and kills meanwhile. Needs root and runc. */
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { imageName, testImages } from "../fixtures/images.ts";
import { type Client, until } from "./client.ts";
import { Engine, type EngineKind } from "./engine.ts";
import { ourBin } from "./program.ts";
import { alive, parentOf, taskRow } from "./tasks.ts";
import { watchEvents } from "./watch.ts";

const ENV = "GANTRY_SHIM_SLEEP_AFTER";
before(() => {
  process.env[ENV] = "100ms";
});
after(() => {
  delete process.env[ENV];
});

/** The program has tens of MB in memory, the sleeper some kB. */
function asleep(pid: number): boolean {
  const kb = Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0);
  return kb < 1000 && readFileSync(`/proc/${pid}/cmdline`, "utf8") !== "";
}

/** A running container whose shim sleeps. */
async function sleeper(engine: Engine, ctr: Client, name: string, ...command: string[]) {
  const id = engine.id(name);
  const runtime = engine.kind === "ours" ? [] : ["--runtime", join(ourBin(), "containerd-shim-runc-v2")];
  await ctr.ok("run", "-d", ...runtime, imageName("busybox"), id, ...command);
  const { pid } = await taskRow(ctr, id);
  const shim = parentOf(pid);
  await until("the sleep", () => asleep(shim));
  return { id, pid, shim };
}

for (const kind of ["ours", "1.6", "1.7"] as const satisfies readonly EngineKind[])
  test(`${kind}: a daemon that is killed and started again, an end while it is down, a shim killed asleep`, async () => {
    await using engine = new Engine(kind);
    await engine.start();
    const ctr = engine.client("1.6");
    await ctr.ok("images", "import", testImages().archive("busybox"));
    const stays = await sleeper(engine, ctr, "stays", "sleep", "1000");
    const ends = await sleeper(
      engine,
      ctr,
      "ends",
      "sh",
      "-c",
      "while [ ! -e /go ]; do sleep 0.1; done; exit 9",
    );
    await engine.end("SIGKILL");
    // that their connection ended does not wake them
    await until("the sleep", () => asleep(stays.shim) && asleep(ends.shim));
    process.kill(ends.pid, "SIGKILL");
    await until("the end", () => !alive(ends.pid));
    await engine.start();
    const row = await taskRow(ctr, stays.id);
    assert.deepEqual([row.pid, row.status], [stays.pid, "RUNNING"]);
    const said = ["tasks", "exec", "--exec-id", "e", stays.id, "echo", "here"];
    assert.equal(await ctr.ok(...said), "here\n");
    // an older containerd removes what ended while it was down
    const left = await ctr.ok("tasks", "ls");
    if (left.includes(ends.id)) assert.match((await ctr.run("tasks", "rm", ends.id)).err, /exit code 137/);
    await until("the sleep", () => asleep(stays.shim));
    const events = await watchEvents(engine);
    process.kill(stays.shim, "SIGKILL");
    await until("the exit", () => events.of(stays.id).some((e) => e.topic === "/tasks/exit"));
    await until("the end of init", () => !alive(stays.pid));
    assert.equal(events.of(stays.id).filter((e) => e.topic === "/tasks/exit").length, 1);
    await events.stop();
    await ctr.run("tasks", "rm", "-f", stays.id);
    for (const { id, shim } of [stays, ends]) {
      // the daemon may be about to remove the lost task itself
      await until("the removal", async () => (await ctr.run("containers", "rm", id)).code === 0);
      await until("the end of the shim", () => !existsSync(`/proc/${shim}`));
    }
  });
