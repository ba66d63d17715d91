/**
 * Shims that sleep and wake, with real containers. Needs root, runc and busybox-static; skipped elsewhere.
 * `GANTRY_SLEEP_ROUNDS` sets the length of the hunt for races.
 */
import assert from "node:assert/strict";
import { mkdirSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { readFd } from "../../src/platform/fs/fd-stream.ts";
import { openFifo, openFifoReader } from "../../src/platform/fs/fifo.ts";
import { readProcStat } from "../../src/platform/process/proc.ts";
import { isBun } from "../../src/platform/runtime.ts";
import { close, writeAll } from "../../src/platform/syscalls/files.ts";
import { callShim, cannotRun, startShim } from "./testing.ts";
import { type Boxed, type ContainerOptions, ofId, processOf, shimSuite, until } from "./testing-suite.ts";

const suite = shimSuite(cannotRun() ?? (isBun ? false : "shims sleep under Bun only"));
const { skip, inContainer, fifo } = suite;
const rounds = Number(process.env["GANTRY_SLEEP_ROUNDS"] ?? 30);

before(() => {
  process.env["GANTRY_SHIM_SLEEP_AFTER"] = "50ms";
});
after(() => {
  delete process.env["GANTRY_SHIM_SLEEP_AFTER"];
});

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

const untilAsleep = (pid: number): Promise<void> => until("the shim to sleep", () => asleep(pid));

/** A running container whose shim sleeps, and its end. */
async function withSleeper(
  id: string,
  script: string,
  streams: NonNullable<ContainerOptions["create"]>,
  body: (running: Boxed) => Promise<void>,
): Promise<void> {
  const run = async (c: Boxed): Promise<void> => {
    await untilAsleep(c.shimPid);
    await body(c);
  };
  await inContainer(id, ["sh", "-c", script], run, { create: streams });
}

const exitsOf = (id: string): number => suite.daemon.events.filter(ofId(id)).length;

test("calls wake it: state, pids, stats, exec, kill; the pid and the words stay", { skip }, async () => {
  await withSleeper("calls", "trap 'exit 7' TERM; sleep 1000 & wait", {}, async (c) => {
    const { v3, id, shimPid: pid, init } = c;
    const words = readFileSync(`/proc/${pid}/cmdline`, "utf8");
    const name = readFileSync(`/proc/${pid}/comm`, "utf8");
    assert.match(words, /containerd-shim-runc-v2\0-namespace\0test\0-id\0calls\0-address\0/);
    const score = readFileSync(`/proc/${pid}/oom_score_adj`, "utf8");
    const program = readlinkSync(`/proc/${pid}/exe`);
    assert.equal((await v3.state({ id })).pid, init);
    assert.ok(!asleep(pid));
    assert.equal(readlinkSync(`/proc/${pid}/exe`), program);
    assert.equal(readFileSync(`/proc/${pid}/comm`, "utf8"), name);
    assert.equal(readFileSync(`/proc/${pid}/oom_score_adj`, "utf8"), score);
    await untilAsleep(pid);
    assert.ok((await v3.pids({ id })).processes.some((p) => p.pid === init));
    await untilAsleep(pid);
    assert.ok((await v3.stats({ id })).stats !== undefined);
    await untilAsleep(pid);
    assert.equal((await v3.connect({ id })).shimPid, pid);
    await v3.exec({ id, execId: "e", spec: processOf(["sh", "-c", "sleep 0.3; exit 5"]) });
    await untilAsleep(pid);
    await v3.start({ id, execId: "e" });
    await untilAsleep(pid);
    assert.equal((await v3.wait({ id, execId: "e" })).exitStatus, 5);
    await v3.delete({ id, execId: "e" });
    await untilAsleep(pid);
    const wait = v3.wait({ id });
    await v3.kill({ id, signal: 15 });
    assert.equal((await wait).exitStatus, 7);
    await suite.daemon.event("/tasks/exit", ofId(id));
    assert.equal(exitsOf(id), 1);
    // an ended container's shim sleeps too
    await untilAsleep(pid);
    assert.equal((await v3.delete({ id })).exitStatus, 7);
  });
});

test("an end in the sleep: the waiting call is answered, the event is told", { skip }, async () => {
  await withSleeper("ends", "read x; exit 9", { stdin: fifo("ends") }, async ({ v3, id, shimPid: pid }) => {
    const wait = v3.wait({ id });
    const second = await startShim(suite.daemon, id, suite.daemon.bundle(id, ["true"]), "new");
    const also = second.v3.wait({ id });
    await untilAsleep(pid);
    const input = openFifo(join(suite.daemon.dir, "ends"));
    writeAll(input, new TextEncoder().encode("go\n"));
    assert.equal((await wait).exitStatus, 9);
    assert.equal((await also).exitStatus, 9);
    close(input);
    await second.close();
    await suite.daemon.event("/tasks/exit", ofId(id));
    assert.equal(exitsOf(id), 1);
  });
});

test("a log: lines before, in and after sleeps, one of them in pieces", { skip }, async () => {
  const path = join(suite.daemon.dir, "pod/0.log");
  const uri = `cri-log://${path}?max=100`;
  const script = "printf 'begun '; read x; echo $x; echo error >&2; read x; echo $x; exit 0";
  const streams = { stdin: fifo("log-in"), stdout: uri, stderr: uri };
  await withSleeper("log", script, streams, async ({ v3, id, shimPid: pid }) => {
    const input = openFifo(streams.stdin);
    writeAll(input, new TextEncoder().encode("one\n"));
    await until("the error", () => readFileSync(path, "utf8").includes("error"));
    await untilAsleep(pid);
    writeAll(input, new TextEncoder().encode("two\n"));
    assert.equal((await v3.wait({ id })).exitStatus, 0);
    close(input);
    const lines = readFileSync(path, "utf8").split("\n").slice(0, -1);
    const texts = lines.map((line) => line.replace(/^\S+ /, ""));
    assert.deepEqual(texts.sort(), ["stderr F error", "stdout F begun one", "stdout F two"]);
  });
});

test("a file and a logger program", { skip }, async () => {
  const path = join(suite.daemon.dir, "out.txt");
  const streams = { stdin: fifo("file-in"), stdout: `file://${path}` };
  await withSleeper("file", "read x; echo got $x", streams, async ({ v3, id }) => {
    const input = openFifo(streams.stdin);
    writeAll(input, new TextEncoder().encode("this\n"));
    await v3.wait({ id });
    await v3.delete({ id });
    assert.equal(readFileSync(path, "utf8"), "got this\n");
    close(input);
  });
  const [program, logged] = [join(suite.daemon.dir, "logger.sh"), join(suite.daemon.dir, "logged.txt")];
  writeFileSync(program, `#!/bin/sh\nexec 5>&-\ncat <&3 >${logged}\n`, { mode: 0o755 });
  const logger = { stdin: fifo("logger-in"), stdout: `binary://${program}` };
  await withSleeper("logger", "read x; echo got $x", logger, async ({ v3, id }) => {
    const input = openFifo(logger.stdin);
    writeAll(input, new TextEncoder().encode("that\n"));
    await v3.wait({ id });
    await v3.delete({ id });
    assert.equal(readFileSync(logged, "utf8"), "got that\n");
    close(input);
  });
});

test("FIFOs where CRIU is installed: init has nothing but pipes; input, output and their ends go through sleeps", {
  skip,
}, async () => {
  const programs = join(suite.daemon.dir, "programs");
  mkdirSync(programs);
  writeFileSync(join(programs, "criu"), "#!/bin/sh\nexit 1\n", { mode: 0o755 });
  const before = process.env["PATH"];
  process.env["PATH"] = `${before}:${programs}`;
  const streams = { stdin: fifo("criu-in"), stdout: fifo("criu-out"), stderr: fifo("criu-err") };
  const [out, err] = [openFifoReader(streams.stdout), openFifoReader(streams.stderr)];
  const input = openFifo(streams.stdin);
  const script = "while read x; do echo got $x; done; echo the end >&2; exit 4";
  try {
    await withSleeper("criu", script, streams, async ({ v3, id, shimPid: pid, init }) => {
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
      await v3.closeIO({ id, stdin: true });
      assert.equal((await v3.wait({ id })).exitStatus, 4);
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
  await withSleeper("tty", script, streams, async ({ v3, id, shimPid: pid }) => {
    const input = openFifo(streams.stdin);
    await v3.resizePty({ id, width: 91, height: 33 });
    await untilAsleep(pid);
    writeAll(input, new TextEncoder().encode("one\n"));
    await until("said one", () => text.includes("said one"));
    assert.match(text, /33 91/);
    await untilAsleep(pid);
    writeAll(input, new TextEncoder().encode("two\n"));
    await until("said two", () => text.includes("said two"));
    await untilAsleep(pid);
    await v3.resizePty({ id, width: 50, height: 20 });
    writeAll(input, new TextEncoder().encode("three\n"));
    await until("20 50", () => text.includes("20 50"));
    await untilAsleep(pid);
    writeAll(input, new TextEncoder().encode("end\n"));
    assert.equal((await v3.wait({ id })).exitStatus, 4);
    close(input);
  });
  output.release();
  await reading;
  close(output.fd);
});

test("an exec whose start does not come lets it sleep", { skip }, async () => {
  await withSleeper("waits", "sleep 1000", {}, async ({ v3, id, shimPid: pid }) => {
    const before = readdirSync(`/proc/${pid}/fd`).length;
    await v3.exec({ id, execId: "e", spec: processOf(["sh", "-c", "exit 3"]) });
    await untilAsleep(pid);
    assert.equal(readdirSync(`/proc/${pid}/fd`).length, before);
    await v3.start({ id, execId: "e" });
    assert.equal((await v3.wait({ id, execId: "e" })).exitStatus, 3);
    await v3.delete({ id, execId: "e" });
    await untilAsleep(pid);
  });
});

test("a paused container sleeps, and goes on", { skip }, async () => {
  await withSleeper("paused", "sleep 1000", {}, async ({ v3, id, shimPid: pid }) => {
    await v3.pause({ id });
    await untilAsleep(pid);
    assert.equal((await v3.state({ id })).status, 4);
    await v3.resume({ id });
    await untilAsleep(pid);
    assert.equal((await v3.state({ id })).status, 2);
  });
});

test("signals: USR1 wakes, TERM does not end it, KILL does and its connections end", { skip }, async () => {
  await withSleeper("signals", "sleep 1000", {}, async ({ v3, id, bundle, shimPid: pid, init }) => {
    for (const signal of ["SIGUSR1", "SIGTERM", "SIGINT"] as const) {
      process.kill(pid, signal);
      await until("the shim to wake", () => !asleep(pid));
      await untilAsleep(pid);
    }
    assert.equal((await v3.state({ id })).pid, init);
    const wait = assert.rejects(v3.wait({ id }));
    await untilAsleep(pid);
    process.kill(pid, "SIGKILL");
    await wait;
    await callShim(suite.daemon, id, bundle, "delete", new Uint8Array());
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
    const c = await suite.create(id, ["sh", "-c", script]);
    const { v3, init } = c;
    const early = kind === 0 ? v3.wait({ id }) : undefined;
    await v3.start({ id });
    await new Promise((resolve) => setTimeout(resolve, kind === 0 ? 0 : moment));
    if (kind === 1) process.kill(init, "SIGTERM");
    if (kind === 2) await v3.kill({ id, signal: 15 });
    if (kind === 3) {
      await v3.exec({ id, execId: "e", spec: processOf(["sh", "-c", "exit 6"]) });
      await v3.start({ id, execId: "e" });
      assert.equal((await v3.wait({ id, execId: "e" })).exitStatus, 6, id);
      process.kill(init, "SIGTERM");
    }
    assert.equal((await (early ?? v3.wait({ id }))).exitStatus, 3, id);
    await suite.daemon.event("/tasks/exit", ofId(id));
    assert.equal((await v3.delete({ id })).exitStatus, 3, id);
    await v3.shutdown({ id });
    await c.close();
  }
});
