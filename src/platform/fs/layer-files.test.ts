import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { lsetxattr } from "../syscalls/xattr.ts";
import { isFolderOrMissing, layersOf, readInLayers } from "./layer-files.ts";

const overlay = (...options: string[]) => [{ type: "overlay", source: "overlay", target: "", options }];

test("layers of an overlay; other mounts, further mounts and escapes have none", () => {
  assert.deepEqual(layersOf(overlay("index=off", "lowerdir=/b:/a", "upperdir=/u", "workdir=/w")), [
    "/b",
    "/a",
  ]);
  assert.equal(layersOf([]), undefined);
  assert.equal(layersOf([{ type: "bind", source: "/a", target: "", options: ["rbind"] }]), undefined);
  assert.equal(layersOf([...overlay("lowerdir=/a"), ...overlay("lowerdir=/a")]), undefined);
  assert.equal(layersOf(overlay("upperdir=/u")), undefined);
  assert.equal(layersOf(overlay("lowerdir=/a\\:b")), undefined);
  assert.equal(layersOf(overlay("lowerdir=/a::/data")), undefined);
  assert.equal(layersOf(overlay("lowerdir=a")), undefined);
});

test("a file is that of the uppermost layer; whatever overlayfs would treat otherwise is left to a mount", (t) => {
  const dir = mkdtempSync(join(tmpdir(), "gantry-layers-"));
  t.after(() => rmSync(dir, { recursive: true }));
  const layer = (name: string, passwd?: string): string => {
    mkdirSync(join(dir, name, "etc"), { recursive: true });
    if (passwd !== undefined) writeFileSync(join(dir, name, "etc/passwd"), passwd);
    return join(dir, name);
  };
  const text = (...layers: string[]): string | undefined => {
    const found = readInLayers(layers, "etc/passwd", 100);
    assert.ok(found !== undefined);
    return found.bytes === undefined ? undefined : new TextDecoder().decode(found.bytes);
  };
  const low = layer("low", "low");
  const empty = layer("empty");
  mkdirSync(join(dir, "bare"));
  assert.equal(text(layer("top", "top"), low), "top");
  assert.equal(text(join(dir, "bare"), empty, low), "low");
  assert.equal(text(join(dir, "bare"), empty), undefined);

  const unsure = (...layers: string[]): void =>
    assert.equal(readInLayers(layers, "etc/passwd", 100), undefined);
  mkdirSync(join(dir, "linked"));
  symlinkSync("usr/etc", join(dir, "linked/etc"));
  unsure(join(dir, "linked"), low);
  symlinkSync("/etc/passwd", join(layer("link"), "etc/passwd"));
  unsure(join(dir, "link"), low);
  execFileSync("mkfifo", [join(layer("fifo"), "etc/passwd")]);
  unsure(join(dir, "fifo"), low);
  assert.throws(() => readInLayers([layer("large", "x".repeat(101))], "etc/passwd", 100));
});

test("a name in the root is what the uppermost layer has there", (t) => {
  const dir = mkdtempSync(join(tmpdir(), "gantry-layers-"));
  t.after(() => rmSync(dir, { recursive: true }));
  for (const name of ["bare", "folder/proc", "linked"]) mkdirSync(join(dir, name), { recursive: true });
  symlinkSync("usr/proc", join(dir, "linked/proc"));
  const look = (...names: string[]): boolean =>
    isFolderOrMissing(
      names.map((name) => join(dir, name)),
      "proc",
    );
  assert.equal(look("bare"), true);
  assert.equal(look("bare", "folder", "linked"), true);
  assert.equal(look("bare", "linked", "folder"), false);
});

test("opaque folders and whiteouts, as root makes them", { skip: process.getuid?.() !== 0 }, (t) => {
  const dir = mkdtempSync(join(tmpdir(), "gantry-layers-"));
  t.after(() => rmSync(dir, { recursive: true }));
  for (const name of ["low", "opaque", "out", "gone"]) mkdirSync(join(dir, name, "etc"), { recursive: true });
  writeFileSync(join(dir, "low/etc/passwd"), "low");
  lsetxattr(join(dir, "opaque/etc"), "trusted.overlay.opaque", new TextEncoder().encode("y"));
  execFileSync("mknod", [join(dir, "out/etc/passwd"), "c", "0", "0"]);
  rmSync(join(dir, "gone/etc"), { recursive: true });
  execFileSync("mknod", [join(dir, "gone/etc"), "c", "0", "0"]);
  for (const name of ["opaque", "out", "gone"])
    assert.equal(readInLayers([join(dir, name), join(dir, "low")], "etc/passwd", 100), undefined, name);
  assert.equal(isFolderOrMissing([join(dir, "gone"), join(dir, "low")], "etc"), false);
  lsetxattr(join(dir, "out"), "trusted.overlay.opaque", new TextEncoder().encode("y"));
  assert.equal(isFolderOrMissing([join(dir, "out"), join(dir, "low")], "proc"), false);
});
