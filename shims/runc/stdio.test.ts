/** Every kind of stream with real containers. Needs root, runc and busybox-static; skipped elsewhere. */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { codeOf } from "../../src/core/errors.ts";
import { alloc } from "../../src/platform/ffi/memory.ts";
import { readFd } from "../../src/platform/fs/fd-stream.ts";
import { openFifoReader } from "../../src/platform/fs/fifo.ts";
import { close, tryRead } from "../../src/platform/syscalls/files.ts";
import { Options } from "../shared/messages.ts";
import { encode } from "../shared/wire.ts";
import { type Boxed, type ContainerOptions, readFifo, shimSuite } from "./testing-suite.ts";

const suite = shimSuite();
const { skip, inContainer, fifo } = suite;

/** Runs a container to its end. @returns exit code */
async function toTheEnd(
  id: string,
  script: string,
  streams: ContainerOptions["create"],
  meanwhile: (c: Boxed) => Promise<unknown> = async () => {},
): Promise<number> {
  let code = -1;
  const run = async (c: Boxed): Promise<void> => {
    await meanwhile(c);
    code = (await c.v3.wait({ id })).exitStatus;
  };
  await inContainer(id, ["sh", "-c", script], run, streams === undefined ? {} : { create: streams });
  return code;
}

/** `STREAM TAG TEXT` of each line. */
const lines = (path: string): string[] =>
  readFileSync(path, "utf8")
    .split("\n")
    .slice(0, -1)
    .map((line) => line.replace(/^\S+ /, ""));

test("R16: a Kubernetes log is complete when the exit is known, last line without newline", {
  skip,
}, async () => {
  const path = join(suite.daemon.dir, "logs", "0.log");
  const log = `cri-log://${path}?max=16`;
  const script = "echo out; echo err >&2; echo 12345678901234567; printf 'no end'; exit 3";
  for (let i = 0; i < 5; i++) {
    rmSync(path, { force: true });
    let got: string[] = [];
    const code = await toTheEnd(`log${i}`, script, { stdout: log, stderr: log }, async ({ v3 }) => {
      await v3.wait({ id: `log${i}` });
      got = lines(path);
    });
    assert.equal(code, 3);
    assert.deepEqual(
      got.filter((l) => l.startsWith("stdout")),
      ["stdout F out", "stdout P 1234567890123456", "stdout F 7", "stdout P no end"],
    );
    assert.deepEqual(
      got.filter((l) => l.startsWith("stderr")),
      ["stderr F err"],
    );
  }
});

test("a Kubernetes log of a terminal", { skip }, async () => {
  const path = join(suite.daemon.dir, "logs", "tty.log");
  assert.equal(await toTheEnd("ttylog", "echo hello", { stdout: `cri-log://${path}`, terminal: true }), 0);
  assert.deepEqual(lines(path), ["stdout F hello\r"]);
});

test("reopen and attach by annotations of update; no daemon meanwhile", { skip }, async () => {
  const path = join(suite.daemon.dir, "logs", "turn.log");
  const attach = fifo("attach");
  const log = `cri-log://${path}`;
  const script = "i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done; sleep 0.3; echo last";
  await suite.daemon.stopEvents();
  const reader = openFifoReader(attach);
  let attached = "";
  const code = await toTheEnd("turn", script, { stdout: log, stderr: log }, async ({ v3 }) => {
    await v3.update({ id: "turn", annotations: { "gantry.attach.stdout": attach } });
    reader.release();
    renameSync(path, `${path}.1`);
    await v3.update({ id: "turn", annotations: { "gantry.log.reopen": "" } });
    assert.ok(existsSync(path), "there when the answer is");
    await assert.rejects(v3.update({ id: "turn", annotations: { other: "" } }), (error) => {
      assert.equal(codeOf(error), "invalid-argument");
      return true;
    });
    for await (const chunk of readFd(reader.fd)) attached += new TextDecoder().decode(chunk);
    await v3.wait({ id: "turn" });
    // a shim ends sooner when its events are taken
    await suite.daemon.startEvents();
  });
  close(reader.fd);
  assert.equal(code, 0);
  const want = [...Array.from({ length: 20_000 }, (_, i) => `line ${i}`), "last"];
  assert.deepEqual(
    [...lines(`${path}.1`), ...lines(path)].map((l) => l.replace("stdout F ", "")),
    want,
  );
  assert.ok(`${want.join("\n")}\n`.endsWith(attached) && attached.endsWith("last\n"));
});

test("R15: 10 MB/s without a daemon: no write is held up for a second, no line is missing", {
  skip,
  timeout: 300_000,
}, async () => {
  const bursts = 10 * Number(process.env["LOG_SECONDS"] ?? 3);
  const path = join(suite.daemon.dir, "logs", "fast.log");
  // 1 MB ten times a second, at most; the longest burst in hundredths of a second comes last.
  const script = `max=0; i=0; now() { read t _ </proc/uptime; t=\${t%.*}\${t#*.}; }
    while [ $i -lt ${bursts} ]; do
      now; a=$t
      awk -v B=$i 'BEGIN { p = sprintf("%90s", ""); for (k = 0; k < 10000; k++) print B * 10000 + k p }'
      now; d=$((t - a)); [ $d -gt $max ] && max=$d
      i=$((i + 1)); sleep 0.05
    done; echo $max`;
  await suite.daemon.stopEvents();
  const code = await toTheEnd("fast", script, { stdout: `cri-log://${path}` }, async ({ v3 }) => {
    await v3.wait({ id: "fast" });
    await suite.daemon.startEvents();
  });
  assert.equal(code, 0);
  const got = lines(path);
  const longest = Number(got.pop()?.replace("stdout F ", ""));
  assert.equal(got.length, bursts * 10_000);
  const pad = " ".repeat(90);
  got.forEach((line, i) => {
    if (line !== `stdout F ${i}${pad}`) assert.fail(`line ${i}: "${line}"`);
  });
  assert.ok(longest < 100, `longest burst: ${longest * 10} ms`);
});

