/**
 * For suites of the shim: a daemon and a rootfs for all tests of a file, containers that are made and taken down again, and what
 * tests wait for. Needs root and runc.
 */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { after, before } from "node:test";
import { fromBinary } from "@bufbuild/protobuf";
import { type TaskExit, TaskExitSchema } from "../../src/api/gen/containerd/events/task_pb.ts";
import type { Envelope } from "../../src/api/gen/containerd/types/event_pb.ts";
import { codeOf } from "../../src/core/errors.ts";
import { readFd } from "../../src/platform/fs/fd-stream.ts";
import { createFifo } from "../../src/platform/fs/fifo.ts";
import { readMountInfo } from "../../src/platform/mounts/mountinfo.ts";
import { readProcStat } from "../../src/platform/process/proc.ts";
import { O_NONBLOCK, O_RDONLY } from "../../src/platform/syscalls/constants.ts";
import { close, open, pollFd } from "../../src/platform/syscalls/files.ts";
import { POLLIN } from "../shared/rest.ts";
import {
  busyboxRoot,
  cannotRun,
  type FakeDaemon,
  fakeDaemon,
  rootMount,
  type Spec,
  type StartedShim,
  startShim,
} from "./testing.ts";

/** Longest wait of {@link until}, milliseconds: only a failure takes so long. */
const UNTIL_MS = 30_000;

/** How a container of a test differs from one that just runs. */
export interface ContainerOptions {
  /** More of the Create request. A terminal is asked for in the spec, too. */
  readonly create?: {
    readonly stdin?: string;
    readonly stdout?: string;
    readonly stderr?: string;
    readonly terminal?: boolean;
    readonly options?: { readonly typeUrl: string; readonly value: Uint8Array };
  };
  /** How the shim is started. Default: the new way. */
  readonly protocol?: "old" | "new";
  /** Options that the shim itself is started with. */
  readonly shim?: Parameters<typeof startShim>[4];
  /** False: the test starts it, or does not. */
  readonly start?: boolean;
  readonly spec?: (spec: Spec) => void;
}

/** A container that was made in a shim of its own, and that shim. */
export interface Boxed extends StartedShim {
  readonly id: string;
  readonly bundle: string;
  readonly shimPid: number;
  /** Pid of its init. */
  readonly init: number;
}

/** What the tests of a file share. */
export interface Suite {
  /** For `test`: why this machine cannot run them, or false. */
  readonly skip: string | false;
  /** In tests only, as {@link root}. */
  readonly daemon: FakeDaemon;
  /** Mounts of the rootfs for a Create request. */
  readonly root: ReturnType<typeof rootMount>;
  /** Makes a FIFO in the daemon's folder. @returns its path */
  fifo(name: string): string;
  /** Makes a container; the test takes it down. @throws what the shim says, when that was told to end */
  create(id: string, args: string[], options?: ContainerOptions): Promise<Boxed>;
  /**
   * Makes a container, starts it, and takes it down after `body`, which may have ended or deleted it, or killed the shim. Fails when
   * something stays that should have gone: the shim, its socket, a mount.
   */
  inContainer(
    id: string,
    args: string[],
    body: (c: Boxed) => Promise<void>,
    options?: ContainerOptions,
  ): Promise<void>;
}

