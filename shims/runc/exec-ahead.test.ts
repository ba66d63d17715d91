/** Execs begun when they are added: what becomes of those whose start comes, comes late, or never. Needs root, runc, busybox-static. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { noLog } from "../../src/core/log.ts";
import { readFd } from "../../src/platform/fs/fd-stream.ts";
import { openFifo, openReadFifo } from "../../src/platform/fs/fifo.ts";
import { childrenOf, commandLineOf } from "../../src/platform/process/proc.ts";
import { O_NONBLOCK, O_RDONLY, O_WRONLY } from "../../src/platform/syscalls/constants.ts";
import { close, open, tryWrite, writeAll } from "../../src/platform/syscalls/files.ts";
import { ExecAhead } from "./exec-ahead.ts";
import { callShim } from "./testing.ts";
import { type Boxed, processOf, readFifo, shimSuite, until } from "./testing-suite.ts";

const suite = shimSuite();
const { skip, fifo } = suite;

/** The OCI runtime's processes right below the shim. */
function runtimes(shim: number): number[] {
  return childrenOf(shim).filter((pid) => {
    try {
      return readFileSync(`/proc/${pid}/comm`, "utf8") === "runc\n";
    } catch {
      return false;
    }
  });
}

/** Whether an OCI runtime is at work for a container, whosever child it is. */
function runsFor(id: string): boolean {
  return readdirSync("/proc").some((name) => {
    if (!/^\d+$/.test(name)) return false;
    const words = commandLineOf(Number(name)) ?? [];
    return words[0] === "runc" && words.at(-1) === id;
  });
}

/** Files of execs in the bundle. */
const files = (c: Boxed): string[] => readdirSync(c.bundle).filter((name) => name.startsWith("exec-"));

const inContainer = (id: string, body: (c: Boxed) => Promise<void>): Promise<void> =>
  suite.inContainer(id, ["sleep", "1000"], body);

/**
 * Adds an exec and sees the runtime wait for its start. One that was given up before this process had the processor to look is added
 * anew. @returns its id
 */
