/** Hostile layers (reliability.md S1-S8) against the real helper, with a canary tree beside the destination. Needs root. */
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { gzipSync } from "node:zlib";
import { withTempMount } from "../../src/platform/mounts/mounts.ts";
import {
  bind,
  listing,
  type Member,
  overlay,
  Rig,
  removeWorkspace,
  T,
  tar,
  workspace,
} from "./unpack-rig.ts";

const skip = process.getuid?.() !== 0;
const dir = workspace("unpack");
const canary = join(dir, "canary");
const rig = new Rig(dir);
let want = "";
const socket = createServer();

before(() => {
  if (skip) return;
  mkdirSync(join(canary, "sub"), { recursive: true });
  writeFileSync(join(canary, "file"), "secret", { mode: 0o640 });
  writeFileSync(join(canary, "suid"), "#!/bin/sh\n", { mode: 0o755 });
  execFileSync("chmod", ["4755", join(canary, "suid")]);
  execFileSync("setfattr", ["-n", "trusted.canary", "-v", "tweet", join(canary, "sub")]);
  symlinkSync("file", join(canary, "link"));
  socket.listen(join(canary, "socket"));
  want = listing(canary, true);
});
after(() => {
  socket.close();
  removeWorkspace(dir);
});

/** Applies a layer to an empty snapshot of each style; the canary must not notice. */
async function hostile(
  members: Member[],
  check: (root: string, error: Error | undefined) => void,
): Promise<void> {
  for (const style of ["bind", "overlay"] as const) {
    const root = rig.folder();
    const mounts = style === "bind" ? bind(root) : overlay(root, rig.folder(), [rig.folder()]);
    let error: Error | undefined;
    await rig.apply(tar(...members), mounts).catch((err: Error) => {
      error = err;
    });
    assert.equal(listing(canary, true), want, `canary changed (${style})`);
    check(root, error);
  }
}

const up = "../".repeat(12);
const out = `${up}${canary.slice(1)}`;
const inside = (root: string, path: string): string => readFileSync(join(root, path), "utf8");
const canaryInside = canary.slice(1);

interface Case {
  readonly title: string;
  readonly members: Member[];
  /** What the error must say; undefined = the layer must unpack. */
  readonly refused?: RegExp;
  /** Where the content must have landed. */
  readonly lands?: string;
}

const data = "mine";
const link = (name: string, linkname: string): Member => ({ name, type: T.symlink, linkname });
const hard = (name: string, linkname: string): Member => ({ name, type: T.link, linkname });
const folder = (name: string): Member => ({ name, type: T.dir });

