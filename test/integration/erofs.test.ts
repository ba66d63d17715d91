/** The erofs snapshotter under a real daemon, with both of its differs and both clients. Needs root, mkfs.erofs and erofs. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { testImages } from "../fixtures/images.ts";
import { ctrOf, mountsBelow, peerCtr, startDaemon } from "../peers/peer.ts";
import { ourBin } from "./program.ts";

const works =
  process.getuid?.() === 0 &&
  spawnSync("mkfs.erofs", ["--help"]).error === undefined &&
  /\terofs$/m.test(readFileSync("/proc/filesystems", "utf8"));

/** The kernel's configuration, where it is to be read, says that it has fs-verity. */
const verity = spawnSync("zgrep", ["-q", "CONFIG_FS_VERITY=y", "/proc/config.gz"]).status === 0;

const WITH_DIFFER = `
[plugins."io.containerd.service.v1.diff-service"]
  default = ["erofs", "walking"]
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