/** Called once at the head of a test file. */
export function shimSuite(skip: string | false = cannotRun() ?? false): Suite {
  let made: { readonly daemon: FakeDaemon; readonly root: ReturnType<typeof rootMount> } | undefined;
  before(async () => {
    if (skip !== false) return;
    const daemon = await fakeDaemon();
    made = { daemon, root: rootMount(busyboxRoot(daemon.dir)) };
  });
  after(async () => {
    await made?.daemon[Symbol.asyncDispose]();
  });
  const parts = (): NonNullable<typeof made> => {
    if (made === undefined) throw new Error("the suite has not begun");
    return made;
  };
  const create: Suite["create"] = async (id, args, options = {}) => {
    const { daemon, root } = parts();
    const bundle = daemon.bundle(id, args, (spec) => {
      spec.process.terminal = options.create?.terminal ?? false;
      options.spec?.(spec);
    });
    const shim = await startShim(daemon, id, bundle, options.protocol ?? "new", options.shim);
    try {
      const { pid: init } = await shim.v3.create({ id, bundle, rootfs: root, ...options.create });
      const { shimPid } = await shim.v3.connect({ id });
      return { ...shim, id, bundle, shimPid, init };
    } catch (error) {
      await shim.v3.shutdown({ id }).catch(() => {});
      await shim.close();
      throw error;
    }
  };
  return {
    skip,
    get daemon() {
      return parts().daemon;
    },
    get root() {
      return parts().root;
    },
    fifo(name) {
      const path = join(parts().daemon.dir, name);
      createFifo(path);
      return path;
    },
    create,
    async inContainer(id, args, body, options = {}) {
      const c = await create(id, args, options);
      try {
        if (options.start !== false) await c.v3.start({ id });
        await body(c);
      } catch (error) {
        await takeDown(c).catch(() => {});
        throw error;
      }
      if (!isGone(c.shimPid)) await takeDown(c);
      else await c.close();
    },
  };
}

/** Ends and removes the container, and its shim. */
async function takeDown(c: Boxed): Promise<void> {
  const { id, v3 } = c;
  try {
    await v3.kill({ id, signal: 9 }).catch(() => {}); // it may have ended
    await v3.wait({ id }).catch(() => {}); // or be gone
    await v3
      .delete({ id })
      .catch((error: unknown) => assert.equal(codeOf(error), "not-found", String(error)));
    await v3.shutdown({ id });
  } finally {
    await c.close();
  }
  await untilGone(c.shimPid);
  assertUnmounted(c.bundle);
  assert.equal(existsSync(c.address.replace("unix://", "")), false, "the socket is gone");
}

/** Deletes a container that has ended or never ran, and lets its shim end when that was the last one. */
export async function remove(shim: StartedShim, id: string): Promise<void> {
  await shim.v3.delete({ id });
  await shim.v3.shutdown({ id });
  await shim.close();
}

/** Fails when something is mounted below a bundle. */
export function assertUnmounted(bundle: string): void {
  const left = readMountInfo().filter((m) => m.target.startsWith(bundle));
  assert.deepEqual(left, [], "no mount is left");
}

/** Waits for what has no event, such as the end of a process that is not ours. @throws Error after half a minute */
export async function until(what: string, met: () => boolean): Promise<void> {
  for (const late = performance.now() + UNTIL_MS; !met(); ) {
    if (performance.now() > late) throw new Error(`wait for ${what}: not within ${UNTIL_MS / 1000} s`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** Waits for the end of a process, reaped or not. */
export async function untilGone(pid: number): Promise<void> {
  await until(`the end of process ${pid}`, () => isGone(pid));
}

function isGone(pid: number): boolean {
  return ["Z", "X", undefined].includes(readProcStat(pid)?.state);
}

/** All that comes out of a FIFO, to its end. Waits for its first writer, and holds no thread meanwhile. */
export async function readFifo(path: string): Promise<string> {
  const fd = open(path, O_RDONLY | O_NONBLOCK);
  const text = new TextDecoder();
  let all = "";
  try {
    // a hang-up is told only after a writer that came, and went
    await until(`a writer of "${path}"`, () => pollFd(fd, POLLIN, 0) !== 0);
    for await (const chunk of readFd(fd)) all += text.decode(chunk, { stream: true });
  } finally {
    close(fd);
  }
  return all;
}

/** A process for Exec. @param env more of its environment */
export const processOf = (args: readonly string[], env: readonly string[] = []) => ({
  typeUrl: "types.containerd.io/opencontainers/runtime-spec/1/Process",
  value: new TextEncoder().encode(
    JSON.stringify({ user: { uid: 0, gid: 0 }, args, cwd: "/", env: ["PATH=/bin", ...env] }),
  ),
});

/** What an event of an exit says. */
export const exitOf = (event: Envelope): TaskExit =>
  fromBinary(TaskExitSchema, event.event?.value ?? new Uint8Array());

/** Chooses events of an exit. @param id of the exec, or of the container for that of its init */
export const ofId = (id: string) => (event: Envelope) =>
  event.topic === "/tasks/exit" && exitOf(event).id === id;
