import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { parseMountInfo } from "../mounts/mountinfo.ts";
import { spawnProcess } from "../process/spawn.ts";
import { cgroupAt, cgroupOf, detectCgroups } from "./cgroups.ts";
import { UNLIMITED } from "./stats.ts";
import { OomCountV2, readV2 } from "./v2.ts";

const layout = detectCgroups();
const legacy =
  process.getuid?.() === 0 && layout.mode !== "v2" && layout.v1.has("pids")
    ? {}
    : { skip: "needs root and cgroup v1" };
const dir = mkdtempSync(join(tmpdir(), "gantry-cgroups-"));
after(() => rmSync(dir, { recursive: true, force: true }));

test("layouts", () => {
  const v2 = "30 1 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n";
  assert.equal(detectCgroups(parseMountInfo(v2)).mode, "v2");
  const both = `${v2}31 1 0:27 / /c/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n`;
  const hybrid = detectCgroups(parseMountInfo(both));
  assert.equal(hybrid.mode, "hybrid");
  assert.equal(hybrid.v1.get("cpuacct")?.target, "/c/cpu,cpuacct");
  const named = `${v2}31 1 0:27 / /c/systemd rw - cgroup cgroup rw,xattr,name=systemd\n`;
  assert.equal(detectCgroups(parseMountInfo(named)).mode, "v2");
});

test("v1: statistics of a busy process, kill, remove", legacy, async () => {
  const path = `/gantry-test-${process.pid}`;
  const group = cgroupAt(path, layout);
  const places = [...layout.v1.values()].map((mount) => `${mount.target}${path}`);
  for (const place of places) mkdirSync(place, { recursive: true });
  const child = spawnProcess("sh", ["-c", "sleep 100 & sleep 100"]);
  for (const name of ["pids", "memory", "cpu", "cpuacct", "blkio", "freezer"]) {
    const mount = layout.v1.get(name);
    // cpuset refuses processes until it is set up, and systemd's tree is not ours.
    if (mount !== undefined) writeFileSync(`${mount.target}${path}/cgroup.procs`, String(child.pid));
  }
  assert.ok(group.exists());
  assert.ok(group.procs().includes(child.pid));
  assert.equal(cgroupOf(child.pid, layout)?.path, path);
  const stats = group.stats();
  assert.ok(stats.version === 1);
  assert.ok(stats.memory?.stat.has("total_inactive_file"));
  assert.ok((stats.pids?.current ?? 0n) >= 1n);
  assert.equal(stats.pids?.limit, 0n);
  assert.ok(stats.cpu !== undefined);
  assert.equal(group.oomKills(), 0n);
  assert.equal(await group.killAll(), true);
  assert.equal((await child.exited).signal, "SIGKILL");
  await group.remove();
  assert.deepEqual(places.filter(existsSync), []);
  assert.equal(group.exists(), false);
  await group.remove();
});

test("v1: an out-of-memory kill is reported and counted", legacy, async () => {
  const path = `/gantry-oom-${process.pid}`;
  const group = cgroupAt(path, layout);
  const place = `${layout.v1.get("memory")?.target}${path}`;
  mkdirSync(place);
  writeFileSync(`${place}/memory.limit_in_bytes`, "16777216");
  const kills = Promise.withResolvers<bigint>();
  using watcher = group.watchOom(kills.resolve);
  assert.ok(watcher !== undefined);
  // The shell joins the cgroup itself, then becomes a program that eats memory.
  const child = spawnProcess("sh", ["-c", `echo $$ > ${place}/cgroup.procs; exec tail /dev/zero`]);
  assert.equal((await child.exited).signal, "SIGKILL");
  assert.ok((await kills.promise) >= 1n);
  assert.ok(group.oomKills() >= 1n);
  await group.remove();
});

test("the root is never killed or removed", async () => {
  await assert.rejects(cgroupAt("/", layout).killAll(), /refused/);
  await assert.rejects(cgroupAt("..", layout).remove(), /refused/);
});

test("v2 files are read from a folder that looks like one", () => {
  const files = {
    "cgroup.procs": "",
    "cpu.stat": "usage_usec 10\nuser_usec 6\nsystem_usec 4\nnr_periods 1\n",
    "memory.current": "4096\n",
    "memory.max": "max\n",
    "memory.stat": "anon 1024\ninactive_file 2048\n",
    "memory.events": "low 0\noom 3\noom_kill 2\n",
    "memory.swap.current": "0\n",
    "pids.current": "5\n",
    "pids.max": "100\n",
    "io.stat": "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n253:0\n",
    "io.pressure":
      "some avg10=0.50 avg60=0.00 avg300=0.00 total=77\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n",
    "hugetlb.2MB.current": "0\n",
    "hugetlb.2MB.max": "max\n",
    "hugetlb.2MB.events": "max 1\n",
    "rdma.current": "mlx4_0 hca_handle=2 hca_object=2000\n",
    "rdma.max": "mlx4_0 hca_handle=max hca_object=max\n",
  };
  for (const [name, text] of Object.entries(files)) writeFileSync(join(dir, name), text);
  const stats = readV2(dir);
  assert.equal(stats.cpu?.get("usage_usec"), 10n);
  assert.equal(stats.memory?.limit, UNLIMITED);
  assert.equal(stats.memory?.stat.get("inactive_file"), 2048n);
  assert.equal(stats.pids?.limit, 100n);
  assert.deepEqual(stats.io?.[0], {
    major: 8,
    minor: 0,
    readBytes: 1n,
    writeBytes: 2n,
    readOps: 3n,
    writeOps: 4n,
  });
  assert.equal(stats.ioPressure?.some?.total, 77n);
  assert.deepEqual(stats.hugetlb, [{ pageSize: "2MB", usage: 0n, max: UNLIMITED, failcnt: 1n }]);
  assert.equal(stats.rdma?.current[0]?.hcaObjects, 2000);
  assert.equal(new OomCountV2(dir).now(), 2n);
});

test("v2: a cgroup that is gone is spoken for by its parent", () => {
  const parent = join(dir, "slice");
  const events = (path: string, kills: number): void =>
    writeFileSync(join(path, "memory.events"), `oom 9\noom_kill ${kills}\n`);
  const make = (name: string): string => {
    const path = join(parent, name);
    mkdirSync(path, { recursive: true });
    events(path, 0);
    return path;
  };
  const first = make("first");
  events(parent, 5); // of children of before
  const counts = new OomCountV2(first);
  assert.deepEqual([counts.now(), counts.atLast()], [0n, 0n]);
  events(parent, 6); // a sibling's
  assert.equal(counts.now(), 0n);
  rmSync(first, { recursive: true });
  assert.deepEqual([counts.now(), counts.atLast()], [0n, 0n]);

  const second = make("second");
  const killed = new OomCountV2(second);
  events(second, 1);
  events(parent, 7);
  assert.equal(killed.now(), 1n);
  events(parent, 8);
  rmSync(second, { recursive: true });
  assert.deepEqual([killed.now(), killed.atLast()], [0n, 2n]);
  rmSync(parent, { recursive: true });
  assert.equal(killed.atLast(), 1n);
  assert.equal(new OomCountV2(join(dir, "never")).atLast(), 0n);
});
