import assert from "node:assert/strict";
import { test } from "node:test";
import { background } from "../../core/call.ts";
import { codeOf, messageOf } from "../../core/errors.ts";
import { Creations } from "./creations.ts";

/** Work that the test ends. */
function gate(): {
  work: () => Promise<void>;
  open: () => void;
  fail: (err: Error) => void;
  runs: () => number;
} {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  let runs = 0;
  return {
    work: async () => {
      runs++;
      await promise;
    },
    open: () => resolve(),
    fail: reject,
    runs: () => runs,
  };
}

test("an identical request joins the running creation; another one is told who has the name", async () => {
  const names = new Creations("sandbox");
  const g = gate();
  const first = names.run(background, "n", "same", "id1", g.work);
  const second = names.run(background, "n", "same", "id2", g.work);
  await assert.rejects(names.run(background, "n", "other", "id3", g.work), (err) => {
    assert.equal(codeOf(err), "failed-precondition");
    assert.match(messageOf(err), /failed to reserve sandbox name "n": name "n" is reserved for "id1"/);
    return true;
  });
  g.open();
  assert.deepEqual(await Promise.all([first, second]), ["id1", "id1"]);
  assert.equal(g.runs(), 1);
  await assert.rejects(names.run(background, "n", "same", "id4", g.work), /is reserved for "id1"/);
});

test("a caller that gives up hears the step; its identical retry gets what was made, once", async () => {
  const names = new Creations("container");
  const g = gate();
  const caller = new AbortController();
  const lost = names.run(background.until(caller.signal), "n", "same", "id1", async (progress) => {
    progress.step = "cni add";
    await g.work();
  });
  caller.abort(new DOMException("late", "TimeoutError"));
  await assert.rejects(lost, (err) => {
    assert.equal(codeOf(err), "deadline-exceeded");
    assert.match(messageOf(err), /create container "n": still at "cni add"/);
    return true;
  });
  g.open();
  // the work ends some turns later
  for (let i = 0; i < 10; i++) await Promise.resolve();
  assert.equal(await names.run(background, "n", "same", "id2", g.work), "id1");
  await assert.rejects(names.run(background, "n", "same", "id3", g.work), /is reserved for "id1"/);
  assert.equal(g.runs(), 1);
});

test("a caller whose deadline is about to pass counts as one who gave up", async () => {
  const names = new Creations("sandbox");
  assert.equal(await names.run(background.within(200), "n", "same", "id1", async () => {}), "id1");
  // and so does the one who comes for it
  assert.equal(await names.run(background.within(200), "n", "same", "id2", async () => {}), "id1");
  assert.equal(await names.run(background.within(60_000), "n", "same", "id2", async () => {}), "id1");
  await assert.rejects(
    names.run(background, "n", "same", "id3", async () => {}),
    /is reserved for "id1"/,
  );
});

test("work that failed frees its name at once; so does the removal of the object", async () => {
  const names = new Creations("sandbox");
  const g = gate();
  const first = names.run(background, "n", "a", "id1", g.work);
  g.fail(new Error("no image"));
  await assert.rejects(first, /no image/);
  assert.equal(await names.run(background, "n", "b", "id2", async () => {}), "id2");
  names.release("n", "somebody else's");
  await assert.rejects(
    names.run(background, "n", "c", "id3", async () => {}),
    /reserved for "id2"/,
  );
  names.release("n", "id2");
  assert.equal(await names.run(background, "n", "c", "id3", async () => {}), "id3");
});

test("names of an earlier life are taken once", () => {
  const names = new Creations("sandbox");
  assert.ok(names.take("n", "id1"));
  assert.ok(names.take("n", "id1"));
  assert.ok(!names.take("n", "id2"));
});
