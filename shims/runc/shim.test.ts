/** The shim over its real protocols with real runc. Needs root, runc and busybox-static; skipped elsewhere. */
import assert from "node:assert/strict";
import {
  createWriteStream,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fromBinary } from "@bufbuild/protobuf";
import { MetricsSchema } from "../../src/api/gen/containerd/cgroups/v1/metrics_pb.ts";
import { DeleteResponseSchema } from "../../src/api/gen/containerd/runtime/task/v3/shim_pb.ts";
import { codeOf, type ErrorCode } from "../../src/core/errors.ts";
import { Options } from "../shared/messages.ts";
import { encode } from "../shared/wire.ts";
import { callShim, startShim } from "./testing.ts";
import { assertUnmounted, exitOf, ofId, processOf, readFifo, shimSuite, untilGone } from "./testing-suite.ts";

const suite = shimSuite();
const { skip, inContainer, fifo } = suite;

async function refused(work: Promise<unknown>, code: ErrorCode, text?: RegExp): Promise<void> {
  await assert.rejects(work, (error: unknown) => {
    assert.equal(codeOf(error), code, String(error));
    if (text !== undefined) assert.match(String(error), text);
    return true;
  });
}

test("life of a container by the new protocol, task v3, with FIFOs", { skip }, async () => {
  const out = fifo("life-out");
  const text = readFifo(out);
  await inContainer(
    "life",
    ["sh", "-c", "echo out; exit 7"],
    async (c) => {
      await refused(c.v3.create({ id: "life", bundle: c.bundle }), "already-exists");
      await refused(c.v3.state({ id: "other" }), "not-found");
      assert.equal((await c.v3.state({ id: "life" })).status, 1);
      const words = readFileSync(`/proc/${c.shimPid}/cmdline`, "utf8").replace(/\0+$/, "").split("\0");
      const address = join(suite.daemon.dir, "d.sock");
      const flags = ["-namespace", "test", "-id", "life", "-address", address];
      assert.deepEqual(words, ["containerd-shim-runc-v2", ...flags]);
      await refused(c.v3.start({ id: "life", execId: "none" }), "not-found");
      assert.ok((await c.v3.start({ id: "life" })).pid > 0);
      const exit = await c.v3.wait({ id: "life" });
      assert.equal(exit.exitStatus, 7);
      assert.equal(await text, "out\n");
      assert.equal((await c.v3.state({ id: "life" })).status, 3);
      await refused(c.v3.kill({ id: "life", signal: 9 }), "not-found", /process already finished/);
      assert.equal(JSON.parse(readFileSync(join(c.bundle, "exit.json"), "utf8")).status, 7);
      assert.equal((await c.v3.delete({ id: "life" })).exitStatus, 7);
      await refused(c.v3.delete({ id: "life" }), "not-found");
    },
    { create: { stdout: out }, start: false },
  );
  await suite.daemon.event("/tasks/delete");
  assert.deepEqual(
    suite.daemon.events.map((e) => e.topic),
    ["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"],
  );
  assert.deepEqual([...new Set(suite.daemon.events.map((e) => e.namespace))], ["test"]);
});

test("the old protocol answers a bare address and serves task v2", { skip }, async () => {
  await inContainer(
    "old",
    ["sleep", "60"],
    async (c) => {
      assert.match(new TextDecoder().decode(c.output), /^unix:\/\/\/run\/containerd\/s\/[0-9a-f]{64}$/);
      assert.equal(readFileSync(join(c.bundle, "address"), "utf8"), c.address);
      assert.equal((await c.v2.state({ id: "old" })).status, 2);
      await refused(c.v2.delete({ id: "old" }), "failed-precondition");
      await c.v2.kill({ id: "old", signal: 15, all: true });
      await c.v2.kill({ id: "old", signal: 9 }).catch(() => {});
      assert.ok((await c.v2.wait({ id: "old" })).exitStatus >= 137);
    },
    { protocol: "old" },
  );
});

test("exec: exit codes, output, own pid details, wrong program, leaves nothing", { skip }, async () => {
  await inContainer("exec", ["sleep", "600"], async (c) => {
    const out = fifo("exec-out");
    const text = readFifo(out);
    await c.v3.exec({
      id: "exec",
      execId: "e1",
      stdout: out,
      spec: processOf(["sh", "-c", "echo from exec; exit 3"]),
    });
    await refused(c.v3.exec({ id: "exec", execId: "e1", spec: processOf(["true"]) }), "already-exists");
    await c.v3.start({ id: "exec", execId: "e1" });
    assert.equal((await c.v3.wait({ id: "exec", execId: "e1" })).exitStatus, 3);
    assert.equal(await text, "from exec\n");
    assert.equal((await c.v3.delete({ id: "exec", execId: "e1" })).exitStatus, 3);

    await c.v3.exec({ id: "exec", execId: "bad", spec: processOf(["no-such-program"]) });
    await refused(
      c.v3.start({ id: "exec", execId: "bad" }),
      "unknown",
      /OCI runtime exec failed: exec failed:.*executable file not found in \$PATH/,
    );
    await c.v3.delete({ id: "exec", execId: "bad" });

    await c.v3.exec({ id: "exec", execId: "long", spec: processOf(["sleep", "600"]) });
    const { pid } = await c.v3.start({ id: "exec", execId: "long" });
    const { processes } = await c.v3.pids({ id: "exec" });
    assert.equal(processes.find((p) => p.pid === pid)?.info?.typeUrl, "containerd.runc.v1.ProcessDetails");
    await c.v3.kill({ id: "exec", signal: 9 });
    await c.v3.wait({ id: "exec" });
    const exits = await suite.daemon.event("/tasks/exit", ofId("exec"));
    const at = suite.daemon.events.indexOf(exits);
    assert.ok(suite.daemon.events.slice(0, at).some(ofId("long")), "exec's exit first");
    assert.deepEqual(
      readdirSync(c.bundle).filter((n) => n.startsWith("exec-")),
      [],
    );
  });
});

