/** Receive windows: what is acknowledged when, and who waits for whom. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { H2StreamError } from "./errors.ts";
import { FloodGuard } from "./limits.ts";
import { ReceiveBudget } from "./receive-budget.ts";
import { H2Stream, type StreamHost } from "./stream.ts";

const WINDOW = 1000;

function setUp(total = 10_000): {
  stream: (id: number) => H2Stream;
  updates: [number, number][];
  unread: () => number;
} {
  const updates: [number, number][] = [];
  let unread = 0;
  const host: StreamHost = {
    isServer: true,
    streamWindow: WINDOW,
    budget: new ReceiveBudget(total),
    sendHeaders() {},
    sendReset() {},
    sendWindowUpdate: (id, increment) => updates.push([id, increment]),
    ready() {},
    read: (bytes) => {
      unread += bytes;
    },
    closed() {},
  };
  return { stream: (id) => new H2Stream(id, host, 65535), updates, unread: () => unread };
}

describe("receive windows", () => {
  test("nothing is acknowledged before the reader takes it, then in steps of a quarter", () => {
    const { stream, updates } = setUp();
    const s = stream(1);
    s.received(900);
    assert.deepEqual(updates, []);
    s.consume(200);
    assert.deepEqual(updates, []);
    s.consume(100);
    assert.deepEqual(updates, [[1, 300]]);
    assert.throws(() => s.received(401), H2StreamError);
  });

  test("a message that the window has no room for gets room at once", () => {
    const { stream, updates } = setUp();
    const s = stream(1);
    // 200 bytes taken but not acknowledged yet; the next message needs more than the 800 left.
    s.received(200);
    s.consume(200);
    assert.deepEqual(updates, []);
    s.received(10);
    s.expect(950, 940);
    assert.deepEqual(updates, [[1, 200]]);
  });

  test("a message larger than the window gets its rest, and the window shrinks back", () => {
    const { stream, updates } = setUp();
    const s = stream(1);
    s.received(100);
    s.expect(5000, 4900);
    assert.deepEqual(updates, [[1, 4000]]);
    s.received(4900);
    s.complete();
    s.consume(5000);
    assert.deepEqual(updates[1], [1, 1000]);
    assert.throws(() => s.received(1001), H2StreamError);
  });

  test("large messages share a budget, first come first served; the end of one lets the next in", () => {
    const { stream, updates } = setUp(10_000);
    const [a, b, c] = [stream(1), stream(3), stream(5)];
    for (const s of [a, b, c]) {
      s.received(100);
      s.expect(6000, 5900);
    }
    assert.deepEqual(updates, [[1, 5000]]);
    a.reset(8);
    assert.deepEqual(updates[1], [3, 5000]);
    b.received(5900);
    b.complete();
    assert.deepEqual(updates[2], [5, 5000]);
  });

  test("a message larger than the whole budget is let in alone", () => {
    const { stream, updates } = setUp(2000);
    const s = stream(1);
    s.received(10);
    s.expect(6000, 5990);
    assert.deepEqual(updates, [[1, 5000]]);
  });

  test("a closed stream gives back what was unread", () => {
    const { stream, unread } = setUp();
    const s = stream(1);
    s.received(500);
    s.consume(100);
    s.reset(8);
    s.consume(400);
    assert.equal(unread(), 500);
  });
});

test("a flood guard lets bursts pass, then refuses; work forgives", () => {
  const guard = new FloodGuard("frames", 10, 0.001);
  for (let i = 0; i < 10; i++) guard.hit();
  assert.throws(() => guard.hit(), /too many frames/);
  guard.forgive();
  guard.hit();
});
