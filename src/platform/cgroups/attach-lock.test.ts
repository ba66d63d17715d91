import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { warmAttachLock, withWarmAttachLock } from "./attach-lock.ts";

test("warming the lock leaves this process where it is, also when asked twice at once", async () => {
  const before = readFileSync("/proc/self/cgroup", "utf8");
  await Promise.all([warmAttachLock(), warmAttachLock()]);
  assert.equal(readFileSync("/proc/self/cgroup", "utf8"), before);
});

test("kept warm while work is under way: its result and its failure pass through, nothing moves, nothing goes on after it", async (t) => {
  const before = readFileSync("/proc/self/cgroup", "utf8");
  const set = t.mock.method(globalThis, "setInterval");
  const cleared = t.mock.method(globalThis, "clearInterval");
  const timers = (): number => set.mock.callCount() - cleared.mock.callCount();
  const first = Promise.withResolvers<number>();
  const second = Promise.withResolvers<number>();
  const both = [withWarmAttachLock(first.promise), withWarmAttachLock(second.promise)] as const;
  assert.equal(timers(), 1);
  first.resolve(1);
  assert.equal(await both[0], 1);
  assert.equal(timers(), 1);
  second.reject(new Error("no"));
  await assert.rejects(both[1], /no/);
  assert.equal(timers(), 0);
  assert.equal(readFileSync("/proc/self/cgroup", "utf8"), before);
});
