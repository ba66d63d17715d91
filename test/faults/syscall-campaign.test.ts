/** Some faults at system calls of each operation; all of them are `bun test/faults/syscall-campaign.ts`. Needs root and strace. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { OPERATIONS } from "./campaign.ts";
import { syscallErrors } from "./syscall-errors.ts";
import { syscallKills } from "./syscall-kills.ts";

const skip =
  process.getuid?.() !== 0 || spawnSync("strace", ["-V"]).status !== 0 ? "needs root and strace" : false;

test("F2: killed at two system calls of each operation: nothing lost, nothing left", {
  skip,
  timeout: 170_000,
}, async () => {
  const operations = Object.keys(OPERATIONS);
  const log = (line: string): void => console.log(line);
  const result = await syscallKills({ operations, from: 3, step: 11, most: 2, keepers: 2, log });
  assert.deepEqual(result.faults, []);
  // a tracer that kills nobody finds nothing
  assert.deepEqual(Object.keys(result.points).sort(), operations.sort());
});

test("T5: system calls that fail: the daemon lives, nothing lost, nothing left", {
  skip,
  timeout: 170_000,
}, async () => {
  // an exec and a kill need no files of the daemon
  const operations = ["run", "run -d", "rm", "pull"];
  const log = (line: string): void => console.log(line);
  const result = await syscallErrors({ operations, from: 1, step: 13, most: 3, keepers: 2, log }, "EIO");
  assert.deepEqual(result.faults, []);
  assert.deepEqual(Object.keys(result.points).sort(), operations.sort());
});
