/**
 * Shims that sleep and wake, with real containers. Needs root, runc and busybox-static; skipped elsewhere.
 * `GANTRY_SLEEP_ROUNDS` sets the length of the hunt for races.
 */
import assert from "node:assert/strict";
import { mkdirSync, readFileSync, readlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { readFd } from "../../src/platform/fs/fd-stream.ts";
import { createFifo, openFifo, openFifoReader } from "../../src/platform/fs/fifo.ts";
import { readProcStat } from "../../src/platform/process/proc.ts";
import { isBun } from "../../src/platform/runtime.ts";
import { close, writeAll } from "../../src/platform/syscalls/files.ts";
import {
  busyboxRoot,
  callShim,
  cannotRun,
  type FakeDaemon,
  fakeDaemon,
  rootMount,
  startShim,
} from "./testing.ts";

const skip = cannotRun() ?? (isBun ? false : "shims sleep under Bun only");
const rounds = Number(process.env["GANTRY_SLEEP_ROUNDS"] ?? 30);
let daemon: FakeDaemon;
let root: ReturnType<typeof rootMount>;

before(async () => {
  if (skip !== false) return;
  process.env["GANTRY_SHIM_SLEEP_AFTER"] = "50ms";
  daemon = await fakeDaemon();
  root = rootMount(busyboxRoot(daemon.dir));
});
after(async () => {
  delete process.env["GANTRY_SHIM_SLEEP_AFTER"];
  if (skip === false) await daemon[Symbol.asyncDispose]();
});

type Shim = Awaited<ReturnType<typeof startShim>>;

/** Memory in use, kB. The program has tens of thousands, the sleeper a dozen. */
function memory(pid: number): number {
  const text = readFileSync(`/proc/${pid}/status`, "utf8");
  return Number(/^VmRSS:\s+(\d+)/m.exec(text)?.[1] ?? 0);
}
/** In the middle of becoming another program a process has no words yet, or another name. */
const asleep = (pid: number): boolean =>
  memory(pid) < 1000 &&
  readFileSync(`/proc/${pid}/cmdline`, "utf8") !== "" &&
  !/^(?:memfd|\d)/.test(readFileSync(`/proc/${pid}/comm`, "utf8"));

async function untilAsleep(pid: number): Promise<void> {
  while (!asleep(pid)) await new Promise((resolve) => setTimeout(resolve, 5));
}

interface Running {
  readonly shim: Shim;
  readonly id: string;
  readonly bundle: string;
  /** Of the shim. */
  readonly pid: number;
  /** Of init. */
  readonly init: number;
}

/** A running container whose shim sleeps, and its end. */
async function withSleeper(
  id: string,
  script: string,
  streams: { stdin?: string; stdout?: string; stderr?: string; terminal?: boolean },
  body: (running: Running) => Promise<void>,
): Promise<void> {
  const bundle = daemon.bundle(id, ["sh", "-c", script], (s) => {
    s.process.terminal = streams.terminal ?? false;
  });
  const shim = await startShim(daemon, id, bundle, "new");
  try {
    const { pid: init } = await shim.v3.create({ id, bundle, rootfs: root, ...streams });
    await shim.v3.start({ id });
    const { shimPid: pid } = await shim.v3.connect({ id });
    await untilAsleep(pid);
    await body({ shim, id, bundle, pid, init });
  } finally {
    await shim.v3.kill({ id, signal: 9 }).catch(() => {});
    await shim.v3.wait({ id }).catch(() => {});
    await shim.v3.delete({ id }).catch(() => {});
    await shim.v3.shutdown({ id }).catch(() => {});
    await shim.close();
  }
}

const exitsOf = (id: string): number =>
  daemon.events.filter(
    (e) => e.topic === "/tasks/exit" && new TextDecoder().decode(e.event?.value).includes(id),
  ).length;

test("calls wake it: state, pids, stats, exec, kill; the pid and the words stay", { skip }, async () => {
  await withSleeper("calls", "trap 'exit 7' TERM; sleep 1000 & wait", {}, async (it) => {
    const { shim, id, pid } = it;
    const words = readFileSync(`/proc/${pid}/cmdline`, "utf8");
    const name = readFileSync(`/proc/${pid}/comm`, "utf8");
    assert.match(words, /containerd-shim-runc-v2\0-namespace\0test\0-id\0calls\0-address\0/);
    const score = readFileSync(`/proc/${pid}/oom_score_adj`, "utf8");
    const program = readlinkSync(`/proc/${pid}/exe`);
    assert.equal((await shim.v3.state({ id })).pid, it.init);
    assert.ok(!asleep(pid));
    assert.equal(readlinkSync(`/proc/${pid}/exe`), program);
    assert.equal(readFileSync(`/proc/${pid}/comm`, "utf8"), name);
    assert.equal(readFileSync(`/proc/${pid}/oom_score_adj`, "utf8"), score);
    await untilAsleep(pid);
    assert.ok((await shim.v3.pids({ id })).processes.some((p) => p.pid === it.init));
    await untilAsleep(pid);
    assert.ok((await shim.v3.stats({ id })).stats !== undefined);
    await untilAsleep(pid);
    assert.equal((await shim.v3.connect({ id })).shimPid, pid);
    const spec = { args: ["sh", "-c", "sleep 0.3; exit 5"], cwd: "/", env: ["PATH=/bin"] };
    const value = new TextEncoder().encode(JSON.stringify(spec));
    await shim.v3.exec({ id, execId: "e", spec: { typeUrl: "", value } });
    await untilAsleep(pid);
    await shim.v3.start({ id, execId: "e" });
    await untilAsleep(pid);
    assert.equal((await shim.v3.wait({ id, execId: "e" })).exitStatus, 5);
    await shim.v3.delete({ id, execId: "e" });
    await untilAsleep(pid);
    const wait = shim.v3.wait({ id });
    await shim.v3.kill({ id, signal: 15 });
    assert.equal((await wait).exitStatus, 7);
    await daemon.event("/tasks/exit", (e) => new TextDecoder().decode(e.event?.value).includes(id));
    assert.equal(exitsOf(id), 1);
    // an ended container's shim sleeps too
    await untilAsleep(pid);
    assert.equal((await shim.v3.delete({ id })).exitStatus, 7);
  });
});

test("an end in the sleep: the waiting call is answered, the event is told", { skip }, async () => {
  await withSleeper("ends", "read x; exit 9", { stdin: fifo("ends") }, async ({ shim, id, pid }) => {
    const wait = shim.v3.wait({ id });
    const second = await startShim(daemon, id, daemon.bundle(id, ["true"]), "new");
    const also = second.v3.wait({ id });
    await untilAsleep(pid);
    const input = openFifo(join(daemon.dir, "ends"));
    writeAll(input, new TextEncoder().encode("go\n"));
    assert.equal((await wait).exitStatus, 9);
    assert.equal((await also).exitStatus, 9);
    close(input);
    await second.close();
    await daemon.event("/tasks/exit", (e) => new TextDecoder().decode(e.event?.value).includes(id));
    assert.equal(exitsOf(id), 1);
  });
});

function fifo(name: string): string {
  const path = join(daemon.dir, name);
  createFifo(path);
  return path;
}

test("a log: lines before, in and after sleeps, one of them in pieces", { skip }, async () => {
  const path = join(daemon.dir, "pod/0.log");
  const uri = `cri-log://${path}?max=100`;
  const script = "printf 'begun '; read x; echo $x; echo error >&2; read x; echo $x; exit 0";
  const streams = { stdin: fifo("log-in"), stdout: uri, stderr: uri };
  await withSleeper("log", script, streams, async ({ shim, id, pid }) => {
    const input = openFifo(streams.stdin);
    writeAll(input, new TextEncoder().encode("one\n"));
    while (!readFileSync(path, "utf8").includes("error")) await new Promise((r) => setTimeout(r, 5));
    await untilAsleep(pid);
    writeAll(input, new TextEncoder().encode("two\n"));
    assert.equal((await shim.v3.wait({ id })).exitStatus, 0);
    close(input);
    const lines = readFileSync(path, "utf8").split("\n").slice(0, -1);
    const texts = lines.map((line) => line.replace(/^\S+ /, ""));
    assert.deepEqual(texts.sort(), ["stderr F error", "stdout F begun one", "stdout F two"]);
  });
});

test("a file and a logger program", { skip }, async () => {
  const path = join(daemon.dir, "out.txt");
  const streams = { stdin: fifo("file-in"), stdout: `file://${path}` };
  await withSleeper("file", "read x; echo got $x", streams, async ({ shim, id }) => {
    const input = openFifo(streams.stdin);
    writeAll(input, new TextEncoder().encode("this\n"));
    await shim.v3.wait({ id });
    await shim.v3.delete({ id });
    assert.equal(readFileSync(path, "utf8"), "got this\n");
    close(input);
  });
  const [program, logged] = [join(daemon.dir, "logger.sh"), join(daemon.dir, "logged.txt")];
  writeFileSync(program, `#!/bin/sh\nexec 5>&-\ncat <&3 >${logged}\n`, { mode: 0o755 });
  const logger = { stdin: fifo("logger-in"), stdout: `binary://${program}` };
  await withSleeper("logger", "read x; echo got $x", logger, async ({ shim, id }) => {
    const input = openFifo(logger.stdin);
    writeAll(input, new TextEncoder().encode("that\n"));
    await shim.v3.wait({ id });
    await shim.v3.delete({ id });
    assert.equal(readFileSync(logged, "utf8"), "got that\n");
    close(input);
  });
});

test("FIFOs where CRIU is installed: init has nothing but pipes; input, output and their ends go through sleeps", {
  skip,
}, async () => {
  const programs = join(daemon.dir, "programs");
  mkdirSync(programs);
  writeFileSync(join(programs, "criu"), "#!/bin/sh\nexit 1\n", { mode: 0o755 });
  const before = process.env["PATH"];
  process.env["PATH"] = `${before}:${programs}`;
  const streams = { stdin: fifo("criu-in"), stdout: fifo("criu-out"), stderr: fifo("criu-err") };
  const [out, err] = [openFifoReader(streams.stdout), openFifoReader(streams.stderr)];
  const input = openFifo(streams.stdin);
  const script = "while read x; do echo got $x; done; echo the end >&2; exit 4";
  try {
    await withSleeper("criu", script, streams, async ({ shim, id, pid, init }) => {
      process.env["PATH"] = before;
      for (const fd of [0, 1, 2]) assert.match(readlinkSync(`/proc/${init}/fd/${fd}`), /^pipe:/);
      out.release();
      err.release();
      const chunks = readFd(out.fd);
      for (const word of ["one", "two"]) {
        writeAll(input, new TextEncoder().encode(`${word}\n`));
        const { value } = await chunks.next();
        assert.equal(new TextDecoder().decode(value ?? new Uint8Array()), `got ${word}\n`);
        await untilAsleep(pid);
      }
      // the end of input: the client's writer and the one that the shim holds for it
      close(input);
      await shim.v3.closeIO({ id, stdin: true });
      assert.equal((await shim.v3.wait({ id })).exitStatus, 4);
      assert.equal((await chunks.next()).done, true);
      let said = "";
      for await (const chunk of readFd(err.fd)) said += new TextDecoder().decode(chunk);
      assert.equal(said, "the end\n");
    });
  } finally {
    process.env["PATH"] = before;
    close(out.fd);
    close(err.fd);
  }
});

test("a terminal: both ways and its size", { skip }, async () => {
  const streams = { stdin: fifo("tty-in"), stdout: fifo("tty-out"), terminal: true };
  const output = openFifoReader(streams.stdout);
  let text = "";
  const reading = (async () => {
    for await (const chunk of readFd(output.fd)) text += new TextDecoder().decode(chunk);
  })();
  const script = "while read x; do if [ $x = end ]; then exit 4; fi; stty size; echo said $x; done";
  await withSleeper("tty", script, streams, async ({ shim, id, pid }) => {
    const input = openFifo(streams.stdin);
    await shim.v3.resizePty({ id, width: 91, height: 33 });
    await untilAsleep(pid);
    writeAll(input, new TextEncoder().encode("one\n"));
    while (!text.includes("said one")) await new Promise((r) => setTimeout(r, 5));
    assert.match(text, /33 91/);
    await untilAsleep(pid);
    writeAll(input, new TextEncoder().encode("two\n"));
    while (!text.includes("said two")) await new Promise((r) => setTimeout(r, 5));
    await untilAsleep(pid);
    await shim.v3.resizePty({ id, width: 50, height: 20 });
    writeAll(input, new TextEncoder().encode("three\n"));
    while (!text.includes("20 50")) await new Promise((r) => setTimeout(r, 5));
    await untilAsleep(pid);
    writeAll(input, new TextEncoder().encode("end\n"));
    assert.equal((await shim.v3.wait({ id })).exitStatus, 4);
    close(input);
  });
  output.release();
  await reading;
  close(output.fd);
});

test("a paused container sleeps, and goes on", { skip }, async () => {
  await withSleeper("paused", "sleep 1000", {}, async ({ shim, id, pid }) => {
    await shim.v3.pause({ id });
    await untilAsleep(pid);
    assert.equal((await shim.v3.state({ id })).status, 4);
    await shim.v3.resume({ id });
    await untilAsleep(pid);
    assert.equal((await shim.v3.state({ id })).status, 2);
  });
});

test("signals: USR1 wakes, TERM does not end it, KILL does and its connections end", { skip }, async () => {
  await withSleeper("signals", "sleep 1000", {}, async ({ shim, id, bundle, pid, init }) => {
    for (const signal of ["SIGUSR1", "SIGTERM", "SIGINT"] as const) {
      process.kill(pid, signal);
      while (asleep(pid)) await new Promise((r) => setTimeout(r, 5));
      await untilAsleep(pid);
    }
    assert.equal((await shim.v3.state({ id })).pid, init);
    const wait = assert.rejects(shim.v3.wait({ id }));
    await untilAsleep(pid);
    process.kill(pid, "SIGKILL");
    await wait;
    await callShim(daemon, id, bundle, "delete", new Uint8Array());
    assert.ok(["Z", "X", undefined].includes(readProcStat(init)?.state));
  });
});

test(`whatever happens while it falls asleep is not lost: ${rounds} rounds`, {
  skip,
  timeout: 600_000,
}, async () => {
  for (let round = 0; round < rounds; round++) {
    const id = `race-${round}`;
    const kind = round % 4;
    // the shim sleeps 50 ms after the last answer
    const moment = 40 + Math.random() * 25;
    const script =
      kind === 0 ? `sleep ${(moment / 1000).toFixed(4)}; exit 3` : "trap 'exit 3' TERM; sleep 1000 & wait";
    const bundle = daemon.bundle(id, ["sh", "-c", script]);
    const shim = await startShim(daemon, id, bundle, "new");
    const { pid: init } = await shim.v3.create({ id, bundle, rootfs: root });
    const early = kind === 0 ? shim.v3.wait({ id }) : undefined;
    await shim.v3.start({ id });
    await new Promise((resolve) => setTimeout(resolve, kind === 0 ? 0 : moment));
    if (kind === 1) process.kill(init, "SIGTERM");
    if (kind === 2) await shim.v3.kill({ id, signal: 15 });
    if (kind === 3) {
      const spec = { args: ["sh", "-c", "exit 6"], cwd: "/", env: ["PATH=/bin"] };
      const value = new TextEncoder().encode(JSON.stringify(spec));
      await shim.v3.exec({ id, execId: "e", spec: { typeUrl: "", value } });
      await shim.v3.start({ id, execId: "e" });
      assert.equal((await shim.v3.wait({ id, execId: "e" })).exitStatus, 6, id);
      process.kill(init, "SIGTERM");
    }
    assert.equal((await (early ?? shim.v3.wait({ id }))).exitStatus, 3, id);
    await daemon.event("/tasks/exit", (e) => new TextDecoder().decode(e.event?.value).includes(`${id}`));
    assert.equal((await shim.v3.delete({ id })).exitStatus, 3, id);
    await shim.v3.shutdown({ id }).catch(() => {});
    await shim.close();
  }
});
