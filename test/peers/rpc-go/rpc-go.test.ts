/**
 * The real Go libraries (grpc-go, containerd/ttrpc) against our server and our client against them. Needs Go and, the
 * first time, the Go module proxy; without them the tests are skipped and say so.
 */
import assert from "node:assert/strict";
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { GantryError } from "../../../src/core/errors.ts";
import { createClient } from "../../../src/rpc/client.ts";
import { createGrpcTransport } from "../../../src/rpc/grpc/transport.ts";
import { RemoteStatusError } from "../../../src/rpc/status.ts";
import { createTtrpcTransport } from "../../../src/rpc/ttrpc/transport.ts";
import type { Headers } from "../../../src/rpc/types.ts";
import { CHUNK, Peer, type PeerClient } from "./peer-service.ts";

const here = import.meta.dirname;
const dir = mkdtempSync(join(tmpdir(), "gantry-rpc-go-"));
const program = join(dir, "rpc-go");
let missing: string | undefined;

before(() => {
  const built = spawnSync("go", ["build", "-o", program, "."], { cwd: here, encoding: "utf8" });
  if (built.status !== 0) missing = `go build: ${built.error?.message ?? built.stderr}`;
});
after(() => rmSync(dir, { recursive: true }));

async function started(command: string, args: readonly string[]): Promise<ChildProcess> {
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "inherit"] });
  await new Promise<void>((resolve, reject) => {
    child.stdout?.on("data", (text) => String(text).includes("ready") && resolve());
    child.once("exit", (code) => reject(new Error(`${command} ended with ${code}`)));
  });
  return child;
}

/** Ends a process we started. Deno gives no exit code for one that it signalled itself. */
async function stopped(child: ChildProcess): Promise<number | null> {
  const exit = new Promise<number | null>((resolve) => child.once("exit", resolve));
  child.kill("SIGTERM");
  return exit;
}

async function failure(work: Promise<unknown>): Promise<GantryError> {
  try {
    await work;
  } catch (err) {
    assert.ok(err instanceof GantryError, String(err));
    return err;
  }
  throw new assert.AssertionError({ message: "no error" });
}

for (const kind of ["grpc", "ttrpc"] as const) {
  describe(`Go and ours over ${kind}`, () => {
    test("a Go client's checklist passes against our server, which then drains", {
      timeout: 180_000,
    }, async (t) => {
      if (missing !== undefined) return t.skip(missing);
      const path = join(dir, `${kind}-ours`);
      const child = await started(process.execPath, [...runArgs(), join(here, "serve.ts"), kind, path]);
      t.after(() => child.kill("SIGKILL"));
      const client = spawn(program, ["check", kind, path], { stdio: ["ignore", "pipe", "inherit"] });
      let output = "";
      client.stdout.on("data", (text) => {
        output += String(text);
      });
      const code = await new Promise((resolve) => client.once("exit", resolve));
      assert.equal(code, 0, output);
      assert.doesNotMatch(output, /FAIL/);
      assert.equal((await stopped(child)) ?? 0, 0);
    });

    test("our client against a Go server", { timeout: 180_000 }, async (t) => {
      if (missing !== undefined) return t.skip(missing);
      const path = join(dir, `${kind}-go`);
      const child = await started(program, ["serve", kind, path]);
      t.after(() => child.kill("SIGKILL"));
      await using transport =
        kind === "grpc" ? createGrpcTransport({ path }) : createTtrpcTransport({ path });
      const client = createClient(Peer, transport) as unknown as PeerClient;

      assert.deepEqual((await client.echo({ value: Uint8Array.of(1, 2, 3) })).value, Uint8Array.of(1, 2, 3));
      const max = kind === "grpc" ? 16 << 20 : 4 << 20;
      assert.equal((await client.echo({ value: new Uint8Array(max - 200) })).value.length, max - 200);
      assert.equal((await failure(client.echo({ value: new Uint8Array(max) }))).code, "resource-exhausted");

      const err = await failure(client.fail({ value: "x" }));
      assert.equal(err.code, "not-found");
      assert.equal(err.message, 'image "x": not found');
      assert.equal((await failure(client.fail({ value: "plain" }))).message, "größer: 100 % kaputt\n");
      const rich = await failure(client.fail({ value: "details" }));
      assert.equal(rich.code, "failed-precondition");
      assert.ok(rich.cause instanceof RemoteStatusError);
      assert.match(rich.cause.status.details[0]?.typeUrl ?? "", /StringValue$/);
      assert.equal((await failure(client.missing({ value: "" }))).code, "not-implemented");

      const headers: Headers = new Map([
        ["containerd-namespace", ["k8s.io"]],
        ["containerd-lease", ["l1"]],
      ]);
      assert.equal((await client.header({ value: "namespace" }, { headers })).value, "k8s.io");
      assert.equal((await client.header({ value: "lease" }, { headers })).value, "l1");
      assert.equal((await failure(client.wait({ value: "" }, { timeoutMs: 50 }))).code, "deadline-exceeded");

      // At default window settings on both sides.
      let n = 0;
      for await (const { value } of client.read({ value: 1n << 30n })) n += value.length;
      assert.equal(n, 2 ** 30);
      async function* blocks(count: number): AsyncGenerator<{ value: Uint8Array }> {
        for (let i = 0; i < count; i++) yield { value: CHUNK };
      }
      assert.equal((await client.write(blocks(256))).value, 256n << 20n);
      n = 0;
      for await (const { value } of client.chat(blocks(64))) n += value.length;
      assert.equal(n, 64 << 20);
      for await (const { value } of client.watch({ value: "z" })) {
        assert.equal(value, "watching z");
        break;
      }
      assert.equal((await client.echo({ value: Uint8Array.of(9) })).value.length, 1);

      if (kind === "grpc") {
        // GracefulStop: GOAWAY, the running stream goes on to its end.
        let turn: (() => void) | undefined;
        async function* talk(): AsyncGenerator<{ value: Uint8Array }> {
          for (let i = 0; i < 3; i++) {
            yield { value: CHUNK };
            await new Promise<void>((resolve) => {
              turn = resolve;
            });
          }
        }
        let exit: Promise<number | null> | undefined;
        n = 0;
        for await (const { value } of client.chat(talk())) {
          exit ??= stopped(child);
          n += value.length;
          turn?.();
        }
        assert.equal(n, 3 << 20);
        assert.equal((await exit) ?? 0, 0);
      } else await stopped(child);
      assert.equal((await failure(client.echo({ value: Uint8Array.of(1) }))).code, "unavailable");
    });
  });
}

/** Arguments in front of a script: Deno wants a subcommand. */
function runArgs(): readonly string[] {
  return "deno" in process.versions ? ["run", "-A"] : [];
}