const cases: Case[] = [
  { title: "name with ..", members: [{ name: `${out}/file`, data }], lands: `${canaryInside}/file` },
  { title: "absolute name", members: [{ name: `${canary}/file`, data }], lands: `${canaryInside}/file` },
  { title: "name .. only", members: [{ name: "..", data }] },
  { title: "name ../.. as directory", members: [{ ...folder("../.."), mode: 0 }] },
  { title: "name . as file", members: [{ name: ".", data }] },
  { title: "name / as file", members: [{ name: "/", data }] },
  { title: "name ends with a slash but is a file", members: [{ name: "a/b/", data }], lands: "a/b" },
  { title: "empty name", members: [{ name: "", data }] },
  { title: "dots in the middle", members: [{ name: `a/../../../b`, data }], lands: "b" },
  {
    title: "absolute symlink as parent",
    members: [link("l", canary), { name: "l/file", data }],
    lands: `${canaryInside}/file`,
  },
  {
    title: "relative symlink as parent",
    members: [link("l", out), { name: "l/file", data }],
    lands: `${canaryInside}/file`,
  },
  {
    title: "two hops",
    members: [link("a", "b"), link("b", out), { name: "a/file", data }],
    lands: `${canaryInside}/file`,
  },
  {
    title: "hops through a folder of the layer",
    members: [
      folder("a/b/c"),
      link("a/b/c/up", "../.."),
      link("a/b/escape", "c/up/../.."),
      { name: "a/b/escape/x", data },
    ],
    lands: "x",
  },
  {
    title: "symlink replaced by a file",
    members: [link("l", `${canary}/file`), { name: "l", data }],
    lands: "l",
  },
  {
    title: "symlink replaced by a folder",
    members: [link("l", canary), folder("l"), { name: "l/file", data }],
    lands: "l/file",
  },
  {
    title: "folder replaced by a symlink, then written through",
    members: [folder("d"), link("d", canary), { name: "d/file", data }],
    lands: `${canaryInside}/file`,
  },
  {
    title: "folder over a dangling symlink parent",
    members: [link("l", "nowhere/deep"), { name: "l/file", data }],
    lands: "nowhere/deep/file",
  },
  {
    title: "symlink to itself as parent",
    members: [link("l", "l"), { name: "l/file", data }],
    refused: /l\/file.*ELOOP/,
  },
  {
    title: "symlinks to each other as parent",
    members: [link("a", "b"), link("b", "a"), { name: "a/x", data }],
    refused: /a\/x.*ELOOP/,
  },
  {
    title: "file as parent",
    members: [
      { name: "f", data },
      { name: "f/x", data },
    ],
    refused: /f\/x.*ENOTDIR/,
  },
  { title: "hard link out by ..", members: [hard("h", `${out}/file`)], refused: /h".*ENOENT/ },
  { title: "absolute hard link", members: [hard("h", `${canary}/file`)], refused: /h".*ENOENT/ },
  {
    title: "hard link through a symlink",
    members: [link("l", canary), hard("h", "l/file")],
    refused: /h".*ENOENT/,
  },
  {
    title: "hard link through nested hops",
    members: [
      folder("a/b/c"),
      link("a/b/c/up", "../.."),
      link("a/b/escape", "c/up/../.."),
      hard("x", "a/b/escape/canary"),
    ],
    refused: /x".*ENOENT/,
  },
  { title: "hard link to a folder", members: [folder("d"), hard("h", "d")], refused: /h".*EPERM/ },
  { title: "hard link to the root", members: [hard("h", "/")], refused: /h".*EPERM/ },
  { title: "hard link to nothing", members: [hard("h", "")], refused: /h".*EPERM/ },
  { title: "hard link to itself", members: [{ name: "h", data }, hard("h", "h")], lands: "h" },
  {
    title: "hard link onto a symlink, then its mode",
    members: [link("l", `${canary}/file`), hard("h", "l"), { ...hard("h", "l"), mode: 0o777 }],
  },
  {
    title: "file over a hard link of a symlink",
    members: [link("l", `${canary}/file`), hard("h", "l"), { name: "h", data }],
    lands: "h",
  },
  {
    title: "folder mode through a symlink",
    members: [link("l", `${canary}/sub`), { ...folder("l"), mode: 0o777, uid: 9 }],
  },
  { title: "whiteout of the root", members: [{ name: ".wh." }], refused: /invalid whiteout name/ },
  { title: "whiteout of .", members: [{ name: "a/.wh.." }], refused: /invalid whiteout name/ },
  { title: "whiteout of ..", members: [{ name: "a/.wh..." }], refused: /invalid whiteout name/ },
  { title: "whiteout through a symlink", members: [link("l", canary), { name: "l/.wh.file" }] },
  { title: "whiteout with .. in front", members: [{ name: `${out}/.wh.file` }] },
  { title: "opaque through a symlink", members: [link("l", canary), { name: "l/.wh..wh..opq" }] },
  { title: "opaque of the root's parent", members: [{ name: "../.wh..wh..opq" }] },
  {
    title: "fifo as parent",
    members: [
      { name: "p", type: T.fifo },
      { name: "p/x", data },
    ],
    refused: /p\/x.*ENOTDIR/,
  },
  {
    title: "fifo written as file",
    members: [
      { name: "p", type: T.fifo },
      { name: "p", data },
    ],
    lands: "p",
  },
  {
    title: "device out of range",
    members: [{ name: "n", type: T.char, devmajor: 5000, devminor: 1 }],
    refused: /out of range/,
  },
  {
    title: "device minor out of range",
    members: [{ name: "n", type: T.block, devmajor: 1, devminor: 0o7777777 }],
    refused: /out of range/,
  },
  { title: "owner -1", members: [{ name: "f", data, uid: 0xffffffff }], refused: /owner .* is out of range/ },
  { title: "unknown type", members: [{ name: "f", type: 0x5a }], refused: /unhandled tar header type/ },
  {
    title: "name with a component that is too long",
    members: [{ name: "x".repeat(300), data }],
    refused: /ENAMETOOLONG/,
  },
  {
    title: "path that is too long",
    members: [{ name: "d/".repeat(3000), data }],
    refused: /name is too long/,
  },
];

describe("S1, S3, S4: names and links that lead out", { skip }, () => {
  for (const { title, members, refused, lands } of cases) {
    test(title, async () => {
      await hostile(members, (root, error) => {
        if (refused === undefined) assert.equal(error?.message, undefined);
        else assert.match(error?.message ?? "unpacked", refused);
        if (lands !== undefined) assert.equal(inside(root, lands), data);
      });
    });
  }
});

test("S2: a folder swapped for a symlink meanwhile", { skip, timeout: 60_000 }, async () => {
  const root = rig.folder();
  const flips = `while :; do
    mkdir d 2>/dev/null; mv -T d gone 2>/dev/null; ln -sfT "$1" d 2>/dev/null; rm -f d; mv -T gone d 2>/dev/null; rm -rf gone
  done`;
  const flipper = spawn("sh", ["-c", flips, "sh", canary], { cwd: root, stdio: "ignore" });
  try {
    const members: Member[] = [];
    for (let i = 0; i < 300; i++)
      members.push({ name: `d/f${i}`, data }, { name: "d/file", data, mode: 0o777 });
    for (let i = 0; i < 8; i++) {
      await rig.apply(tar(...members), bind(root)).catch(() => {}); // refusing is fine, leaving is not
    }
    assert.equal(listing(canary, true), want);
    assert.deepEqual(readdirSync(canary).sort(), ["file", "link", "socket", "sub", "suid"]);
  } finally {
    flipper.kill("SIGKILL");
  }
});

test("S5: programs inside the layer are never run", { skip }, async () => {
  const root = rig.folder();
  const marker = join(dir, "trojan-ran");
  const trojan = `#!/bin/sh\ntouch ${marker} /trojan-ran\n`;
  const names = ["unpigz", "gzip", "xz", "zstd", "igzip", "tar", "sh", "mount"];
  const members = names.flatMap((name) =>
    ["usr/bin", "bin", "usr/local/bin"].map(
      (path): Member => ({ name: `${path}/${name}`, mode: 0o4755, data: trojan }),
    ),
  );
  const libraries = ["lib/x86_64-linux-gnu/libnss_files.so.2", "etc/ld.so.preload", "etc/nsswitch.conf"].map(
    (name): Member => ({ name, mode: 0o755, data: trojan }),
  );
  const layer = gzipSync(tar(...members, ...libraries));
  const type = "application/vnd.oci.image.layer.v1.tar+gzip";
  await rig.apply(layer, bind(root), type);
  await rig.apply(layer, bind(root), type); // now they lie in the root the helper changes to
  assert.equal(existsSync(marker), false);
  assert.equal(existsSync(join(root, "trojan-ran")), false);
});

describe("S7: archives that claim more than they hold", { skip }, () => {
  const broken = (bytes: Uint8Array, message: RegExp, type?: string): Promise<void> =>
    assert.rejects(rig.apply(bytes, bind(rig.folder()), type), message);
  const gz = "application/vnd.oci.image.layer.v1.tar+gzip";
  const whole = gzipSync(tar({ name: "f", data: Buffer.alloc(100_000, 7) }));

  test("pax header of 2 GiB", async () => {
    const header = tar({ name: "x", type: 0x78 }).slice(0, 512);
    header.set(Buffer.from("20000000000\0"), 124);
    fixSum(header);
    await broken(tar(header), /too long/);
  });
  test("sparse map in pax data with a billion extents", async () => {
    const records = [
      "22 GNU.sparse.major=1\n",
      "22 GNU.sparse.minor=0\n",
      "31 GNU.sparse.realsize=1000000\n",
    ].join("");
    const map = Buffer.concat([Buffer.from("1000000000\n"), Buffer.alloc(501)]);
    await broken(tar({ name: "p", type: 0x78, data: records }, { name: "s", data: map }), /too many entries/);
  });
  test("sparse extents that overlap", async () => {
    const records = [
      "22 GNU.sparse.major=1\n",
      "22 GNU.sparse.minor=0\n",
      "31 GNU.sparse.realsize=1000000\n",
    ].join("");
    const map = Buffer.concat([Buffer.from("2\n0\n10\n5\n10\n"), Buffer.alloc(500)]).subarray(0, 512);
    await broken(
      tar(
        { name: "p", type: 0x78, data: records },
        { name: "s", data: Buffer.concat([map, Buffer.alloc(20)]) },
      ),
      /does not fit/,
    );
  });
  test("content over the quota", async () => {
    const small = new Rig(dir, { entries: 10, bytes: 1 << 20 });
    const root = small.folder();
    await assert.rejects(
      small.apply(gzipSync(tar({ name: "big", data: Buffer.alloc(4 << 20) })), bind(root), gz),
      /more than 1048576 bytes/,
    );
    assert.ok(!existsSync(join(root, "big")) || statSync(join(root, "big")).size <= 1 << 20);
  });
  test("more entries than allowed", async () => {
    const small = new Rig(dir, { entries: 10, bytes: 0 });
    const members = Array.from({ length: 11 }, (_, i): Member => ({ name: `f${i}` }));
    await assert.rejects(small.apply(tar(...members), bind(small.folder())), /more than 10 entries/);
  });
  test("truncated gzip", () => broken(whole.subarray(0, whole.length - 20), /unexpected end/, gz));
  test("garbage after gzip", () =>
    broken(Buffer.concat([whole, Buffer.from("garbage")]), /decompress gzip layer/, gz));
  test("truncated tar", () =>
    broken(tar({ name: "f", data: Buffer.alloc(5000) }).subarray(0, 2000), /unexpected end of archive/));
  test("wrong checksum", () => {
    const bytes = tar({ name: "f", data });
    bytes[0] = 0x67;
    return broken(bytes, /checksum/);
  });
  test("a layer type nobody knows", () => broken(tar(), /application\/x-nothing/, "application/x-nothing"));
});

/** Recomputes a header's sum. */
function fixSum(header: Uint8Array): void {
  header.fill(0x20, 148, 156);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.set(Buffer.from(`${sum.toString(8).padStart(6, "0")}\0 `), 148);
}

describe("S8: what only the engine may set", { skip }, () => {
  test("overlay attributes are dropped, the merged view is the reference's", async () => {
    const lower = rig.folder();
    const upper = rig.folder();
    const work = rig.folder();
    await rig.apply(
      tar(folder("d"), { name: "d/below", data: "below" }, { name: "f", data: "below" }),
      bind(lower),
    );
    const xattrs = new Map([
      ["trusted.overlay.opaque", "y"],
      ["trusted.overlay.redirect", "/etc"],
      ["trusted.overlay.metacopy", ""],
      ["user.overlay.opaque", "y"],
      ["trusted.other", "x"],
      ["user.kept", "yes\xff\x00"],
    ]);
    const mounts = overlay(upper, work, [lower]);
    await rig.apply(tar({ ...folder("d"), xattrs }, { name: "f", data: "above", xattrs }), mounts);
    await withTempMount(mounts, (root) => {
      assert.equal(inside(root, "d/below"), "below");
      assert.equal(inside(root, "f"), "above");
      const names = execFileSync("getfattr", ["-d", "-m", "-", "-e", "hex", join(root, "f")], {
        encoding: "utf8",
      });
      assert.match(names, /user\.kept=0x796573ff00/);
      assert.doesNotMatch(names, /overlay|trusted\.other/);
    });
  });
  test("set-id bits stay below a folder that only root enters", async () => {
    const root = rig.folder();
    await rig.apply(
      tar({ name: "su", data: "x", mode: 0o6755, uid: 3_000_000_000, gid: 4_000_000_000 }),
      bind(root),
    );
    const stat = statSync(join(root, "su"));
    assert.equal(stat.mode & 0o7777, 0o6755);
    assert.deepEqual([stat.uid, stat.gid], [3_000_000_000, 4_000_000_000]);
  });
});

describe("whiteouts", { skip }, () => {
  const lowerLayer = tar(
    folder("d"),
    { name: "d/a", data: "a" },
    { name: "d/b", data: "b" },
    { name: "f", data: "f" },
    folder("e"),
    { name: "e/x", data: "x" },
  );
  const layers: Record<string, Member[]> = {
    "removes a file and a folder": [{ name: ".wh.f" }, { name: ".wh.e" }],
    "hides only what is below it": [
      { name: "d/c", data: "c" },
      { name: "d/.wh..wh..opq" },
      { name: "f", data: "new" },
      { name: ".wh.f" },
    ],
    "comes before what replaces it": [
      { name: ".wh.e" },
      folder("e"),
      { name: "e/y", data: "y" },
      { name: ".wh.f" },
      { name: "f", data: "new" },
    ],
    "is opaque without an entry of its folder": [{ name: "d/.wh..wh..opq" }, { name: "d/z", data: "z" }],
    "of what does not exist": [{ name: ".wh.nothing" }, { name: "d/.wh.nothing" }, { name: "new/.wh.x" }],
    "of aufs itself": [{ name: ".wh..wh.plnk" }, { name: ".wh..wh.orph", type: T.dir }],
  };
  for (const [title, members] of Object.entries(layers)) {
    test(`${title}: overlay and plain agree`, async () => {
      const lower = rig.folder();
      await rig.apply(lowerLayer, bind(lower));
      const plain = rig.folder();
      await rig.apply(lowerLayer, bind(plain));
      await rig.apply(tar(...members), bind(plain));
      const upper = rig.folder();
      const mounts = overlay(upper, rig.folder(), [lower]);
      await rig.apply(tar(...members), mounts);
      const strip = (text: string): string => text.replace(/ \d{19} /g, " T ");
      await withTempMount(mounts, (root) => assert.equal(strip(listing(root)), strip(listing(plain))));
    });
  }
  test("folders a layer only implies look as below; links reach below", async () => {
    const lower = rig.folder();
    const mtime = { sec: 1_500_000_000, nsec: 123_456_789 };
    const lowerTar = tar(
      { ...folder("p"), mode: 0o2750, uid: 5, gid: 6, mtime, xattrs: new Map([["user.k", "v"]]) },
      { ...folder("p/q"), mode: 0o700, mtime },
      { name: "p/q/t", data: "target", mode: 0o4711, uid: 7, mtime, xattrs: new Map([["user.t", "1"]]) },
    );
    await rig.apply(lowerTar, bind(lower));
    const upper = rig.folder();
    const mounts = overlay(upper, rig.folder(), [lower]);
    await rig.apply(
      tar({ name: "p/q/new", data: "n" }, { name: "p/h", type: T.link, linkname: "p/q/t" }),
      mounts,
    );
    assert.deepEqual(lstatSync(join(upper, "p"), { bigint: true }).mtimeNs, 1_500_000_000_123_456_789n);
    await withTempMount(mounts, (root) => {
      const p = statSync(join(root, "p"));
      assert.deepEqual([p.mode & 0o7777, p.uid, p.gid], [0o2750, 5, 6]);
      assert.equal(statSync(join(root, "p/q")).mode & 0o7777, 0o700);
      assert.equal(inside(root, "p/h"), "target");
      assert.equal(statSync(join(root, "p/h")).ino, statSync(join(root, "p/q/t")).ino);
      assert.equal(statSync(join(root, "p/h")).mode & 0o7777, 0o4711);
      assert.match(execFileSync("getfattr", ["-d", join(root, "p")], { encoding: "utf8" }), /user.k="v"/);
    });
  });
});
