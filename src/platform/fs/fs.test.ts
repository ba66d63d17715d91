import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statfsSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { text } from "../ffi/memory.ts";
import * as c from "../syscalls/constants.ts";
import { isErrno } from "../syscalls/errors.ts";
import { kernel as k } from "../syscalls/kernel.ts";
import { writeFileAtomic } from "./atomic-write.ts";
import { removeTree } from "./remove-tree.ts";
import { mkdirAllInRoot, openInRoot, resolveInRoot, walkInRoot } from "./safe-path.ts";
import { spreadFolders } from "./spread.ts";
import { tempDir } from "./tmp.ts";
import { diskUsage } from "./usage.ts";

const dir = mkdtempSync(join(tmpdir(), "gantry-fs-"));
after(() => rmSync(dir, { recursive: true, force: true }));

test("atomic write replaces, sets the mode and leaves nothing else", async () => {
  const place = join(dir, "atomic");
  mkdirSync(place);
  await writeFileAtomic(join(place, "f"), "one", { mode: 0o600 });
  await writeFileAtomic(join(place, "f"), new Uint8Array([50]), { mode: 0o640, durable: false });
  assert.equal(readFileSync(join(place, "f"), "utf8"), "2");
  assert.equal(statSync(join(place, "f")).mode & 0o777, 0o640);
  assert.deepEqual(readdirSync(place), ["f"]);
});

test("paths stay inside the root", () => {
  const jail = join(dir, "jail");
  mkdirSync(join(jail, "a/b"), { recursive: true });
  writeFileSync(join(jail, "inside"), "inside");
  writeFileSync(join(dir, "inside"), "OUTSIDE");
  symlinkSync("/inside", join(jail, "abs"));
  symlinkSync("../../../../../inside", join(jail, "a/b/up"));
  symlinkSync("loop", join(jail, "loop"));
  symlinkSync("/a/b", join(jail, "dir"));
  const rootFd = k.open(jail, c.O_PATH | c.O_DIRECTORY);
  const buffer = new Uint8Array(256);
  for (const path of ["abs", "a/b/up", "../inside", "dir/up", "a/../../inside", "/dir/../../inside"]) {
    assert.equal(resolveInRoot(jail, path), join(jail, "inside"), path);
    for (const opener of [openInRoot, walkInRoot]) {
      const fd = opener(rootFd, path, c.O_RDONLY);
      assert.equal(text(buffer, k.read(fd, buffer)), "inside", path);
      k.close(fd);
    }
  }
  for (const opener of [openInRoot, walkInRoot]) {
    assert.throws(
      () => opener(rootFd, "loop", c.O_RDONLY),
      (error: unknown) => isErrno(error, "ELOOP"),
    );
    assert.throws(
      () => opener(rootFd, "none/x", c.O_RDONLY),
      (error: unknown) => isErrno(error, "ENOENT"),
    );
  }
  assert.throws(
    () => resolveInRoot(jail, "loop"),
    (error: unknown) => isErrno(error, "ELOOP"),
  );
  k.close(mkdirAllInRoot(rootFd, "dir/new/../new/deep"));
  assert.ok(statSync(join(jail, "a/b/new/deep")).isDirectory());
  assert.throws(
    () => mkdirAllInRoot(rootFd, "inside/x"),
    (error: unknown) => isErrno(error, "ENOTDIR"),
  );
  k.close(rootFd);
});

test("remove tree: deep, wide, links not followed, nothing there", async () => {
  const top = join(dir, "tree");
  mkdirSync(top);
  writeFileSync(join(dir, "canary"), "");
  mkdirSync(join(dir, "canary-dir"));
  writeFileSync(join(dir, "canary-dir/f"), "");
  symlinkSync(join(dir, "canary-dir"), join(top, "link"));
  for (let index = 0; index < 300; index++) writeFileSync(join(top, `f${index}`), "");
  let fd = k.open(top, c.O_RDONLY | c.O_DIRECTORY);
  for (let depth = 0; depth < 3000; depth++) {
    k.mkdirat(fd, "d", 0o755);
    k.close(k.openat(fd, "file", c.O_CREAT | c.O_WRONLY, 0o600));
    const next = k.openat(fd, "d", c.O_RDONLY | c.O_DIRECTORY);
    k.close(fd);
    fd = next;
  }
  k.close(fd);
  const usage = await diskUsage(top);
  assert.equal(usage.inodes, 1n + 1n + 300n + 6000n);
  await removeTree(top);
  assert.deepEqual(
    readdirSync(dir).filter((name) => name === "tree"),
    [],
  );
  assert.ok(statSync(join(dir, "canary-dir/f")).isFile());
  await removeTree(top);
  await removeTree(join(dir, "canary"));
});

test("usage counts hard links once", async () => {
  await using place = await tempDir("usage-", dir);
  writeFileSync(join(place.path, "a"), new Uint8Array(100_000));
  const before = await diskUsage(place.path);
  linkSync(join(place.path, "a"), join(place.path, "b"));
  assert.deepEqual(await diskUsage(place.path), before);
  assert.ok(before.bytes >= 100_000n);
  assert.equal(before.inodes, 2n);
});

test("folders are told apart where the file system is ext4, and nowhere else is it an error", () => {
  const dir = mkdtempSync(join(tmpdir(), "gantry-spread-"));
  const memory = mkdtempSync("/dev/shm/gantry-spread-");
  try {
    const EXT4 = 0xef53;
    const is = statfsSync(dir).type === EXT4;
    assert.equal(spreadFolders(dir), is);
    assert.equal(spreadFolders(dir), is, "twice is fine");
    if (is) assert.match(execFileSync("lsattr", ["-d", dir], { encoding: "utf8" }), /^[^ ]*T/);
    assert.equal(spreadFolders(memory), false);
    assert.throws(() => spreadFolders(join(dir, "nowhere")), { code: "ENOENT" });
  } finally {
    rmSync(dir, { recursive: true });
    rmSync(memory, { recursive: true });
  }
});
