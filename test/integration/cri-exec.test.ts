/**
 * Exec, ExecSync and attach of the pod domain against a real daemon, shim and runc: its tasks over gRPC, streams in memory.
 * Needs root and runc.
 */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { ContainerConfigSchema } from "../../src/api/gen/cri/runtime/v1/api_pb.ts";
import { containersClient } from "../../src/client/containers.ts";
import { tasksClient } from "../../src/client/tasks.ts";
import { background } from "../../src/core/call.ts";
import { codeOf } from "../../src/core/errors.ts";
import { parseNamespace } from "../../src/core/ids/namespace.ts";
import { noLog } from "../../src/core/log.ts";
import { createExecRuntime, type ExecRuntime } from "../../src/cri/exec/runtime.ts";
import type { Container, CriView } from "../../src/cri/model.ts";
import type { ByteSink, StdioStreams } from "../../src/cri/streaming/runtime.ts";
import { AsyncQueue } from "../../src/lib/async-queue.ts";
import { createDeferred } from "../../src/lib/deferred.ts";
import { createGrpcTransport } from "../../src/rpc/grpc/transport.ts";
import { until } from "./client.ts";
import { remove, status } from "./scenarios/containers.ts";
import { type Bed, useBed } from "./suite.ts";
import { taskRow } from "./tasks.ts";

const holder = useBed("ours", "ours");
const never = new AbortController().signal;
const text = (bytes: Uint8Array | readonly Uint8Array[]): string =>
  bytes instanceof Uint8Array ? new TextDecoder().decode(bytes) : bytes.map((each) => text(each)).join("");
const utf8 = (value: string): Uint8Array => new TextEncoder().encode(value);

/** A running container of the bed and what runs commands in it. */
async function withContainer(
  bed: Bed,
  args: readonly string[],
  body: (runtime: ExecRuntime, id: string, pid: number) => Promise<void>,
  options: {
    drainMs?: number;
    config?: { stdinOnce?: boolean; tty?: boolean };
    flags?: readonly string[];
  } = {},
): Promise<void> {
  const { ctr, engine, image, dir } = bed;
  const id = engine.id("exec");
  await ctr.ok("run", "-d", ...(options.flags ?? []), image, id, ...args);
  const { pid } = await taskRow(ctr, id);
  const transport = createGrpcTransport({ path: engine.address });
  const container = {
    id,
    podId: "",
    state: "running",
    pid,
    config: create(ContainerConfigSchema, { ...options.config }),
  } as unknown as Container;
  const view: CriView = {
    call: background.in(parseNamespace(engine.namespace)),
    pod: () => assert.fail("no pods here"),
    pods: () => [],
    container: () => container,
    containers: () => [container],
    onEvent: () => () => {},
  };
  const runtime = createExecRuntime({
    view,
    tasks: tasksClient(transport),
    containers: containersClient(transport),
    ioDir: join(dir, "io"),
    drainMs: options.drainMs ?? 0,
    log: noLog,
  });
  try {
    await body(runtime, id, pid);
    await until("no FIFO is left", () => readdirOr(join(dir, "io")).length === 0);
  } finally {
    await transport.close();
    await ctr.run("tasks", "kill", "-s", "KILL", "-a", id);
    await until("the end", async () => ["STOPPED", ""].includes(await status(ctr, id)));
    await remove(ctr, id);
  }
}

function readdirOr(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}

/** Streams of a client in memory. */
function client(parts: { stdin?: boolean; stdout?: boolean; stderr?: boolean }): {
  streams: StdioStreams;
  stdin: AsyncQueue<Uint8Array>;
  resize: AsyncQueue<{ columns: number; rows: number }>;
  out(): string;
  err(): string;
  leave(): void;
  sees(pattern: RegExp): Promise<void>;
} {
  const stdin = new AsyncQueue<Uint8Array>();
  const resize = new AsyncQueue<{ columns: number; rows: number }>();
  const abort = new AbortController();
  const said = { out: "", err: "" };
  let changed = createDeferred<void>();
  const sink = (name: "out" | "err"): ByteSink => ({
    async write(chunk) {
      said[name] += text(chunk);
      changed.resolve();
      changed = createDeferred<void>();
    },
    async close() {},
  });
  return {
    stdin,
    resize,
    out: () => said.out,
    err: () => said.err,
    leave() {
      stdin.close();
      resize.close();
      abort.abort();
    },
    async sees(pattern) {
      while (!pattern.test(said.out)) await changed.promise;
    },
    streams: {
      ...(parts.stdin === true ? { stdin } : {}),
      ...(parts.stdout === true ? { stdout: sink("out") } : {}),
      ...(parts.stderr === true ? { stderr: sink("err") } : {}),
      resize,
      signal: abort.signal,
    },
  };
}

/** Command lines in the cgroup of `pid`. */
function commandsBeside(pid: number): string[] {
  const line = readFileSync(`/proc/${pid}/cgroup`, "utf8");
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .filter((name) => {
      try {
        return readFileSync(`/proc/${name}/cgroup`, "utf8") === line;
      } catch {
        return false;
      }
    })
    .map((name) => {
      try {
        return readFileSync(`/proc/${name}/cmdline`, "utf8").replaceAll("\0", " ").trim();
      } catch {
        return "";
      }
    });
}

