/** When the state of init is the shim's to tell, and when the daemon knows it. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { test } from "node:test";
import { Call } from "../../core/call.ts";
import type { ContainerStore } from "../../core/containers/containers.ts";
import type { ContentStore } from "../../core/content/content.ts";
import { notFound } from "../../core/errors.ts";
import { parseNamespace } from "../../core/ids/namespace.ts";
import { readProcStat } from "../../platform/process/proc.ts";
import type { TaskManager } from "./manager.ts";
import { createTaskService } from "./service.ts";
import { newTask, settleExit, type Task } from "./task.ts";

const call = new Call({}).in(parseNamespace("test"));
/** containerd.v1.types.Status */
const RUNNING = 2;
const STOPPED = 3;
const PAUSED = 4;

function taskOf(own: boolean, pid = 7): { task: Task; asked: () => number; says: (status: number) => void } {
  let status = RUNNING;
  let asked = 0;
  const api = {
    async state({ execId }: { execId: string }) {
      asked++;
      const end = status === STOPPED ? { exitStatus: 3 } : { exitStatus: 0 };
      return { pid, status, stdin: "", stdout: "", stderr: "", terminal: false, execId, ...end };
    },
    pause: async () => ({}),
    resume: async () => ({}),
    exec: async () => ({}),
    start: async () => ({ pid: 8 }),
    wait: async () => ({ exitStatus: 5, exitedAt: { seconds: 1n, nanos: 2 } }),
    delete: async () => ({ pid: 8, exitStatus: 5, exitedAt: { seconds: 1n, nanos: 2 } }),
  };
  const parts = { bundle: { id: "one" }, shim: { own }, address: {}, transport: {}, api, call };
  const task = newTask(parts as unknown as Parameters<typeof newTask>[0]);
  return {
    task,
    asked: () => asked,
    says(next) {
      status = next;
    },
  };
}

function serviceOf(task: Task) {
  const manager = { get: () => task, list: () => [task], stateTimeout: 1000 } as unknown as TaskManager;
  return createTaskService(manager, { containers: {} as ContainerStore, content: {} as ContentStore });
}

test("a running init of a shim of ours is asked for once; its execs each time", async () => {
  const { task, asked } = taskOf(true);
  const tasks = serviceOf(task);
  const first = await tasks.get(call, "one", "");
  assert.equal(first.status, "running");
  assert.deepEqual(await tasks.get(call, "one", ""), first);
  assert.equal(asked(), 1);
  await tasks.get(call, "one", "exec");
  await tasks.get(call, "one", "exec");
  assert.equal(asked(), 3);
});

test("it is asked again when it was paused, and not when init has ended: the end is known", async () => {
  const { task, asked, says } = taskOf(true);
  const tasks = serviceOf(task);
  await tasks.get(call, "one", "");
  await tasks.pause(call, "one");
  says(PAUSED);
  assert.equal((await tasks.get(call, "one", "")).status, "paused");
  await tasks.resume(call, "one");
  says(RUNNING);
  assert.equal((await tasks.get(call, "one", "")).status, "running");
  assert.equal(asked(), 3);
  settleExit(task, { pid: 7, status: 3, exitedAt: 1n });
  says(STOPPED);
  const ended = await tasks.get(call, "one", "");
  assert.deepEqual([ended.status, ended.exitStatus, ended.exitedAt, asked()], ["stopped", 3, 1n, 3]);
});

test("an end is the shim's to tell when it was last heard of as something else than running", async () => {
  const { task, asked, says } = taskOf(true);
  const tasks = serviceOf(task);
  await tasks.get(call, "one", "");
  await tasks.pause(call, "one");
  settleExit(task, { pid: 7, status: 137, exitedAt: 1n });
  says(STOPPED);
  const ended = await tasks.get(call, "one", "");
  assert.deepEqual([ended.status, ended.exitStatus, asked()], ["stopped", 3, 2]);
});

const EXEC = {
  containerId: "one",
  execId: "e",
  terminal: false,
  stdin: "",
  stdout: "/out",
  stderr: "",
  spec: { typeUrl: "", value: new Uint8Array() },
};

