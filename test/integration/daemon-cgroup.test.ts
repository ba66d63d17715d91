/** The daemon's own cgroup and OOM score, as its configuration says. Needs root. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { appendFileSync, existsSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { detectCgroups, placeOf } from "../../src/platform/cgroups/cgroups.ts";
import { cgroupPaths } from "../../src/platform/process/proc.ts";
import { imageName, testImages } from "../fixtures/images.ts";
import { Engine } from "./engine.ts";
import { ourBin } from "./program.ts";

const skip = process.geteuid?.() !== 0 ? "needs root" : false;

/** Paths of the controllers; those of named hierarchies left out. */
function controllers(pid: number): [string, string][] {
  const layout = detectCgroups();
  const own = [...(cgroupPaths(pid) ?? [])];
  return layout.mode === "v2"
    ? own.filter(([name]) => name === "")
    : own.filter(([name]) => name !== "" && !name.startsWith("name="));
}

test("cgroup.path and oom_score: the daemon and its threads move, its shims are born there, containers are not", {
  skip,
}, async () => {
  const engine = new Engine("ours");
  const outer = `/gantry-own-${engine.tag}`;
  const path = `${outer}/inner`;
  const layout = detectCgroups();
  try {
    // tables end what comes before them
    const config = join(engine.dir, "config.toml");
    const rest = readFileSync(config, "utf8");
    writeFileSync(config, `oom_score = 321\n${rest}`);
    appendFileSync(config, `[cgroup]\n  path = "${path}"\n`);
    await engine.start();
    const before = controllers(process.pid);
    const moved = controllers(engine.pid);
    assert.ok(moved.length > 0);
    for (const [name, at] of moved) assert.equal(at, path, `controller ${name}`);
    assert.equal(readFileSync(`/proc/${engine.pid}/oom_score_adj`, "utf8").trim(), "321");
    if (layout.mode !== "v2") {
      const memory = layout.v1.get("memory");
      assert.ok(memory !== undefined);
      const tasks = readFileSync(join(placeOf(memory, path), "tasks"), "utf8")
        .trim()
        .split("\n").length;
      assert.ok(tasks > 1, "all threads");
      const named = (pid: number): string | undefined => cgroupPaths(pid)?.get("name=systemd");
      assert.equal(named(engine.pid), named(process.pid), "the service manager's hierarchy is not touched");
    }
    assert.deepEqual(controllers(process.pid), before);

    const ctr = engine.client("ours");
    await ctr.ok("images", "import", testImages().archive("busybox"));
    const id = engine.id("box");
    await ctr.ok("run", "-d", imageName("busybox"), id, "sleep", "600");
    const pid = Number(/\d+/.exec((await ctr.ok("tasks", "ls")).split("\n")[1]?.replace(id, "") ?? "")?.[0]);
    for (const [name, at] of controllers(pid))
      assert.ok(!at.startsWith(outer), `container in ${name}: ${at}`);
    await ctr.ok("tasks", "rm", "-f", id);
  } finally {
    await engine.stop();
    const mounts = layout.mode === "v2" ? [layout.v2] : [...layout.v1.values()];
    for (const mount of mounts)
      for (const dir of [path, outer])
        if (mount !== undefined && existsSync(placeOf(mount, dir))) rmdirSync(placeOf(mount, dir));
  }
});

test("a cgroup.path that cannot be is an error that names it", { skip }, async () => {
  const engine = new Engine("ours");
  try {
    const config = join(engine.dir, "config.toml");
    appendFileSync(config, '[cgroup]\n  path = "../up"\n');
    const { status, stderr } = spawnSync(join(ourBin(), "containerd"), ["-c", config], {
      encoding: "utf8",
      timeout: 20_000,
    });
    assert.equal(status, 1);
    assert.match(stderr, /cgroup\.path "\.\.\/up": must be absolute/);
  } finally {
    await engine.stop();
  }
});
