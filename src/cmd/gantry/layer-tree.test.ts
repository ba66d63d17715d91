/** What `gantry check` sees of a layer's files: everything that an archive says of them. Needs root. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { compareTree } from "./layer-tree.ts";

const MAKE = `
mkdir -p dir/empty; echo one >dir/one; ln dir/one two; ln -s dir/one sym; mkfifo pipe; mknod null c 1 3; mknod disk b 8 1
truncate -s 1M holes; printf end >>holes; echo s >suid; chown 7:8 suid; chmod 4755 suid
setfattr -n user.text -v hello dir/one; setfattr -n user.text -v there dir
setfattr -n security.capability -v 0x0100000200200000000000000000000000000000 suid
touch -h -d '2001-02-03 04:05:06.5' dir/one sym; touch -d '1960-01-01' holes; touch -d '2040-01-01' null
`;

/** A change to the tree, and what is told of it. */
const CHANGES: readonly (readonly [string, RegExp])[] = [
  ["touch -d '2001-02-03 04:05:07' dir/one", /"\/(two|dir\/one)" has another time/],
  ["touch -h sym", /"\/sym" has another time/],
  ["setfattr -n user.text -v hellO dir/one", /"\/(two|dir\/one)" has another attribute "user.text"/],
  ["setfattr -x user.text dir", /"\/dir" has another attribute "user.text"/],
  ["setfattr -x security.capability suid", /"\/suid" has another attribute "security.capability"/],
  ["rm null; mknod null c 1 5; touch -d '2040-01-01' null", /"\/null" is another device/],
  ["rm disk; mknod disk b 8 2; touch -r suid disk", /"\/disk" (is another device|has another time)/],
  ["chmod 755 suid", /"\/suid" has another mode/],
  ["chown 7:9 suid", /"\/suid" has another owner/],
  ["ln -sfn dir sym", /"\/sym" leads elsewhere/],
  ["rm pipe; mkdir pipe", /"\/pipe" is of another type/],
  ["rmdir dir/empty", /"\/dir\/empty" is missing/],
  [
    't=$(stat -c %y dir/one); printf ONE >dir/one; echo >>dir/one; touch -d "$t" dir/one',
    /has other content/,
  ],
];

test("each difference between a layer and its files is told", {
  skip: process.getuid?.() !== 0,
}, async () => {
  const dir = mkdtempSync(join(tmpdir(), "gantry-layer-tree-"));
  try {
    const source = join(dir, "source");
    const archive = join(dir, "layer.tar");
    mkdirSync(source);
    execFileSync("bash", ["-ec", MAKE], { cwd: source });
    const attributes = ["--xattrs", "--xattrs-include=*", "--numeric-owner"];
    execFileSync("tar", ["--format=posix", ...attributes, "-cf", archive, "-C", source, "."]);
    const blob = async function* (): AsyncGenerator<Uint8Array> {
      yield readFileSync(archive);
    };
    const fresh = (): string => {
      const tree = mkdtempSync(join(dir, "tree-"));
      execFileSync("tar", [...attributes, "-xpf", archive, "-C", tree]);
      return tree;
    };
    assert.equal(await compareTree(blob(), fresh()), "");
    for (const [change, said] of CHANGES) {
      const tree = fresh();
      execFileSync("bash", ["-ec", change], { cwd: tree });
      assert.match(await compareTree(blob(), tree), said, change);
    }
    // attributes that the layer does not have, and times of folders, say nothing
    const tree = fresh();
    execFileSync("setfattr", ["-n", "user.more", "-v", "x", join(tree, "dir")]);
    assert.equal(await compareTree(blob(), tree), "");
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});