test("file:// appends, both streams in one", { skip }, async () => {
  const path = join(suite.daemon.dir, "deep", "er", "out.txt");
  mkdirSync(join(suite.daemon.dir, "deep", "er"), { recursive: true });
  writeFileSync(path, "before\n");
  const streams = { stdout: `file://${path}`, stderr: `file://${path}` };
  assert.equal(await toTheEnd("file", "echo one; echo two >&2", streams), 0);
  assert.deepEqual(readFileSync(path, "utf8").split("\n").sort(), ["", "before", "one", "two"]);
});

for (const scheme of ["binary", "binary-v2"]) {
  test(`${scheme}:// loggers get names, arguments, both streams, and time to finish`, { skip }, async () => {
    const logger = join(suite.daemon.dir, `${scheme}-logger`);
    const out = join(suite.daemon.dir, `${scheme}-out`);
    const ready = scheme === "binary" ? "exec 5>&-" : "echo x >&5; exec 5>&-";
    writeFileSync(
      logger,
      `#!/bin/sh\necho "$CONTAINER_NAMESPACE/$CONTAINER_ID $*" >> ${out}\n${ready}\n` +
        `/bin/sed 's/^/out: /' <&3 >> ${out} &\n/bin/sed 's/^/err: /' <&4 >> ${out}\nwait\n/bin/sleep 0.2\necho end >> ${out}\n`,
      { mode: 0o755 },
    );
    const uri = `${scheme}://${logger}?key=value&flag`;
    const code = await toTheEnd(scheme, "echo one; echo two >&2; exit 4", { stdout: uri, stderr: uri });
    assert.equal(code, 4);
    const got = readFileSync(out, "utf8").split("\n");
    assert.equal(got[0], `test/${scheme} key value flag`);
    assert.deepEqual(got.slice(1).sort(), ["", "end", "err: two", "out: one"]);
  });
}

test("our program as a logger process writes a Kubernetes log", { skip }, async () => {
  const logger = join(suite.daemon.dir, "gantry");
  const path = join(suite.daemon.dir, "logs", "process.log");
  const main = resolve(import.meta.dirname, "../../src/main.ts");
  const run = "Deno" in globalThis ? "run -A --quiet " : "";
  const exec = `exec ${process.execPath} ${run}${main} "$@"`;
  writeFileSync(logger, `#!/bin/sh\n${exec}\n`, { mode: 0o755 });
  const uri = `binary://${logger}?cri-log=${encodeURIComponent(`${path}?max=8`)}`;
  const script = "echo out; echo err >&2; printf 123456789";
  assert.equal(await toTheEnd("process", script, { stdout: uri, stderr: uri }), 0);
  const got = lines(path).sort();
  assert.deepEqual(got, ["stderr F err", "stdout F out", "stdout P 12345678", "stdout P 9"]);
});

test("a logger that is not ready fails the create", { skip }, async () => {
  const stdout = "binary-v2:///bin/false";
  await assert.rejects(toTheEnd("noready", "true", { stdout }), /ended before it was ready/);
  await assert.rejects(toTheEnd("nologger", "true", { stdout: "binary:///no/such" }), /no such|ENOENT/i);
  await assert.rejects(toTheEnd("scheme", "true", { stdout: "odd:///x" }), /unknown STDIO scheme "odd"/);
});

test("io_uid and io_gid own the files a container writes to", { skip }, async () => {
  const path = join(suite.daemon.dir, "logs", "own.log");
  const value = encode(Options, { ioUid: 1234, ioGid: 4321 });
  const options = { typeUrl: "containerd.runc.v1.Options", value };
  // The runtime itself makes the process's user the owner, and leaves the group.
  const script = "stat -Lc '%u %g' /proc/self/fd/1";
  await toTheEnd("own", script, { stdout: `cri-log://${path}`, options });
  assert.deepEqual(lines(path), ["stdout F 0 4321"]);
});

test("the last output is read before Delete is answered, when somebody reads at all", { skip }, async () => {
  for (const read of [true, false]) {
    const id = `unread-${read}`;
    const path = fifo(id);
    const fd = openFifoReader(path);
    const order: string[] = [];
    await toTheEnd(id, "echo last", { stdout: path }, async ({ v3 }) => {
      fd.release();
      await v3.wait({ id });
      if (!read) close(fd.fd);
      const deleted = v3.delete({ id }).then(() => order.push("deleted"));
      // the shim answers other calls meanwhile; after some of them it would have answered this one too
      for (let i = 0; read && i < 30; i++) await v3.connect({ id });
      if (read) {
        const text = alloc(64);
        order.push(new TextDecoder().decode(text.subarray(0, tryRead(fd.fd, text))));
        close(fd.fd);
      }
      await deleted;
    }).catch((err: unknown) => assert.equal(codeOf(err), "not-found"));
    assert.deepEqual(order, read ? ["last\n", "deleted"] : ["deleted"]);
  }
});

test("a client that opens its FIFO late gets all of it, with a terminal and without", { skip }, async () => {
  for (const terminal of [false, true]) {
    const id = `late-${terminal}`;
    const path = fifo(id);
    // a quick process is long over
    const reading = new Promise((resolve) => setTimeout(resolve, 400)).then(() => readFifo(path));
    assert.equal(await toTheEnd(id, "echo all", { stdout: path, terminal }), 0);
    assert.equal((await reading).trimEnd(), "all");
  }
});
