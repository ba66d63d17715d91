import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import { inNs } from "../../../test/contract/harness.ts";
import type { AnyValue } from "../../core/any.ts";
import { codeOf } from "../../core/errors.ts";
import type { AnyStream } from "../../core/streaming/streaming.ts";
import { AsyncQueue } from "../../lib/async-queue.ts";
import { StreamTable } from "../streaming/plugin.ts";
import { readBytes, writeBytes } from "./byte-streams.ts";

/** Two ends of one stream. */
function pair(): [AnyStream, AnyStream] {
  const a = new AsyncQueue<AnyValue>(4);
  const b = new AsyncQueue<AnyValue>(4);
  const end = (out: AsyncQueue<AnyValue>, from: AsyncQueue<AnyValue>): AnyStream => {
    const iterator = from[Symbol.asyncIterator]();
    return {
      id: "s",
      send: (m) => out.push(m),
      receive: async () => {
        const next = await iterator.next();
        return next.done === true ? undefined : next.value;
      },
      close: () => out.close(),
    };
  };
  return [end(a, b), end(b, a)];
}

const never = new AbortController().signal;

test("bytes arrive whole under flow control", async () => {
  const [left, right] = pair();
  const data = randomBytes(5_000_000);
  const source = (async function* () {
    for (let at = 0; at < data.length; at += 100_001) yield data.subarray(at, at + 100_001);
  })();
  const writing = writeBytes(left, source, never);
  const got: Uint8Array[] = [];
  for await (const part of readBytes(right, never)) {
    assert.ok(part.byteLength <= 256 * 1024);
    got.push(Uint8Array.from(part));
  }
  await writing;
  assert.deepEqual(Buffer.concat(got), data);
});

test("a writer without credit waits; a reader that leaves ends it; cancel ends it", async () => {
  const [left, right] = pair();
  const one = async function* (): AsyncGenerator<Uint8Array> {
    yield new Uint8Array(10);
  };
  const writing = writeBytes(left, one(), never);
  right.close();
  await assert.rejects(writing, (err) => codeOf(err) === "unavailable");
  const [again] = pair();
  const stop = new AbortController();
  const cancelled = writeBytes(again, one(), stop.signal);
  stop.abort();
  await assert.rejects(cancelled, (err) => codeOf(err) === "canceled");
});

test("other messages are refused", async () => {
  const [left, right] = pair();
  await left.send({ typeUrl: "x.Y", value: new Uint8Array() });
  await assert.rejects(async () => {
    for await (const _ of readBytes(right, never));
  }, /want containerd.types.transfer.Data/);
});

test("streams are found by namespace and id, once each", () => {
  const table = new StreamTable();
  const [stream] = pair();
  {
    using _held = table.register(inNs("a"), stream);
    assert.equal(table.get(inNs("a"), "s"), stream);
    assert.throws(
      () => table.get(inNs("b"), "s"),
      (err) => codeOf(err) === "not-found",
    );
    assert.throws(
      () => table.register(inNs("a"), stream),
      (err) => codeOf(err) === "already-exists",
    );
  }
  assert.equal(table.size, 0);
});