async function begun(
  c: Boxed,
  exec: { spec: ReturnType<typeof processOf>; stdin?: string; stdout?: string },
): Promise<string> {
  const { id, v3 } = c;
  for (let n = 0; n < 20; n++) {
    const execId = `e${n}`;
    await v3.exec({ id, execId, ...exec });
    for (const late = Date.now() + 1500; Date.now() < late; ) {
      if (runtimes(c.shimPid).length === 1) return execId;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    await v3.delete({ id, execId });
  }
  throw new Error("no runtime was seen to wait");
}

test("the runtime waits for the start of an exec, and is the one that goes on", { skip }, async () => {
  await inContainer("ahead", async (c) => {
    const { id, v3, shimPid } = c;
    const execId = await begun(c, { spec: processOf(["sh", "-c", "exit 5"]) });
    await v3.start({ id, execId });
    assert.equal((await v3.wait({ id, execId })).exitStatus, 5);
    await v3.delete({ id, execId });
    await until("its files to be removed", () => files(c).length === 0);
    assert.deepEqual(runtimes(shimPid), []);
  });
});

test("an exec that is deleted before its start leaves nothing", { skip }, async () => {
  await inContainer("undone", async (c) => {
    const { id, v3, shimPid } = c;
    const execId = await begun(c, { spec: processOf(["true"]) });
    await v3.delete({ id, execId });
    assert.deepEqual([runtimes(shimPid), files(c)], [[], []]);
  });
});

test("a start that comes late finds no runtime waiting, and works", { skip }, async () => {
  await inContainer("late", async (c) => {
    const { id, v3, shimPid } = c;
    const execId = await begun(c, { spec: processOf(["sh", "-c", "exit 6"]) });
    await until("its end", () => runtimes(shimPid).length === 0);
    assert.deepEqual(files(c), []);
    await v3.start({ id, execId });
    assert.equal((await v3.wait({ id, execId })).exitStatus, 6);
  });
});

test("stdin has no reader before the start: a client learns only then how to close it", {
  skip,
}, async () => {
  await inContainer("input", async (c) => {
    const [stdin, stdout] = [fifo("input-in"), fifo("input-out")];
    const { id, v3 } = c;
    const execId = await begun(c, { stdin, stdout, spec: processOf(["cat"]) });
    assert.equal(openReadFifo(stdin), undefined, "somebody reads stdin");
    const out = readFifo(stdout);
    await v3.start({ id, execId });
    const writer = openReadFifo(stdin);
    assert.notEqual(writer, undefined, "nobody reads stdin");
    writeAll(writer ?? -1, new TextEncoder().encode("through\n"));
    close(writer ?? -1);
    await v3.closeIO({ id, execId, stdin: true });
    assert.equal((await v3.wait({ id, execId })).exitStatus, 0);
    await v3.delete({ id, execId });
    assert.equal(await out, "through\n");
  });
});

test("a reader of output sees no end before a start that comes late", { skip }, async () => {
  await inContainer("patient", async (c) => {
    const stdout = fifo("patient-out");
    const { id, v3 } = c;
    const execId = await begun(c, { stdout, spec: processOf(["echo", "late"]) });
    const out = readFifo(stdout);
    let ended = false;
    void out.then(() => {
      ended = true;
    });
    await until("the end of the runtime that waited", () => runtimes(c.shimPid).length === 0);
    await new Promise((resolve) => setTimeout(resolve, 100));
    assert.equal(ended, false, "the reader saw an end");
    await v3.start({ id, execId });
    await v3.wait({ id, execId });
    await v3.delete({ id, execId });
    assert.equal(await out, "late\n");
  });
});

test("a client whose start was refused sees the end of output at once", { skip }, async () => {
  await inContainer("lost", async (c) => {
    const stdout = fifo("lost-out");
    const { id, v3 } = c;
    const refused = await begun(c, { stdout, spec: processOf(["true"]) });
    const first = readFifo(stdout);
    await v3.pause({ id });
    await assert.rejects(v3.start({ id, execId: refused }), /paused/);
    assert.equal(await first, "");
    await v3.resume({ id });
    // it can still be started
    const second = readFifo(stdout);
    await v3.start({ id, execId: refused });
    await v3.wait({ id, execId: refused });
    await v3.delete({ id, execId: refused });
    assert.equal(await second, "");
  });
});

test("a client whose start was lost with the daemon sees the end of output at once", { skip }, async () => {
  const id = "deserted";
  const c = await suite.create(id, ["sleep", "1000"]);
  await c.v3.start({ id });
  const stdout = fifo("deserted-out");
  await begun(c, { stdout, spec: processOf(["true"]) });
  const out = readFifo(stdout);
  await until("the end of the runtime that waited", () => runtimes(c.shimPid).length === 0);
  await c.close();
  assert.equal(await out, "");
  process.kill(c.shimPid, "SIGKILL");
  await callShim(suite.daemon, id, c.bundle, "delete", new Uint8Array());
});

test("the end of the container ends what waits", { skip }, async () => {
  await inContainer("ended", async (c) => {
    const { id, v3, shimPid } = c;
    await begun(c, { spec: processOf(["true"]) });
    await v3.kill({ id, signal: 9 });
    await v3.wait({ id });
    await until("the end of the runtime", () => runtimes(shimPid).length === 0 && files(c).length === 0);
  });
});

test("a start whose streams are gone ends what waits", { skip }, async () => {
  await inContainer("gone", async (c) => {
    const { id, v3, shimPid } = c;
    const stdout = fifo("gone-out");
    const execId = await begun(c, { stdout, spec: processOf(["true"]) });
    rmSync(stdout);
    await assert.rejects(v3.start({ id, execId }), /no such file|ENOENT/i);
    assert.deepEqual([runtimes(shimPid), files(c)], [[], []]);
    await v3.delete({ id, execId });
  });
});

test("whatever an early exec ends by, the shim has no file more than before", { skip }, async () => {
  await inContainer("files", async (c) => {
    const { id, v3, shimPid } = c;
    const count = (): number => readdirSync(`/proc/${shimPid}/fd`).length;
    const streams = () => ({ stdin: fifo("files-in"), stdout: fifo("files-out"), stderr: fifo("files-err") });
    const anew = (args: string[]): Promise<string> => begun(c, { ...streams(), spec: processOf(args) });
    const once = async (): Promise<void> => {
      // stdin is gone at the start
      let execId = await anew(["true"]);
      rmSync(streams().stdin);
      await assert.rejects(v3.start({ id, execId }), /no such file|ENOENT/i);
      await v3.delete({ id, execId });
      // a program that is not there
      execId = await anew(["no-such-program"]);
      let output = [readFifo(streams().stdout), readFifo(streams().stderr)];
      await assert.rejects(v3.start({ id, execId }), /executable file not found/);
      await v3.delete({ id, execId });
      assert.equal((await Promise.all(output))[0], "");
      // a runtime that was killed while it waited
      execId = await anew(["echo", "in spite of it"]);
      output = [readFifo(streams().stdout), readFifo(streams().stderr)];
      for (const pid of runtimes(shimPid)) process.kill(pid, "SIGKILL");
      await until("its end", () => runtimes(shimPid).length === 0);
      await v3.start({ id, execId });
      await v3.wait({ id, execId });
      await v3.delete({ id, execId });
      assert.deepEqual(await Promise.all(output), ["in spite of it\n", ""]);
      // input that the process does not read
      execId = await anew(["true"]);
      output = [readFifo(streams().stdout), readFifo(streams().stderr)];
      const input = openFifo(streams().stdin);
      writeAll(input, new TextEncoder().encode("nobody reads this\n"));
      await v3.start({ id, execId });
      await v3.wait({ id, execId });
      await v3.delete({ id, execId });
      assert.deepEqual(await Promise.all(output), ["", ""]);
      close(input);
      // no start
      execId = await anew(["true"]);
      await v3.delete({ id, execId });
    };
    await once();
    const before = count();
    await once();
    await until(`${before} open files`, () => count() <= before && files(c).length === 0);
  });
});

const PARTS = {
  id: "c",
  streams: { stdin: "", stdout: "", stderr: "", terminal: false },
  name: join(tmpdir(), `gantry-no-such-${process.pid}`),
  log: noLog,
};

test("streams that cannot be named are for the start to refuse", () => {
  const runc = { readsProcessLast: true, exec: () => assert.fail("it was begun") };
  const spec = new TextEncoder().encode("{}");
  for (const stdout of ["odd:///x", "fifo:///%", "binary://"])
    assert.equal(ExecAhead.begin({ ...PARTS, runc, spec, streams: { ...PARTS.streams, stdout } }), undefined);
});

test("a pipe that does not take the process file at once is written at the pace of its reader", async () => {
  const file = Promise.withResolvers<string>();
  const read = Promise.withResolvers<number>();
  const runc = {
    readsProcessLast: true,
    exec(_id: string, processFile: string) {
      // as if the pipe were a small one
      const filler = open(processFile, O_WRONLY | O_NONBLOCK);
      while (tryWrite(filler, new Uint8Array(4096)) > 0);
      close(filler);
      file.resolve(processFile);
      return { pid: read.promise, kill: () => {} };
    },
  };
  const spec = new TextEncoder().encode(`{"args":["${"x".repeat(9000)}"]}`);
  const going = ExecAhead.begin({ ...PARTS, runc, spec })?.go();
  const reader = open(await file.promise, O_RDONLY | O_NONBLOCK);
  let got = "";
  for await (const chunk of readFd(reader)) {
    got += new TextDecoder().decode(chunk).replaceAll("\0", "");
    if (got.length === spec.length) break;
  }
  close(reader);
  read.resolve(5);
  const begun = await going;
  assert.equal(begun?.pid, 5);
  assert.equal(got, new TextDecoder().decode(spec));
  await begun?.io.close();
});

test("a runtime that waits, or is about to, ends with a shim that is killed", { skip }, async () => {
  for (const pause of [0, 2, 4, 8, 16, 50]) {
    const id = `killed-${pause}`;
    const { v3, bundle, shimPid, close } = await suite.create(id, ["sleep", "1000"]);
    await v3.start({ id });
    await v3.exec({ id, execId: "e", spec: processOf(["true"]) });
    await new Promise((resolve) => setTimeout(resolve, pause));
    process.kill(shimPid, "SIGKILL");
    await until("the end of the runtime", () => !runsFor(id));
    await close();
    await callShim(suite.daemon, id, bundle, "delete", new Uint8Array());
  }
});

test("a process file larger than a pipe takes at once", { skip }, async () => {
  await inContainer("large", async ({ id, v3 }) => {
    const env = [`LONG=${"x".repeat(100_000)}`];
    const script = "[ ${#LONG} = 100000 ] && exit 7";
    await v3.exec({ id, execId: "e", spec: processOf(["sh", "-c", script], env) });
    await v3.start({ id, execId: "e" });
    assert.equal((await v3.wait({ id, execId: "e" })).exitStatus, 7);
  });
});
