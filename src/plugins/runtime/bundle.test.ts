import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { sleep } from "../../lib/retry.ts";
import {
  bundleOf,
  createBundle,
  deleteBundle,
  listBundles,
  NO_STDIO,
  readAddress,
  readStdio,
  sandboxOf,
  shimPathOf,
  writeAddress,
  writeStdio,
} from "./bundle.ts";

const stdio = { stdin: "", stdout: "/run/out", stderr: "/run/err", terminal: true };
const address = { version: 3, address: "/run/s/one", protocol: "ttrpc" };

function folders(t: { after: (work: () => void) => void }) {
  const dir = mkdtempSync(join(tmpdir(), "gantry-bundle-"));
  t.after(() => rmSync(dir, { recursive: true }));
  return (id: string) => bundleOf(join(dir, "state"), join(dir, "root"), "ns", id);
}

test("a bundle of our shim is few files, and keeps what a daemon must know", async (t) => {
  const bundle = folders(t)("one");
  await createBundle(bundle, new TextEncoder().encode("{}"), { remapped: false, own: true });
  writeAddress(bundle, address, "/usr/bin/gantry", { stdio, sandbox: "pod" });
  assert.deepEqual(readdirSync(bundle.path).sort(), ["bootstrap.json", "config.json", "rootfs"]);
  assert.deepEqual(readAddress(bundle), address);
  assert.deepEqual(readStdio(bundle), stdio);
  assert.equal(sandboxOf(bundle), "pod");
  assert.equal(shimPathOf(bundle), undefined);
  const state = join(bundle.path, "../..");
  assert.deepEqual(await listBundles(state, join(bundle.work, "../..")), [bundle]);
  await deleteBundle(bundle);
  assert.deepEqual(readdirSync(join(state, "ns")), []);
});

test("other shims find what containerd makes, and their streams are known before their address", async (t) => {
  const bundle = folders(t)("two");
  await createBundle(bundle, new TextEncoder().encode("{}"), { remapped: false, own: false });
  writeStdio(bundle, stdio);
  assert.deepEqual(readStdio(bundle), stdio);
  writeAddress(bundle, address, "/opt/containerd-shim-other-v1");
  assert.deepEqual(readStdio(bundle), stdio);
  assert.equal(sandboxOf(bundle), undefined);
  assert.deepEqual(readdirSync(bundle.path).sort(), [
    "bootstrap.json",
    "config.json",
    "rootfs",
    "shim-binary-path",
    "stdio.json",
    "work",
  ]);
  await deleteBundle(bundle);
});

test("bundles of earlier versions are read: streams and sandbox in files of their own", async (t) => {
  const bundle = folders(t)("three");
  await createBundle(bundle, new Uint8Array(), { remapped: false, own: true });
  assert.deepEqual(readStdio(bundle), NO_STDIO);
  writeAddress(bundle, address, "/usr/bin/gantry");
  writeFileSync(join(bundle.path, "stdio.json"), JSON.stringify(stdio));
  writeFileSync(join(bundle.path, "sandbox"), "pod");
  assert.deepEqual(readStdio(bundle), stdio);
  assert.equal(sandboxOf(bundle), "pod");
});

test("an id that is no identifier makes no bundle, and removes nothing", async (t) => {
  const make = folders(t);
  const canary = join(make("one").path, "../../../canary/file");
  mkdirSync(join(canary, ".."));
  writeFileSync(canary, "");
  for (const id of ["", ".", "..", "../../canary", "a/../../../canary", "a/b", `${"a".repeat(77)}`]) {
    const use = { remapped: false, own: true };
    await assert.rejects(createBundle(make(id), new Uint8Array(), use), { code: "invalid-argument" });
    assert.ok(existsSync(canary), id);
  }
});

test("a bundle that cannot be made leaves nothing", async (t) => {
  const bundle = folders(t)("three");
  const root = join(bundle.work, "../..");
  // where its folder on disk is to be
  writeFileSync(root, "");
  await assert.rejects(
    createBundle(bundle, new Uint8Array(), { remapped: false, own: false }),
    /ENOTDIR|not a directory/i,
  );
  assert.equal(existsSync(bundle.path), false);
  assert.deepEqual(readdirSync(join(bundle.path, "..")), []);
});

test("what cannot be removed is out of sight, and removed later (needs root)", {
  skip: process.getuid?.() !== 0,
}, async (t) => {
  const bundle = folders(t)("four");
  await createBundle(bundle, new Uint8Array(), { remapped: false, own: true });
  const busy = join(bundle.path, "busy");
  mkdirSync(busy);
  assert.equal(spawnSync("mount", ["-t", "tmpfs", "none", busy]).status, 0);
  const parent = join(bundle.path, "..");
  await assert.rejects(deleteBundle(bundle), /EBUSY|busy/i);
  const [hidden] = readdirSync(parent);
  assert.match(hidden ?? "", /^\.four\./);
  assert.deepEqual(await listBundles(join(parent, ".."), join(bundle.work, "../..")), []);
  assert.equal(spawnSync("umount", [join(parent, hidden ?? "", "busy")]).status, 0);
  for (let look = 0; look < 500 && readdirSync(parent).length > 0; look++) await sleep(10);
  assert.deepEqual(readdirSync(parent), []);
});
