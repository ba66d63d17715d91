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
import { after, before, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { fromBinary } from "@bufbuild/protobuf";
import { TaskExitSchema } from "../../src/api/gen/containerd/events/task_pb.ts";
import { createFifo } from "../../src/platform/fs/fifo.ts";
import { readMountInfo } from "../../src/platform/mounts/mountinfo.ts";
import { Options } from "../shared/messages.ts";
import { readOutbox } from "../shared/outbox.ts";
import { encode } from "../shared/wire.ts";
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

const inGroup = (s: { annotations?: Record<string, string> }): void => {
  s.annotations = { "io.kubernetes.cri.sandbox-id": "family" };
};

test("the first container goes, the shim and its files stay for the others", { skip }, async () => {
  const first = daemon.bundle("first", ["true"], inGroup);
  const second = daemon.bundle("second", ["sh", "-c", "exit 5"], inGroup);
  const shim = await startShim(daemon, "first", first, "new");
  await shim.v3.create({ id: "first", bundle: first, rootfs: root });
  await shim.v3.create({ id: "second", bundle: second, rootfs: root });
  await shim.v3.start({ id: "first" });
  await shim.v3.wait({ id: "first" });
  const { shimPid } = await shim.v3.connect({ id: "second" });
  assert.equal(readlinkSync(`/proc/${shimPid}/cwd`), first);
  await shim.v3.delete({ id: "first" });
  assert.equal(readlinkSync(`/proc/${shimPid}/cwd`), second);
  rmSync(first, { recursive: true });
  await daemon.event("/tasks/delete");
  await daemon.stopEvents();
  await shim.v3.start({ id: "second" });
  await shim.v3.wait({ id: "second" });
  const left = readOutbox(join(second, "outbox")).map((e) => e.topic);
  assert.deepEqual(left.at(-1), "/tasks/exit");
  await daemon.startEvents();
  const told = await daemon.event(
    "/tasks/exit",
    (e) => fromBinary(TaskExitSchema, e.event?.value ?? new Uint8Array()).containerId === "second",
  );
  assert.equal(fromBinary(TaskExitSchema, told.event?.value ?? new Uint8Array()).exitStatus, 5);
  await shim.v3.delete({ id: "second" });
  await shim.v3.shutdown({ id: "second" });
  await shim.close();
});

test("a shim that ends takes no new container and has given its address up", { skip }, async () => {
  const only = daemon.bundle("only", ["true"], inGroup);
  const late = daemon.bundle("late", ["true"], inGroup);
  const shim = await startShim(daemon, "only", only, "new");
  await shim.v3.create({ id: "only", bundle: only, rootfs: root });
  // events cannot leave, so the end takes a while
  await daemon.stopEvents();
  await shim.v3.delete({ id: "only" });
  await shim.v3.shutdown({ id: "only" });
  await assert.rejects(shim.v3.create({ id: "late", bundle: late, rootfs: root }), { code: "unavailable" });
  assert.equal(existsSync(shim.address.replace("unix://", "")), false);
  await daemon.startEvents();
  await shim.close();
});

test("a sandbox keeps its shim, ends its containers when stopped, and is waited for", { skip }, async () => {
  const pod = daemon.bundle("pod", ["true"], inGroup);
  const shim = await startShim(daemon, "pod", pod, "new");
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
  const inner = daemon.bundle("inner", ["sleep", "600"], inGroup);
  await shim.v3.create({ id: "inner", bundle: inner, rootfs: root });
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
  const bundle = daemon.bundle("grouped", ["sleep", "600"]);
  const value = encode(Options, { shimCgroup: cgroup });
  const shim = await startShim(daemon, "grouped", bundle, "new", {
    typeUrl: "containerd.runc.v1.Options",
    value,
  });
  await shim.v3.create({ id: "grouped", bundle, rootfs: root });
  await shim.v3.start({ id: "grouped" });
  const { shimPid, taskPid } = await shim.v3.connect({ id: "grouped" });
  const paths = (pid: number): string[] =>
    readFileSync(`/proc/${pid}/cgroup`, "utf8")
      .trim()
      .split("\n")
      .map((line) => line.replace(/^\d+:[^:]*:/, ""));
  assert.ok(paths(shimPid).includes(cgroup), paths(shimPid).join(" "));
  assert.ok(!paths(taskPid).some((path) => path.startsWith(cgroup)), paths(taskPid).join(" "));
  const score = (pid: number | string): number => Number(readFileSync(`/proc/${pid}/oom_score_adj`, "utf8"));
  assert.equal(score(shimPid), Math.min(score("self") + 1, 1000));
  await shim.v3.kill({ id: "grouped", signal: 9 });
  await shim.v3.wait({ id: "grouped" });
  await shim.v3.delete({ id: "grouped" });
  await shim.v3.shutdown({ id: "grouped" });
  await shim.close();
  await until(() => !existsSync(`/proc/${shimPid}`));
  for (const mount of readMountInfo()) {
    const folder = `${mount.target}${cgroup}`;
    if (mount.type.startsWith("cgroup") && existsSync(folder)) rmdirSync(folder);
  }
});

test("USR1 writes what it holds into its log", { skip }, async () => {
  const bundle = daemon.bundle("dumped", ["sleep", "600"]);
  createFifo(join(bundle, "log"));
  const log = openSync(join(bundle, "log"), constants.O_RDWR | constants.O_NONBLOCK);
  const shim = await startShim(daemon, "dumped", bundle, "new");
  await shim.v3.create({ id: "dumped", bundle, rootfs: root });
  const { shimPid } = await shim.v3.connect({ id: "dumped" });
  process.kill(shimPid, "SIGUSR1");
  let text = "";
  const buffer = Buffer.alloc(4096);
  await until(() => {
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
  await shim.v3.delete({ id: "dumped" });
  await shim.v3.shutdown({ id: "dumped" });
  await shim.close();
});

/** The end of a process that is not ours has no event. */
async function until(ask: () => boolean): Promise<void> {
  while (!ask()) await delay(10);
}
