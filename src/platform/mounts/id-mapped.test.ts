/** Needs root and Linux 5.19. */
import assert from "node:assert/strict";
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { openUserNamespace, parseIdRanges } from "../process/userns.ts";
import { close } from "../syscalls/files.ts";
import { withTempMount } from "./mounts.ts";

const dir = mkdtempSync(join(tmpdir(), "gantry-idmap-test-"));
after(() => rmSync(dir, { recursive: true, force: true }));
for (const name of ["l1", "l2", "upper", "work"]) mkdirSync(join(dir, name));
writeFileSync(join(dir, "l1/one"), "1");
writeFileSync(join(dir, "l2/two"), "2");
chmodSync(join(dir, "l2/two"), 0o4755);
const maps = ["uidmap=0:65536:1000", "gidmap=0:131072:1000"];
const left = (): string[] => readdirSync(tmpdir()).filter((n) => /^gantry-idmap-(?!test)/.test(n));

const root = { skip: process.geteuid?.() === 0 ? false : "needs root" };

test("overlay: lower layers show shifted owners, writes go up with theirs", root, async () => {
  const before = left();
  const options = [...maps, `workdir=${dir}/work`, `upperdir=${dir}/upper`, `lowerdir=${dir}/l2:${dir}/l1`];
  await withTempMount([{ type: "overlay", source: "overlay", target: "", options }], (path) => {
    for (const name of ["one", "two"]) {
      const { uid, gid } = statSync(join(path, name));
      assert.deepEqual([uid, gid], [65536, 131072]);
    }
    // copied up with the owner it shows
    chmodSync(join(path, "one"), 0o600);
  });
  assert.deepEqual([statSync(join(dir, "upper/one")).uid, statSync(join(dir, "l1/one")).uid], [65536, 0]);
  assert.deepEqual(left(), before);
});

test("bind: shifted and read-only", root, async () => {
  const options = ["ro", "rbind", ...maps];
  await withTempMount([{ type: "bind", source: join(dir, "l2"), target: "", options }], (path) => {
    const { uid, gid, mode } = statSync(join(path, "two"));
    assert.deepEqual([uid, gid, mode & 0o7777], [65536, 131072, 0o4755]);
    assert.throws(() => writeFileSync(join(path, "new"), ""), /EROFS/);
  });
});

test("what cannot be shifted is refused, and nothing is left", root, async () => {
  const before = left();
  const mount = (type: string, options: readonly string[]): Promise<void> =>
    withTempMount([{ type, source: join(dir, "l1"), target: "", options }], () => {});
  await assert.rejects(mount("tmpfs", maps), /owners cannot be shifted/);
  await assert.rejects(mount("bind", ["uidmap=0:1", "gidmap=0:0:1"]), /must be inside:outside:size/);
  await assert.rejects(mount("bind", ["uidmap=0:65536:1000"]), /must be inside:outside:size/);
  assert.deepEqual(left(), before);
});

test("user namespaces leave no processes behind", root, () => {
  const children = (): number =>
    readdirSync("/proc").filter((name) => {
      if (!/^\d+$/.test(name)) return false;
      try {
        return statSync(`/proc/${name}`).isDirectory() && parentOf(name) === process.pid;
      } catch {
        return false;
      }
    }).length;
  const before = children();
  for (let i = 0; i < 20; i++)
    close(
      openUserNamespace([{ inside: 0, outside: 1000, size: 10 }], [{ inside: 0, outside: 1000, size: 10 }]),
    );
  assert.equal(children(), before);
  assert.throws(
    () => openUserNamespace([{ inside: 0, outside: 2 ** 32 - 1, size: 10 }], []),
    (err: unknown) => err instanceof Error && "code" in err,
  );
  assert.equal(children(), before);
});

function parentOf(pid: string): number {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  return Number(/^PPid:\s*(\d+)/m.exec(status)?.[1]);
}

test("ranges", () => {
  assert.deepEqual(parseIdRanges("0:5:1,1:9:2"), [
    { inside: 0, outside: 5, size: 1 },
    { inside: 1, outside: 9, size: 2 },
  ]);
  for (const bad of ["", "0:5", "0:5:0", "0:4294967295:2", "-1:0:1", "0:5:1,"])
    assert.equal(parseIdRanges(bad), undefined);
});
