/** `[proxy_plugins]` of type content in place of the local store: a second engine keeps every blob. Needs root. */
import assert from "node:assert/strict";
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { testImages } from "../fixtures/images.ts";
import { startRegistry } from "../fixtures/registry.ts";
import { type Ctr, ctrOf, type Daemon, startDaemon } from "../peers/peer.ts";
import { ourBin } from "./program.ts";

const LOCAL = "io.containerd.content.v1.content";

function ok(ctr: Ctr, ...args: string[]): string {
  const said = ctr(...args);
  assert.equal(said.code, 0, `ctr ${args.join(" ")}: ${said.err}${said.out}`);
  return said.out;
}

const table = (name: string, address: string): string =>
  `[proxy_plugins.${name}]\n  type = "content"\n  address = "${address}"\n`;

describe("content of another process", { skip: process.getuid?.() !== 0, timeout: 120_000 }, () => {
  const bin = ourBin();
  const command = [join(bin, "containerd")] as const;
  const ctrFor = (daemon: Daemon): Ctr => ctrOf(join(bin, "ctr"), daemon.address);
  const blobs = (ctr: Ctr): string[] => ok(ctr, "content", "ls", "-q").trim().split("\n").filter(Boolean);

  test("beside the local store it is not asked; in its place it keeps every blob", async () => {
    const images = testImages();
    await using registry = await startRegistry({ filled: images });
    const far = await startDaemon({ command, path: [bin] });
    let near = await startDaemon({ command, path: [bin], config: table("far", far.address) });
    try {
      ok(ctrFor(near), "images", "import", images.archive("busybox"));
      assert.deepEqual(blobs(ctrFor(far)), []);
      await near.stop();

      near = await startDaemon({
        command,
        path: [bin],
        config: table("far", far.address),
        disabled: [LOCAL],
      });
      const ctr = ctrFor(near);
      ok(ctr, "images", "pull", "--plain-http", registry.ref("layers10"));
      const there = blobs(ctrFor(far));
      assert.deepEqual(there.sort(), blobs(ctr).sort());
      assert.ok(there.length >= 12, there.join());
      assert.match(ok(ctr, "run", "--rm", registry.ref("layers10"), "v", "/verify.sh"), / 0 bad/);

      // The copies are only copies.
      rmSync(join(near.dir, "root/io.containerd.content.v1.far/blobs/sha256"), { recursive: true });
      ok(ctr, "images", "export", join(near.dir, "again.tar"), registry.ref("layers10"));
      assert.ok(readFileSync(join(near.dir, "again.tar")).length > 10_000);

      ok(ctr, "images", "rm", "--sync", registry.ref("layers10"));
      assert.deepEqual(blobs(ctrFor(far)), []);
    } finally {
      await near.stop();
      await far.stop();
    }
  });

  test("two of them, or none: the daemon says so and does not start", async () => {
    for (const config of ["", table("a", "/nonexistent/a.sock") + table("b", "/nonexistent/b.sock")])
      await assert.rejects(
        startDaemon({ command, path: [bin], config, disabled: [LOCAL] }),
        config === "" ? /no content store/ : /several content stores: a, b/,
      );
  });
});
