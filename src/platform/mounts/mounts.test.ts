import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import * as c from "../syscalls/constants.ts";
import { isErrno } from "../syscalls/errors.ts";
import { kernel } from "../syscalls/kernel.ts";
import { findMount, parseMountInfo } from "./mountinfo.ts";
import { mountAll, tempMount, unmountAll, unmountTree, withTempMount } from "./mounts.ts";
import { parseOptions, splitLayers, UnsupportedMountError } from "./options.ts";
import { mountLongOverlay } from "./overlay.ts";

const root = process.getuid?.() === 0 ? {} : { skip: "needs root" };
const dir = mkdtempSync(join(tmpdir(), "gantry-mounts-"));
after(async () => {
  await unmountTree(dir);
  rmSync(dir, { recursive: true, force: true });
});

test("options become flags, propagation and data", () => {
  assert.deepEqual(
    parseOptions(["rbind", "ro", "rprivate", "nosuid", "index=off", "userxattr", "rw", "X-containerd.x"]),
    {
      flags: c.MS_BIND | c.MS_REC | c.MS_NOSUID,
      propagation: c.MS_PRIVATE | c.MS_REC,
      data: ["index=off", "userxattr"],
    },
  );
  assert.deepEqual(parseOptions(["constructor"]).data, ["constructor"]);
  assert.throws(() => parseOptions(["loop"]), UnsupportedMountError);
  assert.deepEqual(splitLayers("/a:/b\\:c:/d"), ["/a", "/b:c", "/d"]);
});

test("mountinfo: octal escapes and optional fields", () => {
  const [mount] = parseMountInfo(
    "36 35 98:0 /r /a\\040b rw,noatime shared:1 master:2 - ext3 /dev/x rw,errors=continue\n",
  );
  assert.equal(mount?.target, "/a b");
  assert.deepEqual(mount?.propagation, ["shared:1", "master:2"]);
  assert.equal(mount?.type, "ext3");
  assert.deepEqual(mount?.superOptions, ["rw", "errors=continue"]);
});

test("tmpfs, read-only bind, stacked unmount", root, async () => {
  const source = join(dir, "src");
  const target = join(dir, "dst");
  mkdirSync(source);
  mkdirSync(target);
  writeFileSync(join(source, "f"), "x");
  mountAll([{ type: "bind", source, options: ["rbind", "ro", "nosuid", "rprivate"] }], target);
  assert.equal(readFileSync(join(target, "f"), "utf8"), "x");
  assert.throws(
    () => writeFileSync(join(target, "g"), ""),
    (error: unknown) => isErrno(error, "EROFS"),
  );
  assert.ok(findMount(target)?.options.includes("nosuid"));
  mountAll([{ type: "tmpfs", source: "tmpfs", options: ["size=1m", "mode=0700"] }], target);
  await unmountAll(target);
  assert.equal(findMount(target), undefined);
  await unmountAll(target);
});

test("a failing mount takes the earlier ones down", root, () => {
  const target = join(dir, "half");
  mkdirSync(target);
  assert.throws(() =>
    mountAll(
      [
        { type: "tmpfs", source: "tmpfs", options: [] },
        { type: "no-such-fs", source: "none", options: [] },
      ],
      target,
    ),
  );
  assert.equal(findMount(target), undefined);
});

test("overlay of 128 layers, by fds and by short names", root, async () => {
  const upper = join(dir, "upper");
  const work = join(dir, "work");
  const layers: string[] = [];
  for (let index = 0; index < 128; index++) {
    const layer = join(dir, "snapshots-with-a-rather-long-name", String(index), "fs");
    mkdirSync(layer, { recursive: true });
    writeFileSync(join(layer, `file${index}`), String(index));
    layers.push(layer);
  }
  mkdirSync(upper);
  mkdirSync(work);
  const options = [`workdir=${work}`, `upperdir=${upper}`, `lowerdir=${layers.join(":")}`, "index=off"];
  assert.ok(options.join(",").length > 4096);
  await withTempMount([{ type: "overlay", source: "overlay", options }], (path) => {
    for (const index of [0, 64, 127])
      assert.equal(readFileSync(join(path, `file${index}`), "utf8"), String(index));
    writeFileSync(join(path, "new"), "");
  });
  assert.ok(existsSync(join(upper, "new")));
  // As on a kernel without the new mount API.
  const target = join(dir, "short");
  mkdirSync(target);
  const old = {
    ...kernel,
    fsopen: (): number => {
      throw kernelMissing();
    },
  };
  mountLongOverlay(old, "overlay", target, 0, options);
  assert.equal(readFileSync(join(target, "file127"), "utf8"), "127");
  await unmountAll(target);
});

function kernelMissing(): Error {
  return Object.assign(new Error("fsopen"), { code: "ENOSYS" });
}

test("temp mount removes its place", root, async () => {
  let place = "";
  {
    await using mounted = await tempMount([{ type: "tmpfs", source: "tmpfs", options: [] }], dir);
    place = mounted.path;
    writeFileSync(join(place, "f"), "");
  }
  assert.equal(existsSync(place), false);
});