test("an exec that ended is known until it is deleted", async () => {
  const { task, asked } = taskOf(true);
  const tasks = serviceOf(task);
  await tasks.exec(call, EXEC);
  await tasks.get(call, "one", "e");
  const waiting = tasks.wait(call, "one", "e");
  await tasks.start(call, "one", "e");
  await waiting;
  assert.equal(asked(), 1);
  assert.deepEqual(await tasks.get(call, "one", "e"), {
    containerId: "one",
    execId: "e",
    pid: 8,
    status: "stopped",
    stdin: "",
    stdout: "/out",
    stderr: "",
    terminal: false,
    exitStatus: 5,
    exitedAt: 1_000_000_002n,
  });
  assert.equal(asked(), 1);
  await tasks.deleteProcess(call, "one", "e");
  await tasks.get(call, "one", "e");
  assert.equal(asked(), 2);
});

test("the end of an exec says nothing of the next one of its name", async () => {
  const { task, asked } = taskOf(true);
  const tasks = serviceOf(task);
  await tasks.exec(call, EXEC);
  await tasks.start(call, "one", "e");
  await tasks.wait(call, "one", "e");
  await tasks.deleteProcess(call, "one", "e");
  await tasks.exec(call, EXEC);
  assert.equal((await tasks.get(call, "one", "e")).status, "running");
  assert.equal(asked(), 1);
});

test("an exec that its shim does not know any more is not known here either", async () => {
  const { task, asked } = taskOf(true);
  const tasks = serviceOf(task);
  await tasks.exec(call, EXEC);
  await tasks.start(call, "one", "e");
  await tasks.wait(call, "one", "e");
  const gone = async (): Promise<never> => {
    throw notFound("process does not exist e");
  };
  Object.assign(task.api, { delete: gone });
  await assert.rejects(tasks.deleteProcess(call, "one", "e"), /does not exist/);
  await tasks.get(call, "one", "e");
  assert.equal(asked(), 1);
});

test("an exec that never ran, or below somebody else's shim, is asked for", async () => {
  for (const own of [true, false]) {
    const { task, asked } = taskOf(own);
    const tasks = serviceOf(task);
    await tasks.exec(call, EXEC);
    if (!own) await tasks.start(call, "one", "e");
    await tasks.wait(call, "one", "e");
    await tasks.get(call, "one", "e");
    assert.equal(asked(), 1);
  }
});

test("somebody else's shim is always asked", async () => {
  const { task, asked } = taskOf(false);
  const tasks = serviceOf(task);
  await tasks.get(call, "one", "");
  await tasks.get(call, "one", "");
  assert.equal(asked(), 2);
});

test("a list asks no shim of ours whose init is seen to run, and finds one that is stopped", async () => {
  // a shim and its init, as far as /proc shows them
  const shim = spawn("sh", ["-c", "sleep 100 & echo $!; wait"], { stdio: ["ignore", "pipe", "ignore"] });
  try {
    const pid = Number((await once(shim.stdout, "data")).toString());
    const { task, asked } = taskOf(true, pid);
    const tasks = serviceOf(task);
    assert.deepEqual([(await tasks.list(call))[0]?.status, asked()], ["running", 1]);
    assert.deepEqual([(await tasks.list(call))[0]?.pid, asked()], [pid, 1]);
    const parent = shim.pid ?? 0;
    process.kill(parent, "SIGSTOP");
    while (readProcStat(parent)?.state !== "T") await new Promise((resolve) => setImmediate(resolve));
    await tasks.list(call);
    assert.equal(asked(), 2);
    process.kill(parent, "SIGCONT");
    while (readProcStat(parent)?.state === "T") await new Promise((resolve) => setImmediate(resolve));
    process.kill(pid, "SIGKILL");
    await once(shim, "exit");
    await tasks.list(call);
    assert.equal(asked(), 3);
  } finally {
    shim.kill("SIGKILL");
  }
});
