import assert from "node:assert/strict";
import { test } from "node:test";
import { Backoff } from "./backoff.ts";

test("the wait doubles while it ends soon, up to the longest, and begins anew after a long run", () => {
  let now = 0;
  const backoff = new Backoff(10_000, () => now);
  const waits: number[] = [];
  for (let i = 0; i < 9; i++) {
    waits.push(backoff.next("a", 1));
    backoff.started("a");
    now += 50;
  }
  assert.deepEqual(waits, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
  now += 10_000;
  assert.equal(backoff.next("a", 1), 100);
  assert.equal(backoff.next("b", 1), 100);
  backoff.started("b");
  backoff.forget("b");
  assert.equal(backoff.next("b", 1), 100);
  assert.deepEqual(
    [137, 143, 128].map((status) => backoff.next("d", status)),
    [1_000, 1_000, 100],
  );
  assert.equal(new Backoff(20).next("c", 1), 20);
});
