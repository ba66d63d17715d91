import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { bundleOf } from "./bundle.ts";
import { ShimLogs } from "./shim-logs.ts";

test("our own shims share a FIFO that has a name in every bundle; others have one each", (t) => {
  const state = mkdtempSync(join(tmpdir(), "gantry-shim-logs-"));
  t.after(() => rmSync(state, { recursive: true }));
  const inode = (id: string): number => {
    const stat = statSync(join(state, "ns", id, "log"));
    assert.ok(stat.isFIFO());
    return stat.ino;
  };
  const follow = (logs: ShimLogs, id: string, own: boolean): number => {
    mkdirSync(join(state, "ns", id), { recursive: true });
    logs.follow(bundleOf(state, state, "ns", id), own);
    return inode(id);
  };
  const logs = new ShimLogs(state);
  t.after(() => logs.endAll());
  logs.open();
  const shared = follow(logs, "one", true);
  assert.equal(follow(logs, "two", true), shared);
  assert.notEqual(follow(logs, "other", false), shared);

  const next = new ShimLogs(state);
  t.after(() => next.endAll());
  next.open();
  assert.equal(follow(next, "one", true), shared);
  assert.equal(follow(next, "three", true), shared);
  // as an earlier version made it
  assert.notEqual(follow(next, "other", true), shared);
});
