/**
 * The first start after something worse than a killed daemon: the machine was restarted (with /run kept and without), a shim was
 * forgotten, mounts and work folders were left. Our daemon; needs root and runc.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { mountsBelow } from "../peers/peer.ts";
import { until } from "./client.ts";
import type { Engine } from "./engine.ts";
import { remove, status } from "./scenarios/containers.ts";
import { type Bed, useBed } from "./suite.ts";
import { alive, parentOf, taskRow } from "./tasks.ts";

const holder = useBed("ours", "ours");
const RESTARTED = ["open files of the daemon", "fifos"];
const TASKS = "io.containerd.runtime.v2.task";

const kill = (pid: number): void => {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // ended by itself
  }
};

/** Ends a task as the end of the machine does: nobody is told, nothing is cleaned up but what the kernel held. */
async function powerOff({ engine, ctr }: Bed, ids: readonly string[]): Promise<void> {
  const pids: number[] = [];
  for (const id of ids) pids.push((await taskRow(ctr, id)).pid);
  const shims = pids.map(parentOf);
  await engine.end("SIGKILL");
  for (const pid of [...shims, ...pids]) kill(pid);
  await until("the end of all", () => ![...shims, ...pids].some(alive));
  for (const target of mountsBelow(engine.dir).reverse()) spawnSync("umount", [target]);
  for (const id of ids)
    spawnSync("sh", [
      "-c",
      `find /sys/fs/cgroup -depth -type d -path '*/${engine.namespace}/${id}*' -exec rmdir {} +`,
    ]);
}

const runcState = (engine: Engine, id: string): string => `/run/containerd/runc/${engine.namespace}/${id}`;

for (const kept of [true, false]) {
  test(`the machine was restarted, /run ${kept ? "kept" : "lost"}: no task, every container and image, which start again`, () =>
    holder.check(async (bed) => {
      const { ctr, engine, image } = bed;
      const ids = [engine.id("a"), engine.id("b")];
      for (const id of ids) await ctr.ok("run", "-d", image, id, "sleep", "1000");
      await powerOff(bed, ids);
      const state = join(engine.state, TASKS);
      if (kept) {
        assert.ok(existsSync(join(state, "boot-id")), "this boot is not written down");
        writeFileSync(join(state, "boot-id"), "0b5e55ed-0000-4000-8000-000000000000\n");
        // a pid of before may be anybody's: who has it now must not be harmed
        const bystander = spawnSync("sh", ["-c", "sleep 1000 >/dev/null 2>&1 & echo $!"])
          .stdout.toString()
          .trim();
        for (const id of ids) {
          writeFileSync(join(state, engine.namespace, id, "init.pid"), bystander);
          const path = join(runcState(engine, id), "state.json");
          const json = JSON.parse(readFileSync(path, "utf8")) as { init_process_pid: number };
          writeFileSync(path, JSON.stringify({ ...json, init_process_pid: Number(bystander) }));
        }
        await engine.start();
        assert.ok(alive(Number(bystander)), "a process of this boot was killed for one of the last");
        kill(Number(bystander));
      } else {
        rmSync(engine.state, { recursive: true });
        for (const id of ids) rmSync(runcState(engine, id), { recursive: true });
        await engine.start();
      }
      assert.equal(await ctr.ok("tasks", "ls", "-q"), "");
      assert.equal((await ctr.ok("containers", "ls", "-q")).trim(), ids.join("\n"));
      for (const id of ids) {
        assert.equal(existsSync(join(engine.root, TASKS, engine.namespace, id)), false, "work folder");
        assert.equal(existsSync(runcState(engine, id)), false, "runc's state");
        await ctr.ok("tasks", "start", "-d", id);
        assert.equal(await status(ctr, id), "RUNNING");
        await remove(ctr, id);
      }
    }, RESTARTED));
}

test("a shim whose bundle is gone is ended with its container; mounts and work folders of nobody are taken down", () =>
  holder.check(async (bed) => {
    const { ctr, engine, image } = bed;
    const [lost, kept] = [engine.id("lost"), engine.id("kept")];
    for (const id of [lost, kept]) await ctr.ok("run", "-d", image, id, "sleep", "1000");
    const gone = await taskRow(ctr, lost);
    const stays = await taskRow(ctr, kept);
    const shim = parentOf(gone.pid);
    await engine.end("SIGKILL");
    const bundle = join(engine.state, TASKS, engine.namespace, lost);
    spawnSync("umount", ["-l", join(bundle, "rootfs")]);
    rmSync(bundle, { recursive: true });
    const stray = join(engine.state, TASKS, engine.namespace, ".stray/rootfs");
    mkdirSync(stray, { recursive: true });
    spawnSync("mount", ["-t", "tmpfs", "tmpfs", stray]);
    const work = join(engine.root, TASKS, "nobody", "nothing");
    mkdirSync(work, { recursive: true });
    await engine.start();
    await until("the end of the shim and its container", () => !alive(shim) && !alive(gone.pid));
    assert.equal(existsSync(work), false);
    assert.deepEqual(mountsBelow(stray), []);
    assert.equal(existsSync(stray), false);
    assert.deepEqual(await taskRow(ctr, kept), stays);
    assert.ok(alive(stays.pid));
    await ctr.ok("containers", "rm", lost);
    await remove(ctr, kept);
  }, RESTARTED));

for (const [when, script] of [
  ["before", 'touch "$MARK"; sleep 2; exec runc "$@"'],
  ["after", 'runc "$@"; code=$?; touch "$MARK"; sleep 2; exit $code'],
] as const)
  test(`a shim whose daemon is killed while runc creates (${when} the container is there) ends, with what it made`, () =>
    holder.check(async ({ ctr, engine, image, dir }) => {
      const [runc, mark] = [join(dir, `runc-${when}`), join(dir, `mark-${when}`)];
      const slow = script.replace("$MARK", mark);
      writeFileSync(runc, `#!/bin/sh\ncase " $* " in *" create "*) ${slow};; esac\nexec runc "$@"\n`, {
        mode: 0o755,
      });
      const id = engine.id("late");
      const client = ctr.start(["run", "-d", "--runc-binary", runc, image, id, "sleep", "1000"]);
      await until("the create", () => existsSync(mark));
      await engine.end("SIGKILL");
      assert.notEqual((await client.done).code, 0);
      await engine.start();
      await ctr.ok("containers", "rm", id);
    }, RESTARTED));
