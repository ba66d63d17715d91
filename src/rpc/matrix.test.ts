/** Every streaming form, errors, headers, deadline, cancel and limits over each transport. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import type { BytesValue } from "@bufbuild/protobuf/wkt";
import { bindPeer, Peer, type PeerClient, type PeerLog } from "../../test/peers/rpc-go/peer-service.ts";
import { GantryError } from "../core/errors.ts";
import { createClient } from "./client.ts";
import { createGrpcServer } from "./grpc/server.ts";
import { createGrpcTransport } from "./grpc/transport.ts";
import { createMemoryTransport } from "./memory.ts";
import { RemoteStatusError } from "./status.ts";
import { createTtrpcServer } from "./ttrpc/server.ts";
import { createTtrpcTransport } from "./ttrpc/transport.ts";
import type { Headers, Transport } from "./types.ts";

async function* blocks(count: number, size: number): AsyncGenerator<{ value: Uint8Array }> {
  for (let i = 0; i < count; i++) yield { value: new Uint8Array(size).fill(i) };
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

async function drain(responses: AsyncIterable<BytesValue>): Promise<number> {
  let sum = 0;
  for await (const { value } of responses) sum += value.length;
  return sum;
}

for (const kind of ["memory", "grpc", "ttrpc"] as const) {
  describe(`${kind} transport`, () => {
    const dir = mkdtempSync(join(tmpdir(), "gantry-rpc-"));
    const log: PeerLog = { aborted: [], produced: 0, taken: 0 };
    let client: PeerClient;
    let transport: Transport;
    let close: () => Promise<void>;

    const aborted = (): Promise<void> =>
      new Promise((resolve) => {
        if (log.aborted.length > 0) resolve();
        else log.onAborted = resolve;
      });

    before(async () => {
      const services = [bindPeer(log)];
      const path = join(dir, "sock");
      if (kind === "memory") {
        transport = createMemoryTransport({ services });
        close = async () => {};
      } else {
        const server = kind === "grpc" ? createGrpcServer({ services }) : createTtrpcServer({ services });
        await server.listen({ path });
        transport = kind === "grpc" ? createGrpcTransport({ path }) : createTtrpcTransport({ path });
        close = () => server.close();
      }
      client = createClient(Peer, transport) as unknown as PeerClient;
    });
    after(async () => {
      await transport.close();
      await close();
      rmSync(dir, { recursive: true });
    });

    test("unary", async () => {
      assert.deepEqual((await client.echo({ value: Uint8Array.of(1, 2, 3) })).value, Uint8Array.of(1, 2, 3));
      assert.equal((await client.echo({ value: new Uint8Array(0) })).value.length, 0);
      const many = await Promise.all(
        Array.from({ length: 200 }, (_, i) => client.echo({ value: new Uint8Array(i * 100).fill(i) })),
      );
      many.forEach(({ value }, i) => {
        assert.equal(value.length, i * 100);
      });
    });

    test("server stream", async () => {
      assert.equal(await drain(client.read({ value: 20n << 20n })), 20 << 20);
    });

    test("client stream", async () => {
      assert.equal((await client.write(blocks(20, 1 << 20))).value, 20n << 20n);
      assert.equal((await client.write(blocks(0, 0))).value, 0n);
    });

    test("bidi, message by message", async () => {
      let n = 0;
      for await (const { value } of client.chat(blocks(30, 300_000))) {
        assert.equal(value[0], n++);
        assert.equal(value.length, 300_000);
      }
      assert.equal(n, 30);
    });

    test("errors keep class, text, hint and details", async () => {
      const err = await failure(client.fail({ value: "x" }));
      assert.equal(err.code, "not-found");
      assert.equal(err.message, 'image "x": not found');
      assert.equal(err.hint, kind === "ttrpc" ? undefined : "pull it first");
      const rich = await failure(client.fail({ value: "details" }));
      assert.equal(rich.code, "failed-precondition");
      assert.ok(rich.cause instanceof RemoteStatusError);
      assert.deepEqual([...(rich.cause.status.details[0]?.value ?? [])], [10, 2, 104, 105]);
      const plain = await failure(client.fail({ value: "plain" }));
      assert.equal(plain.code, "unknown");
      assert.equal(plain.message, "größer: 100 % kaputt\n");
    });

    test("unknown methods and services", async () => {
      const err = await failure(client.missing({ value: "" }));
      assert.equal(err.code, "not-implemented");
      assert.match(err.message, /unknown method Missing for service gantry\.test\.v1\.Peer/);
    });

    test("namespace, lease and metadata", async () => {
      const headers: Headers = new Map([
        ["containerd-namespace", ["k8s.io"]],
        ["containerd-lease", ["l1"]],
        ["x-list", ["a", "b"]],
      ]);
      let trailers: Headers = new Map();
      const options = { headers, onTrailer: (t: Headers) => (trailers = t) };
      assert.equal((await client.header({ value: "namespace" }, options)).value, "k8s.io");
      assert.equal((await client.header({ value: "lease" }, options)).value, "l1");
      assert.equal((await client.header({ value: "x-list" }, options)).value, "a|b");
      if (kind !== "ttrpc") assert.deepEqual(trailers.get("x-trailer"), ["tail"]);
      const bad = new Map([["containerd-namespace", ["no/slash"]]]);
      assert.equal((await failure(client.header({ value: "" }, { headers: bad }))).code, "invalid-argument");
    });

    test("deadline ends the call on both sides", async () => {
      log.aborted.length = 0;
      const err = await failure(client.wait({ value: "" }, { timeoutMs: 30 }));
      assert.equal(err.code, "deadline-exceeded");
      assert.equal(err.wireMessage, "context deadline exceeded");
      await aborted();
    });

    test("cancel by signal", async () => {
      const stop = new AbortController();
      log.aborted.length = 0;
      const pending = failure(client.wait({ value: "" }, { signal: stop.signal, timeoutMs: 2000 }));
      setImmediate(() => stop.abort());
      assert.equal((await pending).code, "canceled");
      assert.equal(
        (await failure(client.echo({ value: new Uint8Array(1) }, { signal: stop.signal }))).code,
        "canceled",
      );
    });

    test("leaving a server stream cancels it", async () => {
      log.aborted.length = 0;
      for await (const { value } of client.watch({ value: "y" })) {
        assert.equal(value, "watching y");
        break;
      }
      // ttrpc has no way to tell the server.
      if (kind !== "ttrpc") await aborted();
    });

    test("the largest message goes through, one more byte is refused", async () => {
      const max = kind === "ttrpc" ? 4 << 20 : 16 << 20;
      const head = 5;
      if (kind === "memory") return;
      const over = new Uint8Array(max);
      const err = await failure(client.echo({ value: over }));
      assert.equal(err.code, "resource-exhausted");
      const room = kind === "ttrpc" ? 200 : head;
      const { value } = await client.echo({ value: over.subarray(0, max - room) });
      assert.equal(value.length, max - room);
    });
  });
}
