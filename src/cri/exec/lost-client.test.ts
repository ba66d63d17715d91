/** Clients that leave, are slow, or wait for long, and streams that cannot be had: what becomes of their process and its FIFOs. */
import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { Call } from "../../core/call.ts";
import type { ContainerStore } from "../../core/containers/containers.ts";
import { failedPrecondition, notFound } from "../../core/errors.ts";
import { parseNamespace } from "../../core/ids/namespace.ts";
import type { Exit, Stdio, TaskService } from "../../core/tasks/tasks.ts";
import { utf8Encode } from "../../lib/bytes.ts";
import { createDeferred } from "../../lib/deferred.ts";
import { openFifo } from "../../platform/fs/fifo.ts";
import { close, writeAll } from "../../platform/syscalls/files.ts";
import type { Container, CriView } from "../model.ts";
import type { ByteSource, StdioStreams } from "../streaming/runtime.ts";
import type { ExecDeps } from "./deps.ts";
import { streamExec } from "./exec.ts";
import { execSync } from "./exec-sync.ts";

const view = {
  call: new Call({}).in(parseNamespace("test")),
  container: () => ({ id: "one", state: "running", pid: 0 }) as Container,
} as unknown as CriView;

/** One exec in a shim: it can be signalled when it runs, and removed when it does not. */
class FakeShim {
  readonly ended = createDeferred<Exit>();
  readonly removed = createDeferred<void>();
  state: "none" | "added" | "running" | "stopped" = "none";
  signals: number[] = [];
  streams: Stdio | undefined;
  /** What the start waits for. */
  starting = async (): Promise<void> => {};
  #running: Promise<void> | undefined;
  /** The start has begun. */
  readonly begun = createDeferred<void>();

  get tasks(): TaskService {
    const service: Partial<TaskService> = {
      exec: async (_call, request) => {
        this.streams = request;
        this.state = "added";
      },
      start: async (call) => {
        const run = this.starting().then(() => {
          this.state = "running";
        });
        this.#running = run;
        this.begun.resolve();
        const gone = new Promise<never>((_resolve, reject) =>
          call.signal.addEventListener("abort", () => reject(failedPrecondition("canceled"))),
        );
        await Promise.race([run, gone]);
        return 1 << 30;
      },
      wait: () => this.ended.promise,
      kill: async (_call, _id, _exec, signal) => {
        if (this.state === "added") throw failedPrecondition("process not created");
        this.signals.push(signal);
        this.end(128 + signal);
      },
      deleteProcess: async () => {
        await this.#running;
        if (this.state === "running") throw failedPrecondition("cannot delete a running process");
        if (this.state === "none") throw notFound("process");
        this.state = "none";
        this.removed.resolve();
        return { pid: 0, status: 0, exitedAt: 0n };
      },
      closeIO: async () => {},
    };
    return service as TaskService;
  }

  end(status: number): void {
    this.state = "stopped";
    this.ended.resolve({ pid: 0, status, exitedAt: 0n });
  }
}

async function withShim(
  body: (shim: FakeShim, deps: ExecDeps & { readonly live: Set<string> }) => Promise<void>,
): Promise<void> {
  const ioDir = mkdtempSync(join(tmpdir(), "gantry-lost-client-"));
  const shim = new FakeShim();
  const spec = {
    typeUrl: "types.containerd.io/opencontainers/runtime-spec/1/Spec",
    value: utf8Encode('{"ociVersion":"1.2.0"}'),
  };
  const containers = { get: async () => ({ spec }) } as unknown as ContainerStore;
  const { log } = view.call;
  try {
    await body(shim, { view, tasks: shim.tasks, containers, ioDir, drainMs: 10, log, live: new Set() });
    assert.deepEqual(readdirSync(ioDir), []);
  } finally {
    rmSync(ioDir, { recursive: true });
  }
}

const request = { containerId: "one", command: ["x"], tty: false, stdin: true, stdout: true, stderr: false };
const never = new AbortController().signal;
async function* nothing(): AsyncGenerator<never, void, undefined> {}
const noInput = nothing() as ByteSource;

test("a client that leaves while its process is being started: the process is killed and removed", () =>
  withShim(async (shim, deps) => {
    const starts = createDeferred<void>();
    shim.starting = () => starts.promise;
    const left = new AbortController();
    const run = execSync(deps, "one", ["x"], 0, left.signal);
    await shim.begun.promise;
    left.abort();
    await assert.rejects(run, /failed to start exec/);
    starts.resolve();
    await shim.removed.promise;
    assert.deepEqual([shim.signals, shim.state], [[9], "none"]);
    while (deps.live.size > 0) await delay(1);
  }));

test("streams that cannot be opened: the process does not run on", () =>
  withShim(async (shim, deps) => {
    shim.starting = async () => rmSync(shim.streams?.stdin ?? "");
    const streams: StdioStreams = { stdin: noInput, resize: nothing(), signal: never };
    await assert.rejects(streamExec(deps, request, streams), /ENOENT|no such file/i);
    assert.deepEqual([shim.signals, shim.state, deps.live.size], [[9], "none", 0]);
  }));

test("a client that takes its time to read gets all of the output, however long ago the process ended", () =>
  withShim(async (shim, deps) => {
    const reads = createDeferred<void>();
    const wrote = createDeferred<void>();
    let length = 0;
    const stdout = {
      async write(chunk: Uint8Array) {
        wrote.resolve();
        await reads.promise;
        length += chunk.length;
      },
      async close() {},
    };
    const run = streamExec(deps, { ...request, stdin: false }, { stdout, resize: nothing(), signal: never });
    await shim.begun.promise;
    const fd = openFifo(shim.streams?.stdout ?? "");
    writeAll(fd, new Uint8Array(1000));
    await wrote.promise;
    writeAll(fd, new Uint8Array(50_000));
    close(fd);
    shim.end(0);
    // many times as long as output is waited for that nobody writes any more
    await delay(20 * deps.drainMs);
    reads.resolve();
    assert.equal(await run, 0);
    assert.equal(length, 51_000);
  }));

test("a timeout that no timer can hold is none", () =>
  withShim(async (shim, deps) => {
    const run = execSync(deps, "one", ["x"], 2 ** 31 * 1000, never);
    await shim.begun.promise;
    // a timer that is too long ends at once
    await delay(20);
    shim.end(0);
    close(openFifo(shim.streams?.stdout ?? ""));
    assert.equal((await run).exitCode, 0);
  }));
