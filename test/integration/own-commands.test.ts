/** `gantry check`, `gantry system df` and `gantry gc explain` on a real daemon with damaged files. Needs root. */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { after, before, describe, test } from "node:test";
import { type Ctr, type Daemon, peerCtr, type Said, startDaemon, startPeer } from "../peers/peer.ts";
import { BUN, MAIN } from "./program.ts";

const dir = mkdtempSync(join(tmpdir(), "gantry-own-"));
const archive = join(dir, "hello.tar");

function ok(said: Said): string {
  assert.equal(said.code, 0, said.err + said.out);
  return said.out;
}

/** Our own commands against a daemon. */
function gantry(address: string, ...args: string[]): Said {
  const done = spawnSync(BUN, [MAIN, ...args, "-a", address], { encoding: "utf8" });
  return { code: done.status ?? 128, out: done.stdout, err: done.stderr };
}

const blobsOf = (daemon: Daemon): string =>
  join(daemon.dir, "root/io.containerd.content.v1.content/blobs/sha256");

describe("own commands", { skip: process.getuid?.() !== 0 }, () => {
  let daemon: Daemon;
  let ctr: Ctr;
  let image = "";

  before(async () => {
    writeFileSync(archive, execFileSync(BUN, [MAIN, "builtin-image", "hello"]));
    daemon = await startDaemon({ command: [BUN, MAIN, "daemon"] });
    ctr = peerCtr("1.6", daemon.address);
    ok(ctr("images", "import", "--snapshotter", "native", archive));
    image = ok(ctr("images", "ls", "-q")).trim();
    ok(ctr("-n", "other", "images", "import", "--no-unpack", archive));
  });
  after(async () => {
    await daemon.stop();
    rmSync(dir, { recursive: true, force: true });
  });

  /** Blobs that the image reaches. The archive's own index belongs to nothing after the import and goes some time later. */
  function reached(): string[] {
    const [target = ""] = ok(ctr("images", "ls")).match(/sha256:\w{64}/) ?? [];
    const manifest = JSON.parse(ok(ctr("content", "get", target))) as {
      config: { digest: string };
      layers: { digest: string }[];
    };
    return [target, manifest.config.digest, manifest.layers[0]?.digest ?? ""].map((digest) =>
      join(blobsOf(daemon), digest.replace("sha256:", "")),
    );
  }

  test("an undamaged store", () => {
    const said = gantry(daemon.address, "check");
    assert.match(ok(said), /^checked \d+ blobs and 1 snapshots: 0 damaged\n$/);
    const leases = ok(ctr("leases", "ls"));
    assert.doesNotMatch(leases, /gantry/, "check leaves no lease");
    assert.equal(
      ok(ctr("snapshots", "--snapshotter", "native", "ls"))
        .trim()
        .split("\n").length,
      2,
    );
  });

  test("flipped, cut and missing blobs: found in every namespace, let go, healed by the next import", () => {
    const files = reached();
    const [flipped, cut, gone] = files;
    assert.ok(flipped !== undefined && cut !== undefined && gone !== undefined);
    const bytes = readFileSync(flipped);
    bytes[bytes.length - 1] = (bytes[bytes.length - 1] ?? 0) ^ 1;
    writeFileSync(flipped, bytes);
    writeFileSync(cut, readFileSync(cut).subarray(0, statSync(cut).size - 1));
    rmSync(gone);
    const said = gantry(daemon.address, "check", "-o", "json");
    assert.equal(said.code, 1, said.err);
    const report = JSON.parse(said.out) as {
      damaged: { namespace: string; object: string; problem: string; images: string[] }[];
    };
    assert.equal(report.damaged.length, 6);
    assert.deepEqual([...new Set(report.damaged.map((d) => d.namespace))].sort(), ["default", "other"]);
    for (const problem of [/digest/, /bytes instead of/, /missing/])
      assert.ok(report.damaged.some((d) => problem.test(d.problem)));
    assert.ok(report.damaged.every((d) => d.images.includes(image)));
    const repaired = gantry(daemon.address, "check", "--repair");
    assert.equal(repaired.code, 1);
    assert.match(repaired.out, /6 damaged\npull again:\n {2}ctr -n default images pull /);
    for (const ns of ["default", "other"])
      ok(ctr("-n", ns, "images", "import", "--snapshotter", "native", archive));
    assert.match(ok(gantry(daemon.address, "check")), /0 damaged/);
  });

  test("a layer's folder that is missing; a container keeps it from being removed", () => {
    const folder = join(daemon.dir, "root/io.containerd.snapshotter.v1.native/snapshots");
    ok(ctr("containers", "create", "--snapshotter", "native", image, "user"));
    const [first] = readdirSync(folder)
      .filter((name) => /^\d+$/.test(name))
      .sort((a, b) => Number(a) - Number(b));
    rmSync(join(folder, first ?? "none"), { recursive: true });
    const used = gantry(daemon.address, "check", "--repair");
    assert.equal(used.code, 1);
    assert.match(used.out, /snapshot +native\/sha256:\w+ +its folder .* is missing/);
    assert.match(used.out, /container "user" uses it/);
    ok(ctr("containers", "rm", "user"));
    assert.match(gantry(daemon.address, "check", "--repair").out, /let go/);
    ok(ctr("images", "import", "--snapshotter", "native", archive));
    assert.match(ok(gantry(daemon.address, "check")), /0 damaged/);
  });

  test("system df", () => {
    const uses = JSON.parse(ok(gantry(daemon.address, "system", "df", "-o", "json"))) as {
      type: string;
      count: number;
      size: number;
      reclaimable: number;
    }[];
    const of = (type: string) => uses.find((use) => use.type === type);
    assert.equal(of("images")?.count, 2);
    const onDisk = readdirSync(blobsOf(daemon)).reduce(
      (sum, name) => sum + statSync(join(blobsOf(daemon), name)).size,
      0,
    );
    assert.equal(of("blobs")?.size, onDisk, "blobs of two namespaces count once");
    assert.equal(of("blobs")?.reclaimable, onDisk);
    assert.match(
      ok(gantry(daemon.address, "system", "df")),
      /^TYPE +TOTAL +ACTIVE +SIZE +RECLAIMABLE\nimages/,
    );
    ok(ctr("containers", "create", "--snapshotter", "native", image, "user"));
    assert.match(ok(gantry(daemon.address, "system", "df", "-n", "default")), /images +1 +1 .*\(0%\)/);
    ok(ctr("containers", "rm", "user"));
  });

  test("gc explain", () => {
    for (const name of reached()
      .map((path) => basename(path))
      .slice(1))
      assert.match(
        ok(gantry(daemon.address, "gc", "explain", "-n", "default", name.slice(0, 12))),
        new RegExp(`content sha256:${name} +image ${image} +\\d{4}-.*image ${image} > content sha256:`),
      );
    ok(ctr("snapshots", "--snapshotter", "native", "prepare", "mine"));
    assert.match(
      ok(gantry(daemon.address, "gc", "explain", "mine")),
      /itself \(label containerd\.io\/gc\.root\)/,
    );
    ok(ctr("snapshots", "--snapshotter", "native", "rm", "mine"));
    ok(ctr("leases", "create", "--id", "held"));
    assert.match(ok(gantry(daemon.address, "gc", "explain", "held")), /lease held +itself/);
    const none = gantry(daemon.address, "gc", "explain", "no-such");
    assert.equal(none.code, 1);
    assert.match(none.err, /no image, blob, snapshot/);
  });

  test("they work on Debian's daemon, and say what is wrong with their arguments", async () => {
    await using theirs = await startPeer("1.6");
    ok(peerCtr("1.6", theirs.address)("images", "import", "--snapshotter", "native", archive));
    assert.match(ok(gantry(theirs.address, "check")), /checked \d+ blobs and 1 snapshots: 0 damaged/);
    assert.match(ok(gantry(theirs.address, "system", "df")), /images +1/);
    assert.match(ok(gantry(theirs.address, "gc", "explain", image)), /itself/);
    for (const mode of ["check", "system", "gc"]) {
      assert.match(ok(gantry(theirs.address, mode, "--help")), /examples:/);
      const wrong = gantry(theirs.address, mode, "--nonsense");
      assert.equal(wrong.code, 1);
      assert.match(wrong.err, /--nonsense/);
    }
  });
});
