import assert from "node:assert/strict";
import { test } from "node:test";
import { codeOf } from "../../core/errors.ts";
import { noLog } from "../../core/log.ts";
import { EventFanout } from "./events.ts";

const never = new AbortController().signal;

test("every reader gets every event, in order", async () => {
  const fanout = new EventFanout<number>(noLog);
  const readers = [fanout.read(never), fanout.read(never)];
  const first = readers.map((reader) => reader.next());
  for (const event of [1, 2, 3]) fanout.publish(event);
  assert.deepEqual(await Promise.all(first), [
    { value: 1, done: false },
    { value: 1, done: false },
  ]);
  for (const reader of readers) {
    assert.equal((await reader.next()).value, 2);
    assert.equal((await reader.next()).value, 3);
    await reader.return();
  }
  assert.equal(fanout.readers, 0);
});

test("events without a reader are held for five minutes, then dropped and counted", async () => {
  const fanout = new EventFanout<string>(noLog);
  fanout.publish("old", 0);
  fanout.publish("young", 200_000);
  const reader = fanout.read(never, 300_001);
  assert.equal((await reader.next()).value, "young");
  await reader.return();
  assert.equal(fanout.dropped, 1);
  // handed out once
  fanout.publish("next", 300_002);
  const again = fanout.read(never, 300_003);
  assert.equal((await again.next()).value, "next");
  await again.return();
});

test("a reader that does not read is cut off and told so; others go on", async () => {
  const fanout = new EventFanout<number>(noLog);
  const slow = fanout.read(never);
  const fast = fanout.read(never);
  const waiting = slow.next();
  let got = fast.next();
  for (let event = 0; event < 25_000; event++) {
    fanout.publish(event);
    assert.equal((await got).value, event);
    got = fast.next();
  }
  assert.equal((await waiting).value, 0);
  await assert.rejects(
    (async () => {
      for await (const _ of slow);
    })(),
    (err) => codeOf(err) === "resource-exhausted",
  );
  fanout.publish(-1);
  assert.equal((await got).value, -1);
  assert.equal(fanout.dropped, 1);
});

test("the end of the caller ends its reading", async () => {
  const fanout = new EventFanout<number>(noLog);
  const caller = new AbortController();
  const next = fanout.read(caller.signal).next();
  caller.abort();
  assert.equal((await next).done, true);
  assert.equal(fanout.readers, 0);
});