test("ExecSync: output, exit codes, errors, output over the limit", () =>
  holder.check((bed) =>
    withContainer(bed, ["sleep", "1000"], async (runtime, id) => {
      const said = await runtime.execSync(id, ["sh", "-c", "echo out; echo err >&2; exit 3"], 0, never);
      assert.deepEqual([text(said.stdout), text(said.stderr), said.exitCode], ["out\n", "err\n", 3]);
      await assert.rejects(
        runtime.execSync(id, ["no-such-command"], 0, never),
        /failed to exec in container.*no-such-command.*not found/s,
      );
      const much = await runtime.execSync(
        id,
        ["sh", "-c", "dd if=/dev/zero bs=1M count=40 2>/dev/null; echo end >&2"],
        0,
        never,
      );
      assert.equal(much.exitCode, 0);
      const kept = much.stdout.reduce((sum, each) => sum + each.length, 0);
      assert.ok(kept > 15_000_000 && kept < 16 << 20, `${kept}`);
      assert.equal(text(much.stderr), "end\n");
    }),
  ));

test("ExecSync: a timeout kills the command and what it started", () =>
  holder.check((bed) =>
    withContainer(bed, ["sleep", "1000"], async (runtime, id, pid) => {
      const failed = await runtime
        .execSync(id, ["sh", "-c", "sleep 4321 & sleep 4322; true"], 1000, never)
        .then(
          () => assert.fail("ended"),
          (err: unknown) => err,
        );
      assert.equal(codeOf(failed), "deadline-exceeded");
      assert.match(String(failed), /timeout 1s exceeded: context deadline exceeded/);
      await until("nothing of it is left", () => !commandsBeside(pid).some((line) => line.includes("432")));
    }),
  ));

test("ExecSync: a child left behind that holds the output does not hold the answer", () =>
  holder.check((bed) =>
    withContainer(bed, ["sleep", "1000"], async (runtime, id) => {
      const said = await runtime.execSync(id, ["sh", "-c", "sleep 9999 & echo started"], 0, never);
      assert.deepEqual([text(said.stdout), said.exitCode], ["started\n", 0]);
    }),
  ));

test("ExecSync: with drain_exec_sync_io_timeout held output is an error", () =>
  holder.check((bed) =>
    withContainer(
      bed,
      ["sleep", "1000"],
      (runtime, id) =>
        assert.rejects(
          runtime.execSync(id, ["sh", "-c", "sleep 9999 & echo started"], 0, never),
          /failed to drain exec process "[0-9a-f]{64}" io in 100ms because io is still held/,
        ),
      { drainMs: 100 },
    ),
  ));

test("exec: streams, half-close of stdin, exit code", () =>
  holder.check((bed) =>
    withContainer(bed, ["sleep", "1000"], async (runtime, id) => {
      const c = client({ stdin: true, stdout: true, stderr: true });
      const ended = runtime.exec(
        {
          containerId: id,
          command: ["sh", "-c", "cat; echo bye >&2; exit 5"],
          tty: false,
          stdin: true,
          stdout: true,
          stderr: true,
        },
        c.streams,
      );
      await c.stdin.push(utf8("hello\n"));
      await c.sees(/hello\n/);
      c.stdin.close();
      assert.equal(await ended, 5);
      assert.deepEqual([c.out(), c.err()], ["hello\n", "bye\n"]);
    }),
  ));

test("exec: a terminal with its sizes; a client that leaves takes its shell along", () =>
  holder.check((bed) =>
    withContainer(bed, ["sleep", "1000"], async (runtime, id, pid) => {
      const c = client({ stdin: true, stdout: true });
      const ended = runtime.exec(
        { containerId: id, command: ["sh"], tty: true, stdin: true, stdout: true, stderr: false },
        c.streams,
      );
      await c.resize.push({ columns: 91, rows: 17 });
      // typed again until the size has arrived
      await c.stdin.push(utf8("until [ \"$(stty size)\" = '17 91' ]; do sleep 0.05; done; echo got'-'it\n"));
      await c.sees(/got-it/);
      assert.ok(commandsBeside(pid).includes("sh"));
      c.leave();
      await ended;
      await until("the shell is gone", () => !commandsBeside(pid).includes("sh"));
    }),
  ));

test("attach: output besides the log, input, end of input of a stdin_once container", () =>
  holder.check(async (bed) => {
    const log = join(bed.dir, "c.log");
    // sleeps until somebody attached, then says what it reads
    await withContainer(
      bed,
      ["sh", "-c", "while :; do echo tick; sleep 0.05; done"],
      async (runtime, id) => {
        const first = client({ stdout: true, stderr: true });
        const second = client({ stdout: true });
        const request = { containerId: id, tty: false, stdin: false, stdout: true, stderr: true };
        const one = runtime.attach(request, first.streams);
        const two = runtime.attach({ ...request, stderr: false }, second.streams);
        await Promise.all([first.sees(/tick\ntick\n/), second.sees(/tick\ntick\n/)]);
        first.leave();
        await one;
        const before = second.out().length;
        await second.sees(new RegExp(`^[^]{${before + 20},}`));
        await bed.ctr.ok("tasks", "kill", "-s", "KILL", id);
        await two;
        assert.match(readFileSync(log, "utf8"), /stdout F tick\n/);
      },
      { flags: ["--log-uri", `cri-log://${log}`] },
    );
  }));
