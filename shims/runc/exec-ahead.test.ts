/** Execs begun when they are added: what becomes of those whose start comes, comes late, or never. Needs root, runc, busybox-static. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { childrenOf } from "../../src/platform/process/proc.ts";
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

test("the runtime waits for the start of an exec, and is the one that goes on", { skip }, async () => {
  await inContainer("ahead", async ({ shim, pid, files }) => {
    await shim.v3.exec({ id: "ahead", execId: "e", spec: processOf(["sh", "-c", "exit 5"]) });
    await until("a runtime that waits", () => runtimes(pid).length === 1);
    await shim.v3.start({ id: "ahead", execId: "e" });
    assert.equal((await shim.v3.wait({ id: "ahead", execId: "e" })).exitStatus, 5);
    await shim.v3.delete({ id: "ahead", execId: "e" });
    await until("its files to be removed", () => files().length === 0);
    assert.deepEqual(runtimes(pid), []);
  });
});

test("an exec that is deleted before its start leaves nothing", { skip }, async () => {
  await inContainer("undone", async ({ shim, pid, files }) => {
    await shim.v3.exec({ id: "undone", execId: "e", spec: processOf(["true"]) });
    await until("a runtime that waits", () => runtimes(pid).length === 1);
    await shim.v3.delete({ id: "undone", execId: "e" });
    assert.deepEqual([runtimes(pid), files()], [[], []]);
  });
});

test("a start that comes late finds no runtime waiting, and works", { skip }, async () => {
  await inContainer("late", async ({ shim, pid, files }) => {
    await shim.v3.exec({ id: "late", execId: "e", spec: processOf(["sh", "-c", "exit 6"]) });
    await until("a runtime that waits", () => runtimes(pid).length === 1);
    await until("its end", () => runtimes(pid).length === 0);
    assert.deepEqual(files(), []);
    await shim.v3.start({ id: "late", execId: "e" });
    assert.equal((await shim.v3.wait({ id: "late", execId: "e" })).exitStatus, 6);
  });
});

test("the end of the container ends what waits", { skip }, async () => {
  await inContainer("ended", async ({ shim, pid, files }) => {
    await shim.v3.exec({ id: "ended", execId: "e", spec: processOf(["true"]) });
    await until("a runtime that waits", () => runtimes(pid).length === 1);
    await shim.v3.kill({ id: "ended", signal: 9 });
    await shim.v3.wait({ id: "ended" });
    await until("the end of the runtime", () => runtimes(pid).length === 0 && files().length === 0);
  });
});

test("a process file larger than a FIFO takes at once", { skip }, async () => {
  await inContainer("large", async ({ shim }) => {
    const env = [`LONG=${"x".repeat(100_000)}`];
    const script = "[ ${#LONG} = 100000 ] && exit 7";
    await shim.v3.exec({ id: "large", execId: "e", spec: processOf(["sh", "-c", script], env) });
    await shim.v3.start({ id: "large", execId: "e" });
    assert.equal((await shim.v3.wait({ id: "large", execId: "e" })).exitStatus, 7);
  });
});
