import assert from "node:assert/strict";
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { CachedFolder } from "./cached-file.ts";

const dir = mkdtempSync(join(tmpdir(), "gantry-cached-"));
after(() => rmSync(dir, { recursive: true }));
const path = (name: string): string => join(dir, name);

test("a small file that was just written is read whole, an empty one too", () => {
  const folder = new CachedFolder(dir);
  writeFileSync(path("small"), "hello");
  writeFileSync(path("empty"), "");
  assert.equal(new TextDecoder().decode(folder.read(path("small"), 5)), "hello");
  assert.equal(folder.read(path("empty"), 5)?.length, 0);
});

test("what is larger, missing or no file is left to the usual way", () => {
  const folder = new CachedFolder(dir);
  writeFileSync(path("large"), "123456");
  symlinkSync("/proc/self", path("dir"));
  assert.equal(folder.read(path("large"), 5), undefined);
  assert.equal(folder.read(path("none"), 5), undefined);
  assert.equal(folder.read(path("dir"), 5), undefined);
  assert.equal(new CachedFolder("/proc").read("/proc/version", 4096), undefined);
  assert.equal(new CachedFolder(path("none")).read(path("small"), 10), undefined);
});
