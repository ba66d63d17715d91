/** The lock of a root folder, as a daemon finds it that starts. */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { lockRoot } from "./lock.ts";

function folder(t: { after: (work: () => void) => void }): { root: string; path: string } {
  const root = mkdtempSync(join(tmpdir(), "gantry-lock-"));
  t.after(() => rmSync(root, { recursive: true }));
  return { root, path: join(root, "gantry.lock") };
}

/** A process that holds the lock until its stdin ends, and does not say so in the file. */
async function holder(path: string) {
  const child = spawn("flock", [path, "sh", "-c", "echo held; cat"], { stdio: ["pipe", "pipe", "ignore"] });
  await once(child.stdout, "data");
  return child;
}

test("a lock that a killed daemon's child still holds is waited for", async (t) => {
  const { root, path } = folder(t);
  // a pid that was somebody's and is nobody's
  writeFileSync(path, `${spawnSync("true").pid}\n`);
  const child = await holder(path);
  const taking = lockRoot(root);
  child.stdin.end();
  using _lock = await taking;
  assert.equal(readFileSync(path, "utf8"), `${process.pid}\n`);
});

test("a daemon that runs is not waited for, and its lock is left alone", async (t) => {
  const { root, path } = folder(t);
  writeFileSync(path, `${process.pid}\n`);
  const child = await holder(path);
  t.after(() => void child.kill());
  await assert.rejects(lockRoot(root), /another daemon uses this root/);
  assert.equal(child.exitCode, null);
  assert.equal(readFileSync(path, "utf8"), `${process.pid}\n`);
});
