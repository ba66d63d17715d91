import assert from "node:assert/strict";
import { existsSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { noLog } from "../../src/core/log.ts";
import { createOutbox, readOutbox } from "./outbox.ts";

const event = (topic: string) => ({ topic, namespace: "n" });

test("events are on disk until the daemon took them, in order, retried after failures", async () => {
  const dir = mkdtempSync(join(tmpdir(), "outbox-"));
  try {
    const path = join(dir, "outbox");
    const taken: string[] = [];
    let up = false;
    const first = Promise.withResolvers<void>();
    const outbox = createOutbox(
      path,
      async (e) => {
        first.resolve();
        if (!up) throw new Error("down");
        taken.push(e.topic ?? "");
      },
      () => false,
      noLog,
    );
    for (const topic of ["/a", "/b", "/c"]) outbox.push(event(topic));
    await first.promise;
    assert.deepEqual(
      readOutbox(path).map((e) => e.topic),
      ["/a", "/b", "/c"],
    );
    up = true;
    await outbox.flush(10_000);
    assert.deepEqual(taken, ["/a", "/b", "/c"]);
    assert.equal(statSync(path).size, 0);
    outbox.close();
    assert.equal(existsSync(path), false);
  } finally {
    rmSync(dir, { recursive: true });
  }
});

test("a refused event does not block those behind it", async () => {
  const dir = mkdtempSync(join(tmpdir(), "outbox-"));
  try {
    const taken: string[] = [];
    const outbox = createOutbox(
      join(dir, "o"),
      async (e) => {
        if (e.topic === "/bad") throw new Error("refused");
        taken.push(e.topic ?? "");
      },
      () => true,
      noLog,
    );
    outbox.push(event("/bad"));
    outbox.push(event("/good"));
    await outbox.flush(10_000);
    assert.deepEqual(taken, ["/good"]);
    outbox.close();
  } finally {
    rmSync(dir, { recursive: true });
  }
});

test("a file that is left holds what was not acknowledged and nothing else, also after a move", async () => {
  const dir = mkdtempSync(join(tmpdir(), "outbox-"));
  try {
    const stuck = Promise.withResolvers<void>();
    const reached = Promise.withResolvers<void>();
    const outbox = createOutbox(
      join(dir, "first"),
      async (e) => {
        if (e.topic !== "/c") return;
        reached.resolve();
        await stuck.promise;
      },
      () => false,
      noLog,
    );
    for (const topic of ["/a", "/b", "/c", "/d"]) outbox.push(event(topic));
    await reached.promise;
    const topics = (name: string) => readOutbox(join(dir, name)).map((e) => e.topic);
    assert.deepEqual(topics("first"), ["/c", "/d"]);
    outbox.moveTo(join(dir, "second"));
    assert.equal(existsSync(join(dir, "first")), false);
    outbox.push(event("/e"));
    assert.deepEqual(topics("second"), ["/c", "/d", "/e"]);
    stuck.resolve();
    await outbox.flush(10_000);
    assert.deepEqual(topics("second"), []);
    outbox.close();
  } finally {
    rmSync(dir, { recursive: true });
  }
});
