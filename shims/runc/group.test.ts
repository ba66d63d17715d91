/** A shim with more than one container, and with a sandbox. Needs root and runc. */
import assert from "node:assert/strict";
import {
  closeSync,
  constants,
  existsSync,
  openSync,
  readFileSync,
  readlinkSync,
  readSync,
  rmdirSync,
  rmSync,
} from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { createFifo } from "../../src/platform/fs/fifo.ts";
import { readMountInfo } from "../../src/platform/mounts/mountinfo.ts";
import { Options } from "../shared/messages.ts";
import { readOutbox } from "../shared/outbox.ts";
import { encode } from "../shared/wire.ts";
import { startShim } from "./testing.ts";
import { exitOf, ofId, remove, shimSuite, until } from "./testing-suite.ts";

const suite = shimSuite();
const { skip, inContainer } = suite;

const inGroup = (s: { annotations?: Record<string, string> }): void => {
  s.annotations = { "io.kubernetes.cri.sandbox-id": "family" };
};

test("the first container goes, the shim and its files stay for the others", { skip }, async () => {
  const first = suite.daemon.bundle("first", ["true"], inGroup);
  const second = suite.daemon.bundle("second", ["sh", "-c", "exit 5"], inGroup);
  const shim = await startShim(suite.daemon, "first", first, "new");
  await shim.v3.create({ id: "first", bundle: first, rootfs: suite.root });
  await shim.v3.create({ id: "second", bundle: second, rootfs: suite.root });
  await shim.v3.start({ id: "first" });
  await shim.v3.wait({ id: "first" });
  const { shimPid } = await shim.v3.connect({ id: "second" });
  assert.equal(readlinkSync(`/proc/${shimPid}/cwd`), first);
  await shim.v3.delete({ id: "first" });
  assert.equal(readlinkSync(`/proc/${shimPid}/cwd`), second);
  rmSync(first, { recursive: true });
  await suite.daemon.event("/tasks/delete");
  await suite.daemon.stopEvents();
  await shim.v3.start({ id: "second" });
  await shim.v3.wait({ id: "second" });
  const left = readOutbox(join(second, "outbox")).map((e) => e.topic);
  assert.deepEqual(left.at(-1), "/tasks/exit");
  await suite.daemon.startEvents();
  const told = await suite.daemon.event("/tasks/exit", ofId("second"));
  assert.equal(exitOf(told).exitStatus, 5);
  await remove(shim, "second");
});

test("a shim that ends takes no new container and has given its address up", { skip }, async () => {
  const only = suite.daemon.bundle("only", ["true"], inGroup);
  const late = suite.daemon.bundle("late", ["true"], inGroup);
  const shim = await startShim(suite.daemon, "only", only, "new");
  await shim.v3.create({ id: "only", bundle: only, rootfs: suite.root });
  // events cannot leave, so the end takes a while
  await suite.daemon.stopEvents();
  await shim.v3.delete({ id: "only" });
  await shim.v3.shutdown({ id: "only" });
  await assert.rejects(shim.v3.create({ id: "late", bundle: late, rootfs: suite.root }), {
    code: "unavailable",
  });
  assert.equal(existsSync(shim.address.replace("unix://", "")), false);
  await suite.daemon.startEvents();
  await shim.close();
});

