/** Execs begun when they are added: what becomes of those whose start comes, comes late, or never. Needs root, runc, busybox-static. */
import assert from "node:assert/strict";
import { closeSync, readdirSync, readFileSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { readFd } from "../../src/platform/fs/fd-stream.ts";
import { createFifo, openReadFifo } from "../../src/platform/fs/fifo.ts";
import { childrenOf, commandLineOf } from "../../src/platform/process/proc.ts";
import { O_NONBLOCK, O_RDONLY } from "../../src/platform/syscalls/constants.ts";
import { open } from "../../src/platform/syscalls/files.ts";
import {
  busyboxRoot,
  callShim,
  cannotRun,
  type FakeDaemon,
  fakeDaemon,
  rootMount,
  startShim,
} from "./testing.ts";

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

type Shim = Awaited<ReturnType<typeof startShim>>;

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

async function until(what: string, met: () => boolean): Promise<void> {
  const late = Date.now() + 20_000;
  while (!met()) {
    if (Date.now() > late) throw new Error(`${what}: not within 20 s`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

const processOf = (args: readonly string[], env: readonly string[] = []) => ({
  typeUrl: "types.containerd.io/opencontainers/runtime-spec/1/Process",
  value: new TextEncoder().encode(
    JSON.stringify({ user: { uid: 0, gid: 0 }, args, cwd: "/", env: ["PATH=/bin", ...env] }),
  ),
});

async function inContainer(
  id: string,
  body: (c: { shim: Shim; pid: number; files: () => string[] }) => Promise<void>,
) {
  const bundle = daemon.bundle(id, ["sleep", "1000"]);
  const shim = await startShim(daemon, id, bundle, "new");
  try {
    await shim.v3.create({ id, bundle, rootfs: root });
    await shim.v3.start({ id });
    const pid = (await shim.v3.connect({ id })).shimPid;
    await body({ shim, pid, files: () => readdirSync(bundle).filter((name) => name.startsWith("exec-")) });
  } finally {
    await shim.v3.kill({ id, signal: 9 }).catch(() => {});
    await shim.v3.wait({ id }).catch(() => {});
    await shim.v3.delete({ id }).catch(() => {});
    await shim.v3.shutdown({ id }).catch(() => {});
    await shim.close();
  }
}

/**
 * Adds an exec and sees the runtime wait for its start. One that was given up before this process had the processor to look is added
 * anew. @returns its id
 */
async function begun(
  c: { shim: Shim; pid: number },
  id: string,
  exec: { spec: ReturnType<typeof processOf>; stdin?: string; stdout?: string },
): Promise<string> {
  for (let n = 0; n < 20; n++) {
    const execId = `e${n}`;
    await c.shim.v3.exec({ id, execId, ...exec });
    for (const late = Date.now() + 1500; Date.now() < late; ) {
      if (runtimes(c.pid).length === 1) return execId;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    await c.shim.v3.delete({ id, execId });
  }
  throw new Error("no runtime was seen to wait");
}

test("the runtime waits for the start of an exec, and is the one that goes on", { skip }, async () => {
  await inContainer("ahead", async (c) => {
    const { shim, pid, files } = c;
    const execId = await begun(c, "ahead", { spec: processOf(["sh", "-c", "exit 5"]) });
    await shim.v3.start({ id: "ahead", execId });
    assert.equal((await shim.v3.wait({ id: "ahead", execId })).exitStatus, 5);
    await shim.v3.delete({ id: "ahead", execId });
    await until("its files to be removed", () => files().length === 0);
    assert.deepEqual(runtimes(pid), []);
  });
});

test("an exec that is deleted before its start leaves nothing", { skip }, async () => {
  await inContainer("undone", async (c) => {
    const { shim, pid, files } = c;
    const execId = await begun(c, "undone", { spec: processOf(["true"]) });
    await shim.v3.delete({ id: "undone", execId });
    assert.deepEqual([runtimes(pid), files()], [[], []]);
  });
});

test("a start that comes late finds no runtime waiting, and works", { skip }, async () => {
  await inContainer("late", async (c) => {
    const { shim, pid, files } = c;
    const execId = await begun(c, "late", { spec: processOf(["sh", "-c", "exit 6"]) });
    await until("its end", () => runtimes(pid).length === 0);
    assert.deepEqual(files(), []);
    await shim.v3.start({ id: "late", execId });
    assert.equal((await shim.v3.wait({ id: "late", execId })).exitStatus, 6);
  });
});

/** All that comes out of a FIFO, from now to its end. */
async function reads(path: string): Promise<string> {
  const fd = open(path, O_RDONLY | O_NONBLOCK);
  let text = "";
  try {
    for await (const chunk of readFd(fd)) text += Buffer.from(chunk).toString();
  } finally {
    closeSync(fd);
  }
  return text;
}

test("stdin has no reader before the start: a client learns only then how to close it", {
  skip,
}, async () => {
  await inContainer("input", async (c) => {
    const [stdin, stdout] = [join(daemon.dir, "input-in"), join(daemon.dir, "input-out")];
    createFifo(stdin);
    createFifo(stdout);
    const { v3 } = c.shim;
    const execId = await begun(c, "input", { stdin, stdout, spec: processOf(["cat"]) });
    assert.equal(openReadFifo(stdin), undefined, "somebody reads stdin");
    const out = reads(stdout);
    await v3.start({ id: "input", execId });
    const writer = openReadFifo(stdin);
    assert.notEqual(writer, undefined, "nobody reads stdin");
    writeSync(writer ?? -1, "through\n");
    closeSync(writer ?? -1);
    await v3.closeIO({ id: "input", execId, stdin: true });
    assert.equal((await v3.wait({ id: "input", execId })).exitStatus, 0);
    await v3.delete({ id: "input", execId });
    assert.equal(await out, "through\n");
  });
});

test("a reader of output sees no end before a start that comes late", { skip }, async () => {
  await inContainer("patient", async (c) => {
    const stdout = join(daemon.dir, "patient-out");
    createFifo(stdout);
    const { v3 } = c.shim;
    const execId = await begun(c, "patient", { stdout, spec: processOf(["echo", "late"]) });
    const out = reads(stdout);
    let ended = false;
    void out.then(() => {
      ended = true;
    });
    await until("the end of the runtime that waited", () => runtimes(c.pid).length === 0);
    await new Promise((resolve) => setTimeout(resolve, 100));
    assert.equal(ended, false, "the reader saw an end");
    await v3.start({ id: "patient", execId });
    await v3.wait({ id: "patient", execId });
    await v3.delete({ id: "patient", execId });
    assert.equal(await out, "late\n");
  });
});

test("the end of the container ends what waits", { skip }, async () => {
  await inContainer("ended", async (c) => {
    const { shim, pid, files } = c;
    await begun(c, "ended", { spec: processOf(["true"]) });
    await shim.v3.kill({ id: "ended", signal: 9 });
    await shim.v3.wait({ id: "ended" });
    await until("the end of the runtime", () => runtimes(pid).length === 0 && files().length === 0);
  });
});

test("a start whose streams are gone ends what waits", { skip }, async () => {
  await inContainer("gone", async (c) => {
    const { shim, pid, files } = c;
    const stdout = join(daemon.dir, "gone-out");
    createFifo(stdout);
    const execId = await begun(c, "gone", { stdout, spec: processOf(["true"]) });
    rmSync(stdout);
    await assert.rejects(shim.v3.start({ id: "gone", execId }), /no such file|ENOENT/i);
    assert.deepEqual([runtimes(pid), files()], [[], []]);
    await shim.v3.delete({ id: "gone", execId });
  });
});

test("a runtime that waits, or is about to, ends with a shim that is killed", { skip }, async () => {
  for (const pause of [0, 2, 4, 8, 16, 50]) {
    const id = `killed-${pause}`;
    const bundle = daemon.bundle(id, ["sleep", "1000"]);
    const shim = await startShim(daemon, id, bundle, "new");
    await shim.v3.create({ id, bundle, rootfs: root });
    await shim.v3.start({ id });
    const { shimPid } = await shim.v3.connect({ id });
    await shim.v3.exec({ id, execId: "e", spec: processOf(["true"]) });
    await new Promise((resolve) => setTimeout(resolve, pause));
    process.kill(shimPid, "SIGKILL");
    await until("the end of the runtime", () => !runsFor(id));
    await shim.close();
    await callShim(daemon, id, bundle, "delete", new Uint8Array());
  }
});

test("a process file larger than a pipe takes at once", { skip }, async () => {
  await inContainer("large", async ({ shim }) => {
    const env = [`LONG=${"x".repeat(100_000)}`];
    const script = "[ ${#LONG} = 100000 ] && exit 7";
    await shim.v3.exec({ id: "large", execId: "e", spec: processOf(["sh", "-c", script], env) });
    await shim.v3.start({ id: "large", execId: "e" });
    assert.equal((await shim.v3.wait({ id: "large", execId: "e" })).exitStatus, 7);
  });
});
