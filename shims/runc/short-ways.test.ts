/** Starts and ends without a process of the OCI runtime, and where that must not be. Needs root and runc. */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { parseShimArgs } from "../shared/args.ts";
import { cleanUp } from "./delete.ts";
import { forgetEnded } from "./forget.ts";
import { releaseInit } from "./release.ts";
import { busyboxRoot, cannotRun, type FakeDaemon, fakeDaemon, rootMount, startShim } from "./testing.ts";

const skip = cannotRun() ?? false;
let daemon: FakeDaemon;
let root: ReturnType<typeof rootMount>;

before(async () => {
  if (skip !== false) return;
  daemon = await fakeDaemon();
  root = rootMount(busyboxRoot(daemon.dir));
});
after(async () => {
  if (skip === false) await daemon[Symbol.asyncDispose]();
});

const runc = (...args: string[]): string =>
  execFileSync("runc", ["--root", "/run/containerd/runc/test", ...args], { encoding: "utf8" });
const status = (id: string): string => (JSON.parse(runc("state", id)) as { status: string }).status;

test("for runc a container started without it is running, and gone after its end", { skip }, async () => {
  const bundle = daemon.bundle("short", ["sleep", "600"]);
  const shim = await startShim(daemon, "short", bundle, "new");
  await shim.v3.create({ id: "short", bundle, rootfs: root });
  assert.equal(status("short"), "created");
  await shim.v3.start({ id: "short" });
  assert.equal(status("short"), "running");
  assert.equal(existsSync("/run/containerd/runc/test/short/exec.fifo"), false);
  await shim.v3.kill({ id: "short", signal: 9 });
  assert.equal((await shim.v3.wait({ id: "short" })).exitStatus, 137);
  await shim.v3.delete({ id: "short" });
  assert.equal(existsSync("/run/containerd/runc/test/short"), false);
  await shim.v3.shutdown({ id: "short" });
  await shim.close();
});

test("an init that died before its start is reported by the runtime's own words", { skip }, async () => {
  const bundle = daemon.bundle("dead", ["sleep", "600"]);
  const shim = await startShim(daemon, "dead", bundle, "new");
  const { pid } = await shim.v3.create({ id: "dead", bundle, rootfs: root });
  process.kill(pid, "SIGKILL");
  await assert.rejects(shim.v3.start({ id: "dead" }));
  assert.equal((await shim.v3.wait({ id: "dead" })).exitStatus, 137);
  await shim.v3.delete({ id: "dead" });
  await shim.v3.shutdown({ id: "dead" });
  await shim.close();
});

test("hooks are called by the runtime: poststop at delete, not at the end of init", { skip }, async () => {
  const dir = mkdtempSync(join(tmpdir(), "gantry-hooks-"));
  const hook = (name: string): object => ({ path: "/bin/sh", args: ["sh", "-c", `echo x > ${dir}/${name}`] });
  const bundle = daemon.bundle("hooked", ["true"], (spec) => {
    spec["hooks"] = { poststart: [hook("poststart")], poststop: [hook("poststop")] };
  });
  const shim = await startShim(daemon, "hooked", bundle, "new");
  await shim.v3.create({ id: "hooked", bundle, rootfs: root });
  await shim.v3.start({ id: "hooked" });
  await shim.v3.wait({ id: "hooked" });
  await shim.v3.state({ id: "hooked" });
  assert.equal(existsSync(join(dir, "poststart")), true);
  assert.equal(status("hooked"), "stopped");
  assert.equal(existsSync(join(dir, "poststop")), false);
  await shim.v3.delete({ id: "hooked" });
  assert.equal(readFileSync(join(dir, "poststop"), "utf8"), "x\n");
  await shim.v3.shutdown({ id: "hooked" });
  await shim.close();
  rmSync(dir, { recursive: true });
});

test("an ended container's cgroups go with it, also those below that it made", { skip }, async () => {
  const bundle = daemon.bundle("ended", ["sleep", "600"]);
  const shim = await startShim(daemon, "ended", bundle, "new");
  await shim.v3.create({ id: "ended", bundle, rootfs: root });
  const state = JSON.parse(readFileSync("/run/containerd/runc/test/ended/state.json", "utf8"));
  const paths = Object.values((state as { cgroup_paths: Record<string, string> }).cgroup_paths);
  assert.ok(paths.length > 0 && paths.every((path) => existsSync(path)));
  mkdirSync(join(paths[0] ?? "", "own/below"), { recursive: true });
  await shim.v3.start({ id: "ended" });
  await shim.v3.kill({ id: "ended", signal: 9 });
  await shim.v3.wait({ id: "ended" });
  await shim.v3.delete({ id: "ended" });
  assert.deepEqual(
    paths.filter((path) => existsSync(path)),
    [],
  );
  assert.equal(existsSync("/run/containerd/runc/test/ended"), false);
  await shim.v3.shutdown({ id: "ended" });
  await shim.close();
});

test("the state folder that a shim killed while it forgot left empty goes with the clean-up", {
  skip,
}, async () => {
  const bundle = daemon.bundle("half", ["true"]);
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
