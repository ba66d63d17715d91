/** Mounts of block images: loop devices, file systems made on demand, EROFS; all real. Needs root and loop devices. */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { Call } from "../../core/call.ts";
import { codeOf, type ErrorCode } from "../../core/errors.ts";
import { parseNamespace } from "../../core/ids/namespace.ts";
import { noLog } from "../../core/log.ts";
import type { Mount } from "../../core/mounts/mount.ts";
import { attachedLoops, releaseLoop } from "../../platform/mounts/loop.ts";
import { mountsBelow, readMountInfo } from "../../platform/mounts/mountinfo.ts";
import { mountOne, unmountAll } from "../../platform/mounts/mounts.ts";
import { setMainScript } from "../../platform/runtime.ts";
import { FileMountManager } from "./manager.ts";
import { parseMkfs } from "./mkfs.ts";

setMainScript(new URL("../../main.ts", import.meta.url).pathname);
const able = process.getuid?.() === 0 && existsSync("/dev/loop-control");
const root = able ? {} : { skip: "needs root and loop devices" };
const has = (tool: string): boolean => spawnSync("which", [tool]).status === 0;
const call = new Call({}).in(parseNamespace("testing"));
const refused = (code: ErrorCode) => (err: unknown) => codeOf(err) === code;

let dir = "";
let state = "";
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "gantry-images-"));
  state = join(dir, "state");
});
afterEach(async () => {
  for (const point of mountsBelow(dir)) await unmountAll(point);
  for (const { path } of ours()) releaseLoop(path);
  rmSync(dir, { recursive: true, force: true });
});

/** Devices of files of this test. */
const ours = () => attachedLoops().filter(({ file }) => file.startsWith(`${dir}/`));
const mount = (type: string, source: string, options: string[] = []): Mount => ({
  type,
  source,
  target: "",
  options,
});
const request = (name: string, mounts: Mount[], temporary = false) => ({
  name,
  mounts,
  labels: new Map<string, string>(),
  temporary,
});
async function manager(): Promise<FileMountManager> {
  const made = new FileMountManager(state, noLog);
  await made.load(new Call({}));
  return made;
}
/** An ext4 image whose content is the folder. */
function image(name: string, from?: string): string {
  const path = join(dir, name);
  const content = from === undefined ? [] : ["-d", from];
  execFileSync("mkfs.ext4", ["-q", "-O", "^has_journal", ...content, path, "4M"]);
  return path;
}
const made = (file: string, more: string[] = []): Mount =>
  mount("mkfs/ext4", file, ["X-containerd.mkfs.size=8MiB", ...more, "loop"]);

test(
  "a writable layer in a block file: made, mounted, its folders made, overlaid; the file stays",
  root,
  async () => {
    mkdirSync(join(dir, "lower"));
    writeFileSync(join(dir, "lower/below"), "1");
    const file = join(dir, "layer.img");
    const uuid = "5fb0ee6c-3f8e-4c0e-8b1e-000000000001";
    const layered = [
      made(file, [`X-containerd.mkfs.uuid=${uuid}`]),
      mount("format/mkdir/overlay", "overlay", [
        "X-containerd.mkdir.path={{ mount 0 }}/upper:755",
        "X-containerd.mkdir.path={{ mount 0 }}/work",
        `lowerdir=${dir}/lower`,
        "upperdir={{ mount 0 }}/upper",
        "workdir={{ mount 0 }}/work",
      ]),
    ];
    const mounts = await manager();
    for (const turn of [1, 2]) {
      const active = await mounts.activate(call, request("rw", layered));
      assert.equal(statSync(file).size, 8 << 20);
      assert.equal(readdirSync(dir).filter((name) => name.endsWith("-new")).length, 0);
      const [overlay] = active.system;
      assert.ok(overlay !== undefined);
      const merged = join(dir, "merged");
      mkdirSync(merged, { recursive: true });
      mountOne(overlay, merged);
      assert.deepEqual(readdirSync(merged).sort(), turn === 1 ? ["below"] : ["below", "new"]);
      writeFileSync(join(merged, "new"), "2");
      await unmountAll(merged);
      assert.equal(ours().length, 1);
      await mounts.deactivate(call, "rw");
      assert.deepEqual([ours(), mountsBelow(dir)], [[], []]);
    }
    assert.match(execFileSync("blkid", ["-p", file], { encoding: "utf8" }), new RegExp(uuid));
  },
);

test("xfs, and what mkfs refuses", root, async (t) => {
  for (const [options, why] of [
    [[], /size is required/],
    [["size=0"], /size/],
    [["size=many"], /size/],
    [["size=1m", "fs=../sh"], /unsupported/],
    [["size=1m", "uuid=-d"], /UUID/],
    [["size=1m", "label=x"], /unknown/],
  ] as const) {
    const own = options.map((o) => [`mkfs.${o.split("=")[0]}`, o.split("=")[1] ?? ""] as const);
    assert.throws(() => parseMkfs("/f", own), why);
  }
  for (const [text, size] of [
    ["10", 10],
    ["1k", 1024],
    ["1.5 GiB", 1.5 * 2 ** 30],
    ["2TB", 2 * 2 ** 40],
  ] as const)
    assert.equal(parseMkfs("/f", [["mkfs.size", text]]).size, size);
  const mounts = await manager();
  mkdirSync(join(dir, "folder"));
  await assert.rejects(
    mounts.activate(call, request("x", [made(join(dir, "folder"))])),
    refused("failed-precondition"),
  );
  await assert.rejects(mounts.activate(call, request("x", [made(join(dir, "none/file"))])), /no such file/);
  // too small for a file system: nothing half made stays
  const small = mount("mkfs/ext4", join(dir, "small"), ["X-containerd.mkfs.size=512"]);
  await assert.rejects(mounts.activate(call, request("x", [small])), /mkfs.ext4 ended/);
  assert.deepEqual(readdirSync(dir).sort(), ["folder", "state"]);
  assert.deepEqual(readdirSync(join(state, "records")), []);
  if (!has("mkfs.xfs")) return t.skip("no mkfs.xfs");
  const xfs = mount("mkfs/xfs", join(dir, "x.img"), [
    "X-containerd.mkfs.size=512m",
    "X-containerd.mkfs.fs=xfs",
    "loop",
  ]);
  const active = await mounts.activate(call, request("xfs", [xfs], true));
  const point = active.active[0]?.mountPoint ?? "";
  assert.equal(readMountInfo().find((m) => m.target === point)?.type, "xfs");
  assert.deepEqual(active.system, [{ ...mount("bind", point, ["rbind"]) }]);
  await mounts.deactivate(call, "xfs");
});

