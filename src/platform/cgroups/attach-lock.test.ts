import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { warmAttachLock } from "./attach-lock.ts";

test("warming the lock leaves this process where it is, also when asked twice at once", async () => {
  const before = readFileSync("/proc/self/cgroup", "utf8");
  await Promise.all([warmAttachLock(), warmAttachLock()]);
  assert.equal(readFileSync("/proc/self/cgroup", "utf8"), before);
});
