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

const WITH_DIFFER = `
[plugins."io.containerd.service.v1.diff-service"]
  default = ["erofs", "walking"]
[plugins."io.containerd.differ.v1.erofs"]
  mkfs_options = ["-zlz4"]
`;

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
          ok("images", "rm", "--sync", ref);
          assert.deepEqual(ok("snapshots", "--snapshotter", "erofs", "ls").trim().split("\n").slice(1), []);
          assert.deepEqual(mountsBelow(daemon.dir), []);
        }
      } finally {
        await daemon.stop();
      }
    });
});