test("a sandbox keeps its shim, ends its containers when stopped, and is waited for", { skip }, async () => {
  const pod = suite.daemon.bundle("pod", ["true"], inGroup);
  const shim = await startShim(suite.daemon, "pod", pod, "new");
  const { sandbox } = shim;
  const sandboxId = "pod";
  await sandbox.createSandbox({ sandboxId, bundlePath: pod, netnsPath: "/run/netns/none" });
  await assert.rejects(sandbox.createSandbox({ sandboxId }), { code: "already-exists" });
  assert.equal((await sandbox.sandboxStatus({ sandboxId })).state, "SANDBOX_NOTREADY");
  const { pid } = await sandbox.startSandbox({ sandboxId });
  assert.ok(pid > 0);
  await assert.rejects(sandbox.startSandbox({ sandboxId }), { code: "failed-precondition" });
  await sandbox.pingSandbox({ sandboxId });
  assert.equal((await sandbox.platform({ sandboxId })).platform?.os, "linux");
  assert.equal((await sandbox.sandboxMetrics({ sandboxId })).metrics?.id, sandboxId);
  const inner = suite.daemon.bundle("inner", ["sleep", "600"], inGroup);
  await shim.v3.create({ id: "inner", bundle: inner, rootfs: suite.root });
  await shim.v3.start({ id: "inner" });
  const status = await sandbox.sandboxStatus({ sandboxId, verbose: true });
  assert.equal(status.state, "SANDBOX_READY");
  assert.equal(status.info["containers"], "inner");
  assert.equal(status.info["netns"], "/run/netns/none");
  const ended = sandbox.waitSandbox({ sandboxId });
  await sandbox.stopSandbox({ sandboxId, timeoutSecs: 0 });
  assert.equal((await ended).exitStatus, 0);
  assert.equal((await shim.v3.wait({ id: "inner" })).exitStatus, 137);
  await shim.v3.delete({ id: "inner" });
  await shim.v3.shutdown({ id: "inner" });
  assert.equal((await sandbox.sandboxStatus({ sandboxId })).state, "SANDBOX_NOTREADY");
  await sandbox.shutdownSandbox({ sandboxId });
  await assert.rejects(sandbox.pingSandbox({ sandboxId }));
  await assert.rejects(sandbox.pingSandbox({ sandboxId: "other" }));
  await shim.close();
});

test("the shim runs in the cgroup it was told, outside the container's, with a score above the daemon's", {
  skip,
}, async () => {
  const cgroup = `/gantry-test-shim-${process.pid}`;
  const shim = {
    typeUrl: "containerd.runc.v1.Options",
    value: encode(Options, { shimCgroup: cgroup }),
  };
  const paths = (pid: number): string[] =>
    readFileSync(`/proc/${pid}/cgroup`, "utf8")
      .trim()
      .split("\n")
      .map((line) => line.replace(/^\d+:[^:]*:/, ""));
  const score = (pid: number | string): number => Number(readFileSync(`/proc/${pid}/oom_score_adj`, "utf8"));
  let shimPid = 0;
  await inContainer(
    "grouped",
    ["sleep", "600"],
    async (c) => {
      shimPid = c.shimPid;
      assert.ok(paths(shimPid).includes(cgroup), paths(shimPid).join(" "));
      assert.ok(!paths(c.init).some((path) => path.startsWith(cgroup)), paths(c.init).join(" "));
      assert.equal(score(shimPid), Math.min(score("self") + 1, 1000));
    },
    { shim },
  );
  await until("the shim to be reaped", () => !existsSync(`/proc/${shimPid}`));
  for (const mount of readMountInfo()) {
    const folder = `${mount.target}${cgroup}`;
    if (mount.type.startsWith("cgroup") && existsSync(folder)) rmdirSync(folder);
  }
});

test("USR1 writes what it holds into its log", { skip }, async () => {
  const bundle = suite.daemon.bundle("dumped", ["sleep", "600"]);
  createFifo(join(bundle, "log"));
  const log = openSync(join(bundle, "log"), constants.O_RDWR | constants.O_NONBLOCK);
  const shim = await startShim(suite.daemon, "dumped", bundle, "new");
  await shim.v3.create({ id: "dumped", bundle, rootfs: suite.root });
  const { shimPid } = await shim.v3.connect({ id: "dumped" });
  process.kill(shimPid, "SIGUSR1");
  let text = "";
  const buffer = Buffer.alloc(4096);
  await until("the dump", () => {
    try {
      text += buffer.toString("utf8", 0, readSync(log, buffer));
    } catch {
      // nothing yet
    }
    return /msg=dump .*container=dumped state=created\n[\s\S]*msg=dump .*events=\d+ rss=\d+ connections=1\n/.test(
      text,
    );
  });
  closeSync(log);
  await remove(shim, "dumped");
});
