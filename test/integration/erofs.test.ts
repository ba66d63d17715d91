/** The erofs snapshotter under a real daemon, with both of its differs and both clients. Needs root, mkfs.erofs and erofs. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import { describe, test } from "node:test";
import { testImages } from "../fixtures/images.ts";
import { ctrOf, mountsBelow, peerCtr, startDaemon } from "../peers/peer.ts";
import { BUN, MAIN, ourBin } from "./program.ts";

const works =
  process.getuid?.() === 0 &&
  spawnSync("mkfs.erofs", ["--help"]).error === undefined &&
  /\terofs$/m.test(readFileSync("/proc/filesystems", "utf8"));

/** The kernel's configuration, where it is to be read, says that it has fs-verity. */
const verity = spawnSync("zgrep", ["-q", "CONFIG_FS_VERITY=y", "/proc/config.gz"]).status === 0;

const BOTH_DIFFERS = `
[plugins."io.containerd.service.v1.diff-service"]
  default = ["erofs", "walking"]
`;
const WITH_DIFFER = `${BOTH_DIFFERS}
[plugins."io.containerd.differ.v1.erofs"]
  mkfs_options = ["-zlz4"]
[plugins."io.containerd.snapshotter.v1.erofs"]
  set_immutable = true
`;
/** Files of images that even root cannot write or remove. */
const immutable = (dir: string): number =>
  spawnSync("lsattr", ["-R", dir], { encoding: "utf8" })
    .stdout.split("\n")
    .filter((line) => /^[^ ]*i[^ ]* .*\/layer\.erofs$/.test(line)).length;

interface Doc {
  readonly manifests?: readonly { readonly digest: string }[];
  readonly config: { readonly digest: string };
  readonly layers: readonly { readonly mediaType: string; readonly digest: string }[];
}

/** The manifest that a digest is, or the first one of the index. */
function manifestOf(digest: string, get: (blob: string) => Doc): Doc {
  const doc = get(digest);
  return doc.manifests === undefined ? doc : get(doc.manifests[0]?.digest ?? "");
}

