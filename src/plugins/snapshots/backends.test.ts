/** Runs the backends on this machine's file system with real mounts: needs root. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { background, type NamespacedCall } from "../../core/call.ts";
import { noLog } from "../../core/log.ts";
import type { BackendSnapshot, SnapshotBackend } from "../../core/snapshots/snapshotter.ts";
import { withTempMount } from "../../platform/mounts/mounts.ts";
import { setMainScript } from "../../platform/runtime.ts";
import { SnapshotDirectories } from "./directories.ts";
import { NativeBackend } from "./native.ts";
import { OverlayBackend } from "./overlayfs.ts";

setMainScript(new URL("../../main.ts", import.meta.url).pathname);
const call = background as NamespacedCall;
const base = mkdtempSync(join(tmpdir(), "gantry-backends-"));
after(() => rmSync(base, { recursive: true, force: true }));
const isRoot = process.getuid?.() === 0;

function snap(id: number, kind: BackendSnapshot["kind"], ...parents: number[]): BackendSnapshot {
  return { id: BigInt(id), kind, parents: parents.map(BigInt), labels: new Map() };
}

async function directories(name: string): Promise<SnapshotDirectories> {
  const dirs = new SnapshotDirectories(join(base, name), noLog, false);
  await dirs.open();
  return dirs;
}

const config = { rootPath: "", upperdirLabel: true, syncRemove: false, slowChown: false, mountOptions: [] };

async function roundTrip(backend: SnapshotBackend, dirs: SnapshotDirectories): Promise<void> {
  await backend.create(call, snap(1, "active"));
  const first = await backend.mounts(call, snap(1, "active"));
  assert.equal(first[0]?.type, "bind");
  assert.deepEqual(first[0]?.options, ["rw", "rbind"]);
  await withTempMount(first, (path) => {
    mkdirSync(join(path, "d"));
    writeFileSync(join(path, "d/a"), "one");
    chmodSync(join(path, "d/a"), 0o4755);
    chownSync(path, 7, 8);
    chmodSync(path, 0o751);
  });
  await backend.commit(call, snap(1, "active"), true);
  await backend.create(call, snap(2, "active", 1));
  const second = await backend.mounts(call, snap(2, "active", 1));
  await withTempMount(second, (path) => {
    assert.equal(statSync(path).mode & 0o7777, 0o751);
    assert.equal(statSync(path).gid, 8);
    assert.equal(readFileSync(join(path, "d/a"), "utf8"), "one");
    assert.equal(statSync(join(path, "d/a")).mode & 0o7777, 0o4755);
    writeFileSync(join(path, "d/a"), "two");
  });
  await backend.create(call, snap(3, "view", 1));
  await withTempMount(await backend.mounts(call, snap(3, "view", 1)), (path) => {
    assert.equal(readFileSync(join(path, "d/a"), "utf8"), "one");
    assert.throws(() => writeFileSync(join(path, "x"), ""), /EROFS/);
  });
  await backend.create(call, snap(4, "view", 2, 1));
  await withTempMount(await backend.mounts(call, snap(4, "view", 2, 1)), (path) => {
    assert.equal(readFileSync(join(path, "d/a"), "utf8"), "two");
    assert.throws(() => writeFileSync(join(path, "x"), ""), /EROFS/);
  });
  const usage = await backend.usage(call, snap(1, "committed"));
  assert.equal(usage.inodes, 3n);
  assert.ok(usage.size >= 4096n);
  // A crash may leave a directory of this id behind.
  await backend.create(call, snap(4, "active"));
  assert.deepEqual((await backend.ids(call)).sort(), [1n, 2n, 3n, 4n]);
  for (const id of [4n, 3n, 2n, 1n, 99n]) await backend.remove(call, id);
  assert.deepEqual(await backend.ids(call), []);
  await dirs.settled();
  assert.deepEqual(execFileSync("ls", ["-A", join(dirs.root, "snapshots")], { encoding: "utf8" }), "");
}

test("overlayfs: prepare, view, copy on write, usage, remove", { skip: !isRoot }, async () => {
  const dirs = await directories("overlay");
  const backend = new OverlayBackend(dirs, config, ["index=off"]);
  await roundTrip(backend, dirs);
  assert.equal(statSync(dirs.root).mode & 0o7777, 0o700);
  assert.equal(
    backend.extraLabels(snap(5, "active")).get("containerd.io/snapshot/overlay.upperdir"),
    dirs.path(5n, "fs"),
  );
});

test("native: prepare, view, copy on write, usage, remove", { skip: !isRoot }, async () => {
  const dirs = await directories("native");
  await roundTrip(new NativeBackend(dirs), dirs);
});

test("native: a copy keeps hard links, holes, attributes, times and nodes", { skip: !isRoot }, async () => {
  const dirs = await directories("copy");
  const backend = new NativeBackend(dirs);
  await backend.create(call, snap(1, "active"));
  const from = dirs.path(1n);
  execFileSync("sh", [
    "-ec",
    `cd "$1"
    mkdir -p a/b; echo x >a/x; ln a/x a/y; ln -s ../nowhere a/l; mkfifo a/f; mknod a/n c 1 3
    truncate -s 10M a/sparse; echo end >>a/sparse
    chown 5:6 a/x; chmod 2755 a/b; touch -h -d @1234.567891234 a/l a/x a/b a
    setfattr -n user.k -v v a/x 2>/dev/null || true`,
    "sh",
    from,
  ]);
  await backend.create(call, snap(2, "active", 1));
  const list = (dir: string): string =>
    execFileSync("find", [".", "-printf", "%P %M %U %G %n %s %T@ %l\n"], { cwd: dir, encoding: "utf8" })
      .split("\n")
      .sort()
      .join("\n");
  assert.equal(list(dirs.path(2n)), list(from));
  const blocks = statSync(dirs.path(2n, "a/sparse")).blocks;
  assert.ok(blocks < 1000, `sparse file takes ${blocks} blocks`);
  await dirs.close();
});

test("a tree far deeper than a path can say is removed", { skip: !isRoot }, async () => {
  const dirs = await directories("deep");
  await dirs.create(1n, async () => {});
  execFileSync("python3", [
    "-c",
    `
import os,sys
os.chdir(sys.argv[1])
for i in range(6000):
    os.mkdir("d"); os.chdir("d")
`,
    dirs.path(1n),
  ]);
  await dirs.remove(call, 1n);
  assert.equal(existsSync(dirs.path(1n)), false);
  await dirs.settled();
  assert.deepEqual(await dirs.ids(), []);
  assert.equal(execFileSync("ls", ["-A", join(dirs.root, "snapshots")], { encoding: "utf8" }), "");
});
