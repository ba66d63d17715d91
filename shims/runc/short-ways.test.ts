/** Starts and ends without a process of the OCI runtime, and where that must not be. Needs root and runc. */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { parseShimArgs } from "../shared/args.ts";
import { cleanUp } from "./delete.ts";
import { forgetEnded } from "./forget.ts";
import { releaseInit } from "./release.ts";
import { type Boxed, shimSuite } from "./testing-suite.ts";

const suite = shimSuite();
const { skip, inContainer } = suite;

const runc = (...args: string[]): string =>
  execFileSync("runc", ["--root", "/run/containerd/runc/test", ...args], { encoding: "utf8" });
const status = (id: string): string => (JSON.parse(runc("state", id)) as { status: string }).status;

test("for runc a container started without it is running, and gone after its end", { skip }, async () => {
  const started = async ({ id, v3 }: Boxed): Promise<void> => {
    assert.equal(status(id), "created");
    await v3.start({ id });
    assert.equal(status(id), "running");
    assert.equal(existsSync("/run/containerd/runc/test/short/exec.fifo"), false);
    await v3.kill({ id, signal: 9 });
    assert.equal((await v3.wait({ id })).exitStatus, 137);
    await v3.delete({ id });
    assert.equal(existsSync("/run/containerd/runc/test/short"), false);
  };
  await inContainer("short", ["sleep", "600"], started, { start: false });
});

test("an init that died before its start is reported by the runtime's own words", { skip }, async () => {
  const died = async ({ id, v3, init }: Boxed): Promise<void> => {
    process.kill(init, "SIGKILL");
    await assert.rejects(v3.start({ id }));
    assert.equal((await v3.wait({ id })).exitStatus, 137);
    await v3.delete({ id });
  };
  await inContainer("dead", ["sleep", "600"], died, { start: false });
});

test("hooks are called by the runtime: poststop at delete, not at the end of init", { skip }, async () => {
  const dir = mkdtempSync(join(tmpdir(), "gantry-hooks-"));
  const hook = (name: string): object => ({ path: "/bin/sh", args: ["sh", "-c", `echo x > ${dir}/${name}`] });
  const hooked = async ({ id, v3 }: Boxed): Promise<void> => {
    await v3.wait({ id });
    await v3.state({ id });
    assert.equal(existsSync(join(dir, "poststart")), true);
    assert.equal(status(id), "stopped");
    assert.equal(existsSync(join(dir, "poststop")), false);
    await v3.delete({ id });
    assert.equal(readFileSync(join(dir, "poststop"), "utf8"), "x\n");
  };
  await inContainer("hooked", ["true"], hooked, {
    spec: (spec) => {
      spec["hooks"] = { poststart: [hook("poststart")], poststop: [hook("poststop")] };
    },
  });
  rmSync(dir, { recursive: true });
});

test("an ended container's cgroups go with it, also those below that it made", { skip }, async () => {
  const folder = "/run/containerd/runc/test/ended";
  const ended = async ({ id, v3 }: Boxed): Promise<void> => {
    const state = JSON.parse(readFileSync(join(folder, "state.json"), "utf8"));
    const paths = Object.values((state as { cgroup_paths: Record<string, string> }).cgroup_paths);
    assert.ok(paths.length > 0 && paths.every((path) => existsSync(path)));
    mkdirSync(join(paths[0] ?? "", "own/below"), { recursive: true });
    await v3.start({ id });
    await v3.kill({ id, signal: 9 });
    await v3.wait({ id });
    await v3.delete({ id });
    assert.deepEqual(
      paths.filter((path) => existsSync(path)),
      [],
    );
    assert.equal(existsSync(folder), false);
  };
  await inContainer("ended", ["sleep", "600"], ended, { start: false });
});

test("the state folder that a shim killed while it forgot left empty goes with the clean-up", {
  skip,
}, async () => {
  const bundle = suite.daemon.bundle("half", ["true"]);
  const folder = "/run/containerd/runc/test/half";
  mkdirSync(folder, { recursive: true });
  await cleanUp(parseShimArgs(["-namespace", "test", "-id", "half", "-bundle", bundle, "delete"]));
  assert.equal(existsSync(folder), false);
});

test("a state folder that is not runc's of that container is left to the runtime", () => {
  const dir = mkdtempSync(join(tmpdir(), "gantry-forget-"));
  try {
    assert.equal(forgetEnded(join(dir, "none"), "none"), false);
    const folder = join(dir, "c");
    mkdirSync(folder);
    const bad: unknown[] = [
      null,
      {},
      { id: "other", cgroup_paths: {} },
      { id: "c" },
      { id: "c", rootless: true, cgroup_paths: {} },
      { id: "c", intel_rdt_path: "/sys/fs/resctrl/c", cgroup_paths: {} },
      { id: "c", cgroup_paths: { "": "../c" } },
      { id: "c", cgroup_paths: { "": `${dir}/x/../full` } },
      { id: "c", cgroup_paths: { "": 5 } },
      // something is inside: as a cgroup with processes
      { id: "c", cgroup_paths: { "": join(dir, "full") } },
    ];
    mkdirSync(join(dir, "full"));
    writeFileSync(join(dir, "full/file"), "");
    for (const state of bad) {
      writeFileSync(join(folder, "state.json"), JSON.stringify(state));
      assert.equal(forgetEnded(folder, "c"), false, JSON.stringify(state));
      assert.equal(existsSync(join(folder, "state.json")), true);
    }
    mkdirSync(join(dir, "a/b"), { recursive: true });
    writeFileSync(
      join(folder, "state.json"),
      JSON.stringify({ id: "c", cgroup_paths: { cpu: join(dir, "a"), pids: join(dir, "gone") } }),
    );
    assert.equal(forgetEnded(folder, "c"), true);
    assert.equal(existsSync(folder) || existsSync(join(dir, "a")), false);
  } finally {
    rmSync(dir, { recursive: true });
  }
});

test("only a state folder of runc's kind with its FIFO is touched", async () => {
  const dir = mkdtempSync(join(tmpdir(), "gantry-release-"));
  try {
    assert.equal(await releaseInit(join(dir, "none"), () => true), false);
    mkdirSync(join(dir, "other"));
    spawnSync("mkfifo", [join(dir, "other/exec.fifo")]);
    assert.equal(await releaseInit(join(dir, "other"), () => true), false);
    assert.equal(existsSync(join(dir, "other/exec.fifo")), true);
    writeFileSync(join(dir, "other/state.json"), "{}");
    // nobody writes, and init is gone
    assert.equal(await releaseInit(join(dir, "other"), () => false), false);
    rmSync(join(dir, "other/exec.fifo"));
    writeFileSync(join(dir, "other/exec.fifo"), "0");
    assert.equal(await releaseInit(join(dir, "other"), () => true), false);
  } finally {
    rmSync(dir, { recursive: true });
  }
});
