/** Our `ctr content` and `ctr snapshots` beside Debian's on Debian's daemon. Needs root. */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { imageName, testImages } from "../fixtures/images.ts";
import { startRegistry } from "../fixtures/registry.ts";
import { type Daemon, type PeerVersion, startPeer } from "../peers/peer.ts";
import { ok, type Pair, pairOn } from "./ctr.ts";

const SNAPSHOTS = ["snapshots", "--snapshotter", "native"];

for (const version of ["1.6", "1.7"] as const satisfies readonly PeerVersion[]) {
  describe(`ctr content and snapshots on containerd ${version}`, () => {
    const images = testImages();
    let daemon: Daemon;
    let pair: Pair;
    before(async () => {
      daemon = await startPeer(version);
      pair = pairOn(daemon, version);
      ok(pair.theirs("images", "import", "--snapshotter", "native", images.archive("layers10")));
      // the import leaves its index behind: collected now, not between two clients' lists
      ok(pair.theirs("leases", "create", "--id", "sweep"));
      ok(pair.theirs("leases", "rm", "--sync", "sweep"));
    });
    after(() => daemon.stop());

    test("content ls, get, label, rm", () => {
      assert.match(pair.sameButAge("content", "ls").out, /^DIGEST\t+SIZE\tAGE\t+LABELS\n/);
      pair.same("content", "ls", "-q");
      assert.equal(pair.same("content", "active").out, "REF\tSIZE\tAGE\t\n");
      const manifest = images.digest("layers10");
      pair.same("content", "get", manifest);
      assert.match(ok(pair.ours("content", "label", manifest, "k=v")), /(^|,)k=v(,|\n)/);
      assert.doesNotMatch(ok(pair.ours("content", "label", manifest, "k=")), /k=v/);
      const none = `sha256:${"0".repeat(64)}`;
      pair.same("content", "rm", none);
      pair.same("content", "get", none);
      pair.same("content", "rm", "sha256:12");
    });

    test("ingest checks what it is told, edit makes a new blob", () => {
      const data = "hello\n".repeat(150_000);
      const digest = `sha256:${createHash("sha256").update(data).digest("hex")}`;
      const wrong = ingest("k1", data, "--expected-digest", `sha256:${"0".repeat(64)}`);
      assert.equal(wrong.status, 1);
      assert.match(wrong.stderr, /^ctr: .*unexpected/);
      assert.match(ok(pair.ours("content", "active")), /^k1\t900kB\t/m);
      assert.equal(ingest("k2", data, "--expected-digest", digest).status, 0);
      assert.equal(ok(pair.theirs("content", "get", digest)), data);
      const next = ok(pair.ours("content", "edit", "--editor", "sed -i '2,$d'", digest)).trim();
      assert.equal(ok(pair.theirs("content", "get", next)), "hello\n");
    });

    test("objects of a registry", async () => {
      await using registry = await startRegistry({ filled: images });
      const manifest = images.digest("busybox");
      const text = ok(pair.ours("content", "fetch-object", registry.ref("busybox")));
      assert.equal(`sha256:${createHash("sha256").update(text).digest("hex")}`, manifest);
      const config = (JSON.parse(text) as { config: { digest: string } }).config.digest;
      const blob = ok(pair.ours("content", "fetch-blob", registry.ref("busybox"), config));
      assert.equal(`sha256:${createHash("sha256").update(blob).digest("hex")}`, config);
      ok(pair.ours("content", "fetch", registry.ref("busybox")));
      assert.equal(ok(pair.theirs("content", "get", config)), blob);
      ok(pair.ours("content", "fetch", "--metadata-only", registry.ref("multi")));
      pair.same("images", "check");
    });

    test("snapshots ls, tree, usage, info", () => {
      const list = pair.same(...SNAPSHOTS, "ls").out;
      assert.match(list, /^KEY +PARENT +KIND +\n/);
      pair.same(...SNAPSHOTS, "tree");
      pair.same(...SNAPSHOTS, "usage");
      const key = list.split("\n")[1]?.split(" ")[0] ?? "";
      pair.same(...SNAPSHOTS, "usage", "-b", key);
      pair.same(...SNAPSHOTS, "info", key);
      pair.same(...SNAPSHOTS, "info", "nosuch");
      pair.same(...SNAPSHOTS, "rm", "nosuch");
      pair.same(...SNAPSHOTS, "commit", "a", "b");
    });

    test("prepare, change, diff, commit, remove", () => {
      const top =
        ok(pair.theirs(...SNAPSHOTS, "ls"))
          .split("\n")[1]
          ?.split(" ")[0] ?? "";
      assert.match(
        ok(pair.ours(...SNAPSHOTS, "prepare", "-t", "/mnt/x", "w1", top)),
        /^mount -t bind \S+ \/mnt\/x -o rbind,rw\n$/,
      );
      pair.same(...SNAPSHOTS, "mounts", "/mnt/x", "w1");
      const dir = /bind (\S+) /.exec(ok(pair.ours(...SNAPSHOTS, "mounts", "/mnt/x", "w1")))?.[1] ?? "";
      execFileSync("sh", ["-c", 'echo new > "$1"', "sh", join(dir, "added")]);
      const tar = pair.ours(
        ...SNAPSHOTS,
        "diff",
        "--media-type",
        "application/vnd.oci.image.layer.v1.tar",
        "w1",
      );
      assert.match(ok(tar), /^added\0/);
      ok(pair.ours(...SNAPSHOTS, "commit", "c1", "w1"));
      ok(pair.ours(...SNAPSHOTS, "view", "v1", "c1"));
      assert.equal(ok(pair.ours(...SNAPSHOTS, "label", "c1", "k=v")).includes("k=v"), true);
      pair.same(...SNAPSHOTS, "ls");
      pair.same(...SNAPSHOTS, "usage", "c1");
      assert.equal(pair.ours(...SNAPSHOTS, "rm", "c1").code, 1);
      ok(pair.ours(...SNAPSHOTS, "rm", "v1", "c1"));
    });

    test("unpack", () => {
      const digest = images.digest("layers10");
      const said = ok(pair.ours("snapshots", "--snapshotter", "overlayfs", "unpack", digest));
      assert.equal(said, `unpacking ${digest} (application/vnd.oci.image.manifest.v1+json)...done\n`);
      const row = ok(pair.theirs("images", "check", `name==${imageName("layers10")}`)).split("\n")[1] ?? "";
      assert.match(row, /true\s*$/);
    });

    test("prune references lets go of layers", () => {
      ok(pair.ours("content", "prune", "references"));
      assert.doesNotMatch(ok(pair.theirs("content", "ls")), /gc\.ref\.content\.l\./);
    });

    function ingest(key: string, input: string, ...flags: string[]) {
      const main = join(import.meta.dirname, "../../src/main.ts");
      const lead = "Deno" in globalThis ? ["run", "-A"] : [];
      const args = [...lead, main, "ctr", "-a", daemon.address, "content", "ingest", ...flags, key];
      return spawnSync(process.execPath, args, { input, encoding: "utf8" });
    }
  });
}