test("create that fails leaves nothing and says why", { skip }, async () => {
  const bundle = suite.daemon.bundle("wrong", ["no-such-program"]);
  const shim = await startShim(suite.daemon, "wrong", bundle, "new");
  const { shimPid } = await shim.v3.connect({ id: "wrong" });
  await refused(
    shim.v3.create({ id: "wrong", bundle, rootfs: suite.root }),
    "unknown",
    /OCI runtime create failed: .*executable file not found in \$PATH/,
  );
  assertUnmounted(bundle);
  await shim.v3.shutdown({ id: "wrong" });
  await shim.close();
  await untilGone(shimPid);
});

test("terminal: size, input, end", { skip }, async () => {
  const [stdin, stdout] = [fifo("tty-in"), fifo("tty-out")];
  const text = readFifo(stdout);
  await inContainer(
    "tty",
    ["sh", "-c", "read x; stty size; echo got $x; exit 5"],
    async (c) => {
      await c.v3.resizePty({ id: "tty", width: 132, height: 43 });
      const input = createWriteStream("", { fd: openSync(stdin, "w") });
      input.end("hello\n");
      assert.equal((await c.v3.wait({ id: "tty" })).exitStatus, 5);
      assert.match(await text, /43 132\r\ngot hello\r\n$/);
    },
    { create: { stdin, stdout, terminal: true } },
  );
});

test("stdin ends when the client closed it and said so", { skip }, async () => {
  const [stdin, stdout] = [fifo("cat-in"), fifo("cat-out")];
  const text = readFifo(stdout);
  await inContainer(
    "cat",
    ["cat"],
    async (c) => {
      const input = createWriteStream("", { fd: openSync(stdin, "w") });
      await new Promise<void>((done) => input.end("x".repeat(200_000), () => done()));
      assert.equal((await c.v3.state({ id: "cat" })).status, 2);
      await c.v3.closeIO({ id: "cat", stdin: true });
      assert.equal((await c.v3.wait({ id: "cat" })).exitStatus, 0);
      assert.equal((await text).length, 200_000);
    },
    { create: { stdin, stdout } },
  );
});

test("pause, resume, update, metrics", { skip }, async () => {
  await inContainer("pause", ["sleep", "600"], async (c) => {
    await refused(c.v3.resume({ id: "pause" }), "failed-precondition");
    await c.v3.pause({ id: "pause" });
    assert.equal((await c.v3.state({ id: "pause" })).status, 4);
    await c.v3.resume({ id: "pause" });
    const resources = {
      typeUrl: "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources",
      value: new TextEncoder().encode(JSON.stringify({ memory: { limit: 67108864 } })),
    };
    await c.v3.update({ id: "pause", resources });
    const { stats } = await c.v3.stats({ id: "pause" });
    if (stats?.typeUrl === "io.containerd.cgroups.v1.Metrics")
      assert.equal(fromBinary(MetricsSchema, stats.value).memory?.usage?.limit, 67108864n);
    await c.v3.pause({ id: "pause" });
    await c.v3.kill({ id: "pause", signal: 9 });
    assert.equal((await c.v3.wait({ id: "pause" })).exitStatus, 137);
  });
});

test("R17: out of memory is told before the exit", { skip }, async () => {
  await inContainer(
    "oom",
    ["sh", "-c", "dd if=/dev/zero of=/dev/null bs=64M count=1"],
    async (c) => {
      await c.v3.wait({ id: "oom" });
      await suite.daemon.event("/tasks/exit", ofId("oom"));
      const topics = suite.daemon.events.map((e) => e.topic);
      assert.ok(topics.includes("/tasks/oom"));
      assert.ok(topics.indexOf("/tasks/oom") < topics.lastIndexOf("/tasks/exit"));
    },
    {
      spec: (s) => {
        s.linux.resources = { memory: { limit: 16 << 20 } };
      },
    },
  );
});

