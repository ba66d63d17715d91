/** `gantry doctor` and `gantry status` on a real daemon: leftovers are found, explained, mended; what is in use is left alone. */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { mountsClient } from "../../src/client/mounts.ts";
import { Call } from "../../src/core/call.ts";
import { parseNamespace } from "../../src/core/ids/namespace.ts";
import { attachedLoops, releaseLoop } from "../../src/platform/mounts/loop.ts";
import { createGrpcTransport } from "../../src/rpc/grpc/transport.ts";
import { type Ctr, type Daemon, peerCtr, startDaemon } from "../peers/peer.ts";
import { until } from "./client.ts";
import { BUN, MAIN } from "./program.ts";

const dir = mkdtempSync(join(tmpdir(), "gantry-doctor-"));

describe("doctor", { skip: process.getuid?.() !== 0 }, () => {
  let daemon: Daemon;
  let ctr: Ctr;
  const folders = (): string[] => ["--root", join(daemon.dir, "root"), "--state", join(daemon.dir, "state")];
  const gantry = (...args: string[]): { code: number | null; out: string; err: string } => {
    const done = spawnSync(BUN, [MAIN, ...args, "-a", daemon.address], { encoding: "utf8" });
    return { code: done.status, out: done.stdout, err: done.stderr };
  };
  const tasks = (): string => join(daemon.dir, "state/io.containerd.runtime.v2.task/default");

  before(async () => {
    daemon = await startDaemon({ command: [BUN, MAIN, "daemon"] });
    ctr = peerCtr("1.7", daemon.address);
    writeFileSync(join(dir, "pause.tar"), execFileSync(BUN, [MAIN, "builtin-image", "pause"]));
    assert.equal(ctr("images", "import", "--snapshotter", "native", join(dir, "pause.tar")).code, 0);
    assert.equal(ctr("run", "-d", "--snapshotter", "native", "gantry.local/pause:latest", "alive").code, 0);
  });
  after(async () => {
    ctr("tasks", "kill", "-s", "KILL", "alive");
    await until("the end of the task", () => !/RUNNING/.test(ctr("tasks", "ls").out)).catch(() => {});
    ctr("tasks", "rm", "alive");
    ctr("containers", "rm", "alive");
    await daemon.stop();
    rmSync(dir, { recursive: true, force: true });
  });

  test("a healthy engine: no problem, status counts", () => {
    const said = gantry("doctor", ...folders());
    assert.equal(said.code, 0, said.out + said.err);
    assert.match(said.out, /^ok +daemon: answers on/m);
    assert.match(said.out, /^0 problems, \d+ warnings?$/m);
    // the running daemon says by itself where its folders are
    const alone = gantry("doctor").out;
    assert.ok(alone.includes(`disk: ${join(daemon.dir, "root")}: `), alone);
    assert.ok(alone.includes(`disk: ${join(daemon.dir, "state")}: `), alone);
    const status = gantry("status");
    assert.equal(status.code, 0, status.err);
    assert.match(status.out, /^default +1 of 1 container run, 1 image, /m);
    const facts = JSON.parse(gantry("status", "-o", "json").out) as {
      namespaces: { name: string; running: number }[];
    };
    assert.equal(facts.namespaces.find((n) => n.name === "default")?.running, 1);
  });

  test("a task's folder with a mount that belongs to nothing: found, mended; the living one stays", () => {
    const ghost = join(tasks(), "ghost");
    mkdirSync(join(ghost, "rootfs"), { recursive: true });
    execFileSync("mount", ["-t", "tmpfs", "tmpfs", join(ghost, "rootfs")]);
    const said = gantry("doctor", ...folders());
    assert.equal(said.code, 1);
    assert.match(said.out, /^PROBLEM +tasks: folder ".*ghost" belongs to no container$/m);
    assert.match(said.out, /"gantry doctor --repair" mends 1/);
    assert.ok(existsSync(ghost), "looking changes nothing");
    const mended = gantry("doctor", "--repair", ...folders());
    assert.equal(mended.code, 0, mended.out);
    assert.match(mended.out, /^mended +tasks:/m);
    assert.equal(existsSync(ghost), false);
    assert.ok(existsSync(join(tasks(), "alive")));
    assert.match(ctr("tasks", "ls").out, /alive +\d+ +RUNNING/);
  });

  test("a loop device that nothing uses: found, mended; one that the mount manager holds stays", {
    skip: !existsSync("/dev/loop-control"),
  }, async () => {
    const devices = () =>
      attachedLoops()
        .map(({ file }) => file)
        .filter((file) => file.startsWith(daemon.dir));
    const [left, held] = [join(daemon.dir, "state/left"), join(daemon.dir, "root/held")];
    for (const file of [left, held]) writeFileSync(file, Buffer.alloc(1 << 20));
    const transport = createGrpcTransport({ path: daemon.address });
    const call = new Call({}).in(parseNamespace("default"));
    try {
      const mounts = mountsClient(transport);
      const loop = { type: "loop", source: held, target: "", options: [] };
      await mounts.activate(call, { name: "held", mounts: [loop], labels: new Map(), temporary: false });
      execFileSync("losetup", ["-f", left]);
      assert.deepEqual(devices().sort(), [held, left].sort());
      const said = gantry("doctor", ...folders());
      assert.equal(said.code, 1);
      assert.match(said.out, /^PROBLEM +loop: loop device .* holds ".*left", and nothing uses it$/m);
      assert.equal(gantry("doctor", "--repair", ...folders()).code, 0);
      assert.deepEqual(devices(), [held]);
      assert.match(gantry("doctor", ...folders()).out, /^ok +loop: 1 loop devices, all in use$/m);
      await mounts.deactivate(call, "held");
      assert.deepEqual(devices(), []);
    } finally {
      await transport.close();
      for (const { path, file } of attachedLoops()) if (file.startsWith(daemon.dir)) releaseLoop(path);
    }
  });

  test("no daemon: said with the next step, exit code 1; bad flags, exit code 2", () => {
    const done = spawnSync(BUN, [MAIN, "doctor", "-a", join(dir, "none.sock"), ...folders()], {
      encoding: "utf8",
    });
    assert.equal(done.status, 1);
    assert.match(done.stdout, /^PROBLEM +daemon: does not answer.*\n +systemctl status containerd/m);
    assert.equal(spawnSync(BUN, [MAIN, "doctor", "--bad"], { encoding: "utf8" }).status, 2);
  });
});
