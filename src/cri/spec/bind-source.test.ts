import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { isDeadlineExceeded } from "../../core/errors.ts";
import { type MountInfo, readMountInfo } from "../../platform/mounts/mountinfo.ts";
import { setMainScript } from "../../platform/runtime.ts";
import { MNT_DETACH, O_RDWR } from "../../platform/syscalls/constants.ts";
import { close, open } from "../../platform/syscalls/files.ts";
import { mount, umount2 } from "../../platform/syscalls/mount.ts";
import { bindSource, resolveLocal } from "./bind-source.ts";

setMainScript(new URL("../../main.ts", import.meta.url).pathname);
const dir = mkdtempSync(join(tmpdir(), "gantry-bind-source-"));
after(() => rmSync(dir, { recursive: true, force: true }));
mkdirSync(join(dir, "real/sub"), { recursive: true });
writeFileSync(join(dir, "real/file"), "");
symlinkSync("real", join(dir, "link"));
symlinkSync(`${dir}/link/../link/sub`, join(dir, "far"));
symlinkSync("loop", join(dir, "loop"));
symlinkSync("gone", join(dir, "dangling"));
const table = readMountInfo();
const canFuse = process.geteuid?.() === 0 && existsSync("/dev/fuse");

test("links are followed, folders are made", async () => {
  const cases: Record<string, string> = {
    real: "real",
    "link/sub": "real/sub",
    far: "real/sub",
    "./real//file": "real/file",
    "real/sub/../file": "real/file",
    "made/deep/er": "made/deep/er",
  };
  for (const [path, want] of Object.entries(cases))
    assert.equal(await bindSource(`${dir}/${path}`, table), join(dir, want), path);
  assert.ok(existsSync(join(dir, "made/deep/er")));
  assert.equal(await bindSource("/", table), "/");
  assert.equal(await bindSource("/../..", table), "/");
});

test("what is no path to anything is an error, and nothing is made", async () => {
  await assert.rejects(bindSource(join(dir, "loop"), table), /too many links/);
  await assert.rejects(bindSource(join(dir, "dangling"), table), /failed to mkdir/);
  await assert.rejects(bindSource(join(dir, "real/file/x"), table), /failed to (stat|mkdir)/);
  assert.ok(!existsSync(join(dir, "gone")));
});

test("a path to a file system that may not answer is not touched", () => {
  const [root] = table;
  assert.ok(root !== undefined);
  const remote: MountInfo = { ...root, type: "nfs4", target: join(dir, "real") };
  for (const path of ["real", "real/not/there", "link/sub", "far"]) {
    const found = resolveLocal(`${dir}/${path}`, [...table, remote]);
    assert.equal(found.kind, "remote", path);
  }
  // what is mounted over it counts
  const over: MountInfo = { ...remote, type: "ext4" };
  assert.equal(resolveLocal(join(dir, "real"), [...table, remote, over]).kind, "found");
});

test("a file system that never answers: an error in time (R23)", { skip: !canFuse }, async () => {
  const target = join(dir, "hung");
  mkdirSync(target);
  const fuse = open("/dev/fuse", O_RDWR);
  // nobody reads the requests
  mount("hung", target, "fuse", 0, `fd=${fuse},rootmode=40000,user_id=0,group_id=0`);
  try {
    await assert.rejects(
      bindSource(join(target, "volume"), readMountInfo(), undefined, 1_000),
      (err: unknown) => {
        assert.ok(isDeadlineExceeded(err), String(err));
        assert.match(String(err), /the fuse file system at ".*hung" does not answer/);
        return true;
      },
    );
    await assert.rejects(
      bindSource(join(target, "volume"), readMountInfo(), AbortSignal.timeout(200)),
      /failed to stat/,
    );
  } finally {
    umount2(target, MNT_DETACH);
    close(fuse);
  }
});
