import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import { FakeRegistry } from "../../test/fakes/registry.ts";
import type { Descriptor } from "../core/oci.ts";
import { createDeferred } from "../lib/deferred.ts";
import { Semaphore } from "../lib/semaphore.ts";
import { describe } from "../oci/descriptors.ts";
import { parallelRanges, type RangeOptions } from "./ranges.ts";
import { Registry, type RegistrySession } from "./registry.ts";

const never = new AbortController().signal;
const bytes = randomBytes(1_000_003);

function options(more: Partial<RangeOptions> = {}): RangeOptions {
  return { chunkBytes: 64_000, connections: new Semaphore(3), buffers: new Semaphore(3), ...more };
}

async function collect(source: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const part of source) parts.push(Uint8Array.from(part));
  return Buffer.concat(parts);
}

async function* slices(from: number, to: number, step = 10_000): AsyncGenerator<Uint8Array> {
  for (let at = from; at < to; at += step) {
    await Promise.resolve();
    yield bytes.subarray(at, Math.min(at + step, to));
  }
}

test("ranges come in order, never more at a time than permits and the caller's own connection", async () => {
  let open = 0;
  let most = 0;
  const o = options();
  const source = async function* (from: number, to: number): AsyncGenerator<Uint8Array> {
    most = Math.max(most, ++open);
    yield* slices(from, to);
    open--;
  };
  const got = await collect(parallelRanges(source, 7, bytes.length, o, never));
  assert.ok(got.equals(bytes.subarray(7)));
  assert.equal(most, 4);
  assert.deepEqual([o.connections.available, o.buffers.available, open], [3, 3, 0]);
});

test("a reader that waits holds no more than its buffers; waiting transfers come first", async () => {
  let begun = 0;
  const o = options({ buffers: new Semaphore(2) });
  const source = (from: number, to: number): AsyncIterable<Uint8Array> => {
    begun++;
    return slices(from, to);
  };
  const reader = parallelRanges(source, 0, bytes.length, o, never);
  assert.equal((await reader.next()).done, false);
  // Everything that can happen without the reader happens.
  for (let i = 0; i < 100; i++) await new Promise((resolve) => setImmediate(resolve));
  assert.equal(begun, 3);
  await reader.return();
  assert.deepEqual([o.connections.available, o.buffers.available], [3, 2]);

  const busy = options({ connections: new Semaphore(1) });
  using _held = await busy.connections.acquire();
  begun = 0;
  const waiting = busy.connections.acquire();
  assert.ok((await collect(parallelRanges(source, 0, bytes.length, busy, never))).equals(bytes));
  assert.equal(busy.connections.waiting, 1);
  _held[Symbol.dispose]();
  (await waiting)[Symbol.dispose]();
});

test("a failed range ends the stream after the bytes before it; the others are stopped and nothing is held", async () => {
  const o = options();
  const signals: AbortSignal[] = [];
  const gate = createDeferred<void>();
  const source = async function* (from: number, to: number, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    signals.push(signal);
    if (from === 128_000) throw new Error("broken");
    if (from > 128_000)
      await Promise.race([gate.promise, new Promise((r) => signal.addEventListener("abort", r))]);
    yield* slices(from, to);
  };
  const got: Uint8Array[] = [];
  await assert.rejects(async () => {
    for await (const part of parallelRanges(source, 0, bytes.length, o, never))
      got.push(Uint8Array.from(part));
  }, /broken/);
  assert.ok(Buffer.concat(got).equals(bytes.subarray(0, 128_000)));
  assert.ok(signals.every((s) => s.aborted));
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual([o.connections.available, o.buffers.available], [3, 3]);
});

async function session(
  fake: FakeRegistry,
  registry: Registry,
): Promise<{ s: RegistrySession; desc: Descriptor }> {
  fake.addBlob(bytes);
  return {
    s: await registry.session(`${fake.host}/team/app:v1`),
    desc: describe("application/octet-stream", bytes),
  };
}

test("a large blob comes over several connections, from an offset too, and survives broken ranges", async () => {
  await using fake = await FakeRegistry.start();
  await using registry = new Registry({ dockerConfig: false, limits: { initialDelayMs: 1 } });
  const { s, desc } = await session(fake, registry);
  fake.bytesPerSecond = 2_000_000;
  assert.ok((await collect(s.fetcher.stream(desc, 0n, never, options()))).equals(bytes));
  assert.equal(fake.sending.most, 4);
  const ranges = fake.requests("/blobs/").map((r) => r.headers.range);
  assert.deepEqual(ranges.slice(0, 2), ["bytes=0-63999", "bytes=64000-127999"]);
  fake.bytesPerSecond = undefined;
  for (const resetAfter of [0, 1, 30_000])
    fake.fail({ match: "GET /v2/team/app/blobs/", resetAfter, times: 3 });
  assert.ok((await collect(s.fetcher.stream(desc, 999n, never, options()))).equals(bytes.subarray(999)));
});

test("a mirror that lacks the blob is asked for its first range only", async () => {
  await using mirror = await FakeRegistry.start();
  await using fake = await FakeRegistry.start();
  const mirrors = new Map([[fake.host, [mirror.url, fake.url]]]);
  await using registry = new Registry({ dockerConfig: false, hosts: { mirrors } });
  const { s, desc } = await session(fake, registry);
  assert.ok((await collect(s.fetcher.stream(desc, 0n, never, options()))).equals(bytes));
  assert.equal(mirror.requests("/blobs/").length, 1);
  assert.ok(fake.requests("/blobs/").length > 10);
});

test("a server without ranges is read once, in one piece; small blobs ask for no range", async () => {
  await using fake = await FakeRegistry.start();
  await using registry = new Registry({ dockerConfig: false, limits: { initialDelayMs: 1 } });
  const { s, desc } = await session(fake, registry);
  fake.fail({ match: "GET /v2/team/app/blobs/", noRange: true, times: 100 });
  assert.ok((await collect(s.fetcher.stream(desc, 0n, never, options()))).equals(bytes));
  assert.equal(fake.requests("/blobs/").length, 1);
  const small = options({ chunkBytes: 900_000 });
  assert.ok((await collect(s.fetcher.stream(desc, 0n, never, small))).equals(bytes));
  assert.equal(fake.requests("/blobs/").at(-1)?.headers.range, undefined);
});
