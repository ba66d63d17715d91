/**
 * The fixtures hold in Debian's containerd 1.6 and 1.7: what ours is measured with is right by the reference's own judgement.
 * Needs root and runc.
 */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { builtinArchive } from "../../src/oci/builtin/images.ts";
import { imageName, testImages } from "../fixtures/images.ts";
import { startRegistry } from "../fixtures/registry.ts";
import { type Ctr, type Daemon, type PeerVersion, peerCtr, startPeer } from "./peer.ts";

for (const version of ["1.6", "1.7"] as const satisfies readonly PeerVersion[]) {
  describe(`containerd ${version}`, () => {
    const images = testImages();
    let daemon: Daemon;
    let ctr: Ctr;
    before(async () => {
      daemon = await startPeer(version);
      ctr = peerCtr(version, daemon.address);
    });
    after(() => daemon.stop());

    test("layers10 applies without a wrong answer", () => {
      assert.equal(ctr("images", "import", images.archive("layers10")).code, 0);
      const said = ctr("run", "--rm", imageName("layers10"), "l10", "/verify.sh");
      assert.match(said.out, /^\d\d checks, 0 bad\n$/, said.out + said.err);
      assert.equal(said.code, 0);
    });

    test("users and entrypoints of the images are taken", () => {
      for (const name of ["nonroot", "username"]) ctr("images", "import", images.archive(name));
      const nonroot = ctr("run", "--rm", imageName("nonroot"), "n1");
      assert.match(nonroot.out, /^uid=1000\(app\).*\nhello world\n\/home\n$/, nonroot.err);
      assert.match(ctr("run", "--rm", imageName("username"), "n2").out, /^uid=1000\(app\)/);
    });

    test("an index, a zstd image and schema 2 pull from the registry and run", async () => {
      await using registry = await startRegistry({ filled: images });
      for (const [name, tag] of [
        ["multi"],
        ["busybox-zstd"],
        ["busybox", "schema2"],
        ["multi", "schema2"],
      ] as const) {
        const ref = registry.ref(name, tag);
        const pulled = ctr("images", "pull", "--plain-http", ref);
        assert.equal(pulled.code, 0, pulled.err);
        const said = ctr("run", "--rm", ref, "r1", "/bin/echo", "it", "runs");
        assert.equal(said.out, "it runs\n", said.err);
      }
    });

    test("the built-in images run", async () => {
      for (const name of ["hello", "pause"]) {
        const path = join(daemon.dir, `${name}.tar`);
        writeFileSync(path, await builtinArchive(name));
        assert.equal(ctr("images", "import", path).code, 0);
      }
      assert.match(ctr("run", "--rm", "gantry.local/hello:latest", "h1").out, /Your container engine works/);
      assert.equal(ctr("run", "-d", "gantry.local/pause:latest", "p1").code, 0);
      assert.match(ctr("tasks", "ls").out, /p1\s+\d+\s+RUNNING/);
      assert.equal(ctr("tasks", "rm", "-f", "p1").code, 0);
      assert.equal(ctr("containers", "rm", "p1").code, 0);
    });
  });
}
