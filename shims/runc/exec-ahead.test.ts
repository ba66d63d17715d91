/** Execs begun when they are added: what becomes of those whose start comes, comes late, or never. Needs root, runc, busybox-static. */
import assert from "node:assert/strict";
import { closeSync, readdirSync, readFileSync, rmSync, writeSync } from "node:fs";
import { test } from "node:test";
import { openReadFifo } from "../../src/platform/fs/fifo.ts";
import { childrenOf, commandLineOf } from "../../src/platform/process/proc.ts";
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
    writeSync(writer ?? -1, "through\n");
    closeSync(writer ?? -1);
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
