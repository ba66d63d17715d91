import assert from "node:assert/strict";
import { test } from "node:test";
import { AsyncQueue, QueueClosedError } from "./async-queue.ts";
import { base64Decode, base64Encode, hexDecode, hexEncode } from "./bytes.ts";
import { formatAge, formatDuration, formatSize, parseDuration, parseSize } from "./human.ts";
import { KeyedMutex } from "./keyed-mutex.ts";
import { lazyAsync } from "./lazy.ts";
import { retry } from "./retry.ts";
import { Semaphore } from "./semaphore.ts";
import { SingleFlight } from "./single-flight.ts";
import { formatRfc3339, nowNs, parseRfc3339, splitNs } from "./time.ts";
import { UndoStack } from "./undo-stack.ts";

test("durations as Go writes and reads them", () => {
  const pairs: [string, bigint][] = [
    ["1m30s", 90_000_000_000n],
    ["0s", 0n],
    ["1.5ms", 1_500_000n],
    ["2h0m0.5s", 7_200_500_000_000n],
    ["-3s", -3_000_000_000n],
    ["999ns", 999n],
  ];
  for (const [text, ns] of pairs) {
    assert.equal(formatDuration(ns), text);
    assert.equal(parseDuration(text), ns);
  }
  assert.equal(parseDuration("1.5h"), 5_400_000_000_000n);
  for (const bad of ["", "3", "s", "1x", "1 s", ".s"]) assert.throws(() => parseDuration(bad), SyntaxError);
});

test("sizes", () => {
  assert.equal(formatSize(56_728_000), "54.1 MiB");
  assert.equal(formatSize(0), "0.0 B");
  assert.equal(parseSize("1.5GiB"), 1_610_612_736n);
  assert.equal(parseSize("64m"), 67_108_864n);
  assert.throws(() => parseSize("1x"), SyntaxError);
  assert.equal(formatAge(90_000_000_000n), "About a minute");
});

test("times", () => {
  assert.equal(formatRfc3339(1_234_567_890_120_000_000n), "2009-02-13T23:31:30.12Z");
  assert.equal(parseRfc3339("2009-02-13T23:31:30.12Z"), 1_234_567_890_120_000_000n);
  assert.equal(parseRfc3339("2009-02-14T00:31:30.000000001+01:00"), 1_234_567_890_000_000_001n);
  assert.equal(parseRfc3339(formatRfc3339(-1n)), -1n);
  assert.deepEqual(splitNs(-1n), { seconds: -1n, nanos: 999_999_999 });
  assert.throws(() => parseRfc3339("yesterday"), SyntaxError);
  const a = nowNs();
  assert.ok(nowNs() >= a);
});

test("bytes", () => {
  assert.equal(hexEncode(hexDecode("00ff10")), "00ff10");
  assert.throws(() => hexDecode("0"), SyntaxError);
  assert.deepEqual([...base64Decode("AQI")], [1, 2]);
  assert.equal(base64Encode(new Uint8Array([1, 2])), "AQI=");
});

test("semaphore: order, abort, release once", async () => {
  const semaphore = new Semaphore(1);
  const first = await semaphore.acquire();
  const order: number[] = [];
  const abort = new AbortController();
  const second = semaphore.acquire(abort.signal).catch((error: unknown) => error);
  const third = semaphore.acquire().then((permit) => {
    order.push(3);
    return permit;
  });
  abort.abort(new Error("gone"));
  assert.equal(((await second) as Error).message, "gone");
  first[Symbol.dispose]();
  first[Symbol.dispose]();
  const permit = await third;
  assert.equal(semaphore.available, 0);
  permit[Symbol.dispose]();
  assert.equal(semaphore.available, 1);
  assert.deepEqual(order, [3]);
});

test("keyed mutex frees its keys", async () => {
  const mutex = new KeyedMutex();
  let inside = 0;
  await Promise.all(
    Array.from({ length: 20 }, (_, index) =>
      mutex.run(`k${index % 2}`, async () => {
        inside++;
        assert.ok(inside <= 2);
        await Promise.resolve();
        inside--;
      }),
    ),
  );
  assert.equal(mutex.size, 0);
  const held = mutex.tryAcquire("a");
  assert.equal(mutex.tryAcquire("a"), undefined);
  held?.[Symbol.dispose]();
  assert.equal(mutex.isLocked("a"), false);
});

test("undo runs newest first, goes on after a failure, and not after commit", async () => {
  const seen: string[] = [];
  const failures: unknown[] = [];
  {
    await using undo = new UndoStack((error) => failures.push(error));
    undo.push(() => seen.push("a"));
    undo.push(() => {
      throw new Error("b");
    });
    undo.push(async () => seen.push("c"));
  }
  assert.deepEqual(seen, ["c", "a"]);
  assert.equal(failures.length, 1);
  {
    await using undo = new UndoStack();
    undo.push(() => seen.push("x"));
    undo.commit();
  }
  assert.deepEqual(seen, ["c", "a"]);
});

test("queue: order, backpressure, close, fail, leaving early", async () => {
  const queue = new AsyncQueue<number>(1);
  const writer = (async () => {
    for (let index = 0; index < 200; index++) await queue.push(index);
    queue.close();
  })();
  let next = 0;
  for await (const item of queue) assert.equal(item, next++);
  await writer;
  assert.equal(next, 200);
  const failing = new AsyncQueue<number>(2);
  await failing.push(1);
  failing.fail(new Error("broken"));
  await assert.rejects(async () => {
    for await (const item of failing) assert.equal(item, 1);
  }, /broken/);
  const left = new AsyncQueue<number>(1);
  await left.push(1);
  const blocked = left.push(2);
  const rejected = assert.rejects(
    async () => {
      await blocked;
      await left.push(3);
      await left.push(4);
    },
    (error: unknown) => error instanceof QueueClosedError,
  );
  for await (const _ of left) break;
  await rejected;
});

test("retry stops at attempts, honours retryable; lazyAsync and single flight share", async () => {
  let tries = 0;
  const result = await retry(
    (attempt) => {
      tries++;
      if (attempt < 3) throw new Error("no");
      return "yes";
    },
    { initialDelayMs: 0 },
  );
  assert.equal(result, "yes");
  assert.equal(tries, 3);
  await assert.rejects(
    retry(
      () => {
        tries++;
        throw new Error("never");
      },
      { retryable: () => false },
    ),
  );
  assert.equal(tries, 4);
  let made = 0;
  const get = lazyAsync(async () => ++made);
  assert.deepEqual(await Promise.all([get(), get()]), [1, 1]);
  const flight = new SingleFlight<string, number>();
  assert.deepEqual(
    await Promise.all([flight.run("a", async () => ++made), flight.run("a", async () => ++made)]),
    [2, 2],
  );
  assert.equal(flight.size, 0);
});