test(
  "a loop device under a name: shown by a link, kept over a restart of the daemon, gone after",
  root,
  async () => {
    const file = image("disk");
    const list = [mount("loop", file, ["ro"]), mount("format/ext4", "{{ mount 0 }}", ["ro"])];
    const first = await manager();
    const active = await first.activate(call, request("disk", list));
    const link = active.active[0]?.mountPoint ?? "";
    assert.ok(lstatSync(link).isSymbolicLink());
    assert.deepEqual(active.system, [{ ...mount("ext4", link, ["ro"]), type: "ext4" }]);
    const [device] = ours();
    assert.equal(device?.path, readlinkSync(link));
    const second = await manager();
    assert.deepEqual(
      (await second.list(call, [])).map((a) => a.name),
      ["disk"],
    );
    // what its user mounted keeps the device: it goes with that mount
    mkdirSync(join(dir, "mnt"));
    mountOne({ ...mount("ext4", link), options: ["ro"] }, join(dir, "mnt"));
    await second.deactivate(call, "disk");
    assert.ok(existsSync(join(dir, "mnt/lost+found")));
    assert.equal(ours().length, 1);
    await unmountAll(join(dir, "mnt"));
    assert.deepEqual(ours(), []);
    assert.deepEqual(readdirSync(join(state, "t")), []);
  },
);

test("a link to a device that is another file's by now lets that one be", root, async () => {
  const [file, other] = [image("disk"), image("other")];
  const mounts = await manager();
  const active = await mounts.activate(call, request("disk", [mount("loop", file)]));
  const path = readlinkSync(active.active[0]?.mountPoint ?? "");
  releaseLoop(path);
  execFileSync("losetup", [path, other]);
  await mounts.deactivate(call, "disk");
  assert.deepEqual(
    ours().map((loop) => loop.file),
    [other],
  );
});

test("a kill between the device and the record: the next start lets the device go", root, async () => {
  const file = image("disk");
  const first = await manager();
  await first.activate(call, request("half", [mount("loop", file)]));
  const [record = ""] = readdirSync(join(state, "records"));
  const path = join(state, "records", record);
  const { readFileSync } = await import("node:fs");
  writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, "utf8")), done: false }));
  assert.equal(ours().length, 1);
  const second = await manager();
  assert.deepEqual([ours(), await second.list(call, [])], [[], []]);
  assert.deepEqual([readdirSync(join(state, "records")), readdirSync(join(state, "t"))], [[], []]);
});

test("an EROFS image", { skip: !able || !has("mkfs.erofs") }, async () => {
  mkdirSync(join(dir, "tree"));
  writeFileSync(join(dir, "tree/file"), "x".repeat(5000));
  const file = join(dir, "layer.erofs");
  execFileSync("mkfs.erofs", ["--quiet", file, join(dir, "tree")]);
  const mounts = await manager();
  const active = await mounts.activate(call, request("e", [mount("erofs", file, ["ro"])]));
  assert.deepEqual(active.system, []);
  assert.equal(statSync(join(active.active[0]?.mountPoint ?? "", "file")).size, 5000);
  await mounts.deactivate(call, "e");
  assert.deepEqual([ours(), mountsBelow(dir)], [[], []]);
});

test("a hostile image: links in it lead nowhere, and what is no image is refused", root, async () => {
  const canary = join(dir, "canary");
  mkdirSync(canary);
  mkdirSync(join(dir, "tree/deep"), { recursive: true });
  symlinkSync(canary, join(dir, "tree/upper"));
  symlinkSync("../../../../../../../..", join(dir, "tree/deep/up"));
  const file = image("hostile", join(dir, "tree"));
  const mounts = await manager();
  for (const path of ["upper", "upper/x", "deep/up", `deep/up/${dir}/canary/y`])
    await assert.rejects(
      mounts.activate(
        call,
        request("h", [
          mount("ext4", file, ["loop"]),
          mount("format/mkdir/overlay", "overlay", [`X-containerd.mkdir.path={{ mount 0 }}/${path}:777:1:1`]),
        ]),
      ),
      /activate mounts "h"/,
      path,
    );
  assert.deepEqual([readdirSync(canary), statSync(canary).uid], [[], 0]);
  writeFileSync(join(dir, "text"), "no image");
  for (const bad of [mount("loop", join(dir, "none")), mount("erofs", join(dir, "text"), ["ro"])])
    await assert.rejects(mounts.activate(call, request("b", [bad])), /activate mounts "b"/);
  assert.deepEqual([ours(), mountsBelow(dir)], [[], []]);
});
