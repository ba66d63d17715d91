/** A shim that is lost while something is asked of it: nobody waits for ever, and no task stays behind. */
import assert from "node:assert/strict";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { Task as ShimTask } from "../../api/gen/containerd/runtime/task/v3/shim_pb.ts";
import { Call } from "../../core/call.ts";
import type { ContainerStore } from "../../core/containers/containers.ts";
import type { ContentStore } from "../../core/content/content.ts";
import { failedPrecondition } from "../../core/errors.ts";
import { parseNamespace } from "../../core/ids/namespace.ts";
import { createTtrpcServer } from "../../rpc/ttrpc/server.ts";
import { bindService, type ServiceHandlers } from "../../rpc/types.ts";
import { bundleOf } from "./bundle.ts";
import { askLater } from "./found-tasks.ts";
import { TaskManager } from "./manager.ts";
import { createTaskService } from "./service.ts";
import type { ShimStarter } from "./shim-manager.ts";
import { newTask } from "./task.ts";
import type { ManagerOptions } from "./task-table.ts";

const call = new Call({}).in(parseNamespace("test"));
/** 128 + SIGKILL */
const KILLED = 137;
const never = <T>(): Promise<T> => new Promise(() => {});

/** A task over a shim of which the test answers what `impl` does; `lose` ends that shim. */
async function withTask(
  impl: (lose: () => void) => Partial<ServiceHandlers<typeof ShimTask>>,
  body: (parts: { manager: TaskManager; topics: readonly string[]; lose: () => void }) => Promise<void>,
): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), "gantry-lost-shim-"));
  const socket = join(dir, "shim.sock");
  // what cleans up after a dead shim has nothing to say here
  const program = join(dir, "containerd-shim-fake-v1");
  writeFileSync(program, "#!/bin/sh\nexit 0\n");
  chmodSync(program, 0o755);
  const lose = (): void => void server.close();
  const server = createTtrpcServer({
    services: [
      bindService(ShimTask, {
        create: async () => ({ pid: 0 }),
        wait: () => never(),
        shutdown: async () => ({}),
        ...impl(lose),
      }),
    ],
  });
  await server.listen({ path: socket });
  const topics: string[] = [];
  const manager = new TaskManager({
    state: join(dir, "state"),
    root: join(dir, "root"),
    containers: {
      get: async () => ({ runtime: { name: program }, sandbox: "" }),
    } as unknown as ContainerStore,
    content: {} as ContentStore,
    events: {
      send: (_call: unknown, topic: string) => void topics.push(topic),
    } as unknown as ManagerOptions["events"],
    shims: {
      launch: {
        daemon: { address: "", ttrpcAddress: "", version: "" },
        debug: false,
        env: [],
        socketDir: "",
      },
    } as unknown as ShimStarter,
    refuseOldRunc: false,
    sandboxBundle: (namespace, id) => bundleOf(dir, dir, namespace, id),
    timeouts: { load: 5000, cleanup: 5000, shutdown: 5000, state: 5000 },
    call,
    log: call.log,
  });
  try {
    await manager.create(call, {
      containerId: "one",
      rootfs: [],
      stdin: "",
      stdout: "",
      stderr: "",
      terminal: false,
      taskApi: { address: `ttrpc+unix://${socket}`, version: 3 },
    });
    await body({ manager, topics, lose });
  } finally {
    await manager.stop();
    await server.close();
    rmSync(dir, { recursive: true, force: true });
  }
}

test("in the middle of Delete, before init has ended: the task goes, and its end is told once", () =>
  withTask(
    (lose) => ({
      async delete() {
        lose();
        return await never();
      },
    }),
    async ({ manager, topics }) => {
      assert.equal((await manager.delete(call, "one")).status, KILLED);
      assert.deepEqual(manager.list(call), []);
      assert.deepEqual(topics, ["/tasks/exit", "/tasks/delete"]);
    },
  ));

test("while an exec is waited for: it ends as its container does", () => {
  let asked: (() => void) | undefined;
  const waiting = new Promise<void>((resolve) => {
    asked = resolve;
  });
  return withTask(
    () => ({
      wait({ execId }) {
        if (execId !== "") asked?.();
        return never();
      },
    }),
    async ({ manager, lose }) => {
      const stores = { containers: {} as ContainerStore, content: {} as ContentStore };
      const exit = createTaskService(manager, stores).wait(call, "one", "exec");
      await waiting;
      lose();
      assert.equal((await exit).status, KILLED);
      assert.deepEqual(manager.list(call), []);
    },
  );
});

test("a Delete that is refused while the tasks of an earlier daemon are asked for: the task is watched", async () => {
  const api = { state: async () => Promise.reject(failedPrecondition("not now")) };
  const parts = { bundle: { id: "one" }, shim: { own: true }, address: {}, transport: {}, api, call };
  const task = newTask(parts as unknown as Parameters<typeof newTask>[0]);
  task.assumed = true;
  task.deleting = true;
  const watched: unknown[] = [];
  await askLater([task], 1000, (each) => void watched.push(each));
  assert.equal(watched[0], task);
  assert.equal(task.assumed, false);
});