describe("erofs", { skip: !works, timeout: 120_000 }, () => {
  for (const [differ, config] of [
    ["walking", ""],
    ["erofs", WITH_DIFFER],
  ] as const)
    test(`layers by the ${differ} differ: the merged root is right, nothing stays mounted`, async () => {
      const bin = ourBin();
      const daemon = await startDaemon({ command: [join(bin, "containerd")], path: [bin], config });
      const images = testImages();
      const archive = images.archive("layers10");
      try {
        for (const ctr of [ctrOf(join(bin, "ctr"), daemon.address), peerCtr("1.6", daemon.address)]) {
          const ok = (...args: string[]): string => {
            const said = ctr(...args);
            assert.equal(said.code, 0, `${args.join(" ")}: ${said.err}`);
            return said.out;
          };
          ok("images", "import", "--snapshotter", "erofs", archive);
          const [ref = ""] = ok("images", "ls", "-q").trim().split("\n");
          assert.match(ok("run", "--rm", "--snapshotter", "erofs", ref, "verify", "/verify.sh"), / 0 bad/);
          const mounted = mountsBelow(daemon.dir).filter((path) => path.includes("snapshotter.v1.erofs"));
          assert.ok(mounted.length >= 10, mounted.join("\n"));
          const folder = join(daemon.dir, "root/io.containerd.snapshotter.v1.erofs/snapshots");
          assert.equal(immutable(folder), config === "" ? 0 : 10);
          ok("images", "rm", "--sync", ref);
          assert.deepEqual(ok("snapshots", "--snapshotter", "erofs", "ls").trim().split("\n").slice(1), []);
          assert.deepEqual(mountsBelow(daemon.dir), []);
        }
      } finally {
        await daemon.stop();
      }
    });

  test("images convert --erofs: layers that are images already, plain and compressed, run as they are", async () => {
    const bin = ourBin();
    const daemon = await startDaemon({
      command: [join(bin, "containerd")],
      path: [bin],
      config: BOTH_DIFFERS,
    });
    try {
      const ctr = ctrOf(join(bin, "ctr"), daemon.address);
      const ok = (...args: string[]): string => {
        const said = ctr(...args);
        assert.equal(said.code, 0, `${args.join(" ")}: ${said.err}`);
        return said.out;
      };
      ok("images", "import", "--no-unpack", testImages().archive("layers10"));
      const [ref = ""] = ok("images", "ls", "-q").trim().split("\n");
      for (const [flags, type] of [
        [["--erofs", "raw", "--erofs-compressors", "lz4hc,9"], "application/vnd.erofs.layer.v1"],
        [
          ["--erofs", "zstd", "--erofs-mkfs-options", "-x2 --preserve-mtime"],
          "application/vnd.erofs.layer.v1+zstd",
        ],
      ] as const) {
        const digest = ok("images", "convert", ...flags, ref, "example.invalid/made:x").trim();
        const manifest = manifestOf(digest, (blob) => JSON.parse(ok("content", "get", blob)));
        assert.deepEqual(
          manifest.layers.map((layer) => layer.mediaType),
          manifest.layers.map(() => type),
        );
        const config = JSON.parse(ok("content", "get", manifest.config.digest));
        assert.equal(config.rootfs.diff_ids.length, manifest.layers.length);
        const plain = manifest.layers.map((layer) => layer.digest);
        if (!type.includes("+")) assert.deepEqual(config.rootfs.diff_ids, plain);
        // the source's layers are not needed
        const run = [
          "run",
          "--rm",
          "--snapshotter",
          "erofs",
          "example.invalid/made:x",
          "verify",
          "/verify.sh",
        ];
        assert.match(ok(...run), / 0 bad/);
        const checked = spawnSync(BUN, [MAIN, "check", "-a", daemon.address], { encoding: "utf8" });
        assert.equal(checked.status, 0, checked.stdout + checked.stderr);
        ok("images", "rm", "--sync", "example.invalid/made:x");
      }
      assert.match(ctr("images", "convert", "--erofs", "tar", ref, "x.invalid/y:z").err, /want raw or zstd/);
      assert.match(
        ctr("images", "convert", "--erofs", "raw", "--zstd", ref, "x.invalid/y:z").err,
        /give one of them/,
      );
    } finally {
      await daemon.stop();
    }
  });

  test("images build-erofs-cache: one image for each diff id, none made twice", async () => {
    const bin = ourBin();
    const daemon = await startDaemon({ command: [join(bin, "containerd")], path: [bin] });
    try {
      const ctr = ctrOf(join(bin, "ctr"), daemon.address);
      const ok = (...args: string[]): string => {
        const said = ctr(...args);
        assert.equal(said.code, 0, `${args.join(" ")}: ${said.err}`);
        return said.out;
      };
      ok("images", "import", "--no-unpack", testImages().archive("layers10"));
      const [ref = "", , target = ""] = (ok("images", "ls").trim().split("\n")[1] ?? "").split(/ +/);
      const get = (blob: string): Doc => JSON.parse(ok("content", "get", blob));
      const manifest = manifestOf(target, get);
      const { diff_ids } = JSON.parse(ok("content", "get", manifest.config.digest)).rootfs;
      const cache = join(daemon.dir, "cache");
      ok("images", "build-erofs-cache", ref, cache);
      const names = readdirSync(join(cache, "sha256")).toSorted();
      const hexes = [...new Set<string>(diff_ids)].map((id) => `${id.slice("sha256:".length)}.erofs`);
      assert.deepEqual(names, hexes.toSorted());
      for (const name of names) {
        // the superblock's magic number
        assert.equal(readFileSync(join(cache, "sha256", name)).readUInt32LE(1024), 0xe0f5e1e2, name);
      }
      const [first = "", second = ""] = names.map((name) => join(cache, "sha256", name));
      rmSync(first);
      const kept = statSync(second).mtimeMs;
      const lines = ok("images", "build-erofs-cache", ref, cache).trim().split("\n");
      assert.deepEqual(
        lines.filter((line) => line.endsWith(" built")),
        [`sha256:${basename(first, ".erofs")} built`],
      );
      assert.equal(statSync(second).mtimeMs, kept);
      assert.match(ctr("images", "build-erofs-cache", "--dmverity", ref, cache).err, /without dm-verity/);
    } finally {
      await daemon.stop();
    }
  });

  test("what this machine or engine has not is refused with the reason", async () => {
    const bin = ourBin();
    for (const [key, want] of [
      ['dmverity_mode = "on"', /dmverity_mode is "on", but dm-verity is not supported/],
      ['dmverity_mode = "maybe"', /want "auto", "on" or "off"/],
      ['default_size = "1GiB"', /default_size.*not offered/],
      ...(verity
        ? []
        : [["enable_fsverity = true", /fsverity is not supported on the filesystem of/] as const]),
    ] as const) {
      const config = `[plugins."io.containerd.snapshotter.v1.erofs"]\n  ${key}\n`;
      const daemon = await startDaemon({ command: [join(bin, "containerd")], path: [bin], config });
      try {
        const said = ctrOf(join(bin, "ctr"), daemon.address)("plugins", "ls", "-d", "id==erofs");
        assert.match(said.out, want, key);
      } finally {
        await daemon.stop();
      }
    }
  });
});