test("R14: events wait on disk while the daemon is down and come in order after", { skip }, async () => {
  await inContainer("down", ["sleep", "600"], async (c) => {
    await suite.daemon.event("/tasks/start");
    await suite.daemon.stopEvents();
    await c.v3.kill({ id: "down", signal: 9 });
    await c.v3.wait({ id: "down" });
    assert.equal(existsSync(join(c.bundle, "exit.json")), true);
    assert.ok(readFileSync(join(c.bundle, "outbox")).length > 0);
    await suite.daemon.startEvents();
    assert.equal(exitOf(await suite.daemon.event("/tasks/exit", ofId("down"))).exitStatus, 137);
  });
});

test("delete cleans up after a killed shim; a second shim of a group shares the first", {
  skip,
}, async () => {
  const group = (s: { annotations?: Record<string, string> }): void => {
    s.annotations = { "io.kubernetes.cri.sandbox-id": "pod" };
  };
  const one = suite.daemon.bundle("one", ["sleep", "600"], group);
  const two = suite.daemon.bundle("two", ["sh", "-c", "exit 4"], group);
  const shim = await startShim(suite.daemon, "one", one, "new");
  const same = await startShim(suite.daemon, "two", two, "new");
  assert.equal(same.address, shim.address);
  await shim.v3.create({ id: "one", bundle: one, rootfs: suite.root });
  await shim.v3.start({ id: "one" });
  await same.v3.create({ id: "two", bundle: two, rootfs: suite.root });
  await same.v3.start({ id: "two" });
  assert.equal((await same.v3.wait({ id: "two" })).exitStatus, 4);
  const { shimPid, taskPid } = await shim.v3.connect({ id: "one" });
  await shim.v3.shutdown({ id: "one" });
  process.kill(shimPid, "SIGTERM");
  assert.equal((await shim.v3.state({ id: "one" })).status, 2, "containers keep their shim");
  process.kill(shimPid, "SIGKILL");
  await untilGone(shimPid);
  writeFileSync(join(one, "address"), shim.address);
  for (const [id, bundle, status] of [
    ["one", one, 137],
    ["two", two, 4],
  ] as const) {
    const done = await callShim(suite.daemon, id, bundle, "delete", new Uint8Array());
    assert.equal(done.code, 0, new TextDecoder().decode(done.stderr));
    assert.equal(fromBinary(DeleteResponseSchema, done.stdout).exitStatus, status);
  }
  await untilGone(taskPid);
  assert.equal(existsSync(shim.address.replace("unix://", "")), false, "the dead shim's socket is gone");
  assertUnmounted(one);
  await shim.close();
  await same.close();
});

test("S27: runtime and container get no file of the shim but their own three", { skip }, async () => {
  const list = join(suite.daemon.dir, "fds");
  const fake = join(suite.daemon.dir, "fake-runc");
  // of ls, not of the shell: that keeps what it redirects for ls open for itself, under other numbers
  const script = `#!/bin/sh\nls -l /proc/self/fd >> ${list}\nexec runc "$@"\n`;
  writeFileSync(fake, script, { mode: 0o755 });
  const value = encode(Options, { binaryName: fake });
  const out = fifo("fds-out");
  const text = readFifo(out);
  await inContainer(
    "fds",
    ["sh", "-c", "ls /proc/1/fd; ls /proc/self/fd"],
    async (c) => {
      await c.v3.wait({ id: "fds" });
      const files = [...readFileSync(list, "utf8").matchAll(/ (\d+) -> (.*)$/gm)];
      const extra = files
        .filter(([, fd, file]) => Number(fd) > 2 && !/^\/proc\/\d+\/fd$/.test(file ?? ""))
        .map(([line]) => line);
      assert.ok(files.length > 3);
      assert.deepEqual(extra, []);
      assert.equal(await text, "0\n1\n2\n0\n1\n2\n3\n");
    },
    { create: { stdout: out, options: { typeUrl: "containerd.runc.v1.Options", value } } },
  );
});

test("R18: many short execs: every exit code, no zombie, no fd left", {
  skip,
  timeout: 300_000,
}, async () => {
  const count = Number(process.env["SHIM_EXECS"] ?? 60);
  await inContainer("many", ["sleep", "600"], async (c) => {
    const once = async (i: number): Promise<void> => {
      const execId = `x${i}`;
      await c.v3.exec({ id: "many", execId, spec: processOf(["sh", "-c", `exit ${i % 256}`]) });
      await c.v3.start({ id: "many", execId });
      assert.equal((await c.v3.wait({ id: "many", execId })).exitStatus, i % 256);
      assert.equal((await c.v3.delete({ id: "many", execId })).exitStatus, i % 256);
    };
    await once(0);
    const fds = () => readdirSync(`/proc/${c.shimPid}/fd`).length;
    const before = fds();
    for (let i = 0; i < count; i += 8) await Promise.all(Array.from({ length: 8 }, (_, k) => once(i + k)));
    assert.ok(fds() <= before, `fds: ${before} before, ${fds()} after: ${fdList(c.shimPid)}`);
    const children = readFileSync(`/proc/${c.shimPid}/task/${c.shimPid}/children`, "utf8").trim().split(" ");
    assert.equal(children.length, 1, `children: ${children.join(" ")}`);
  });
});

function fdList(pid: number): string {
  return readdirSync(`/proc/${pid}/fd`)
    .map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`))
    .join(" ");
}
