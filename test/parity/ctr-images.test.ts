/** Our `ctr images` beside Debian's on Debian's daemon. Needs root, runc is not run. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { imageName, testImages } from "../fixtures/images.ts";
import { type Registry, startRegistry, USER } from "../fixtures/registry.ts";
import { type Daemon, type PeerVersion, startPeer } from "../peers/peer.ts";
import { ok, type Pair, pairOn } from "./ctr.ts";

const NATIVE = ["--snapshotter", "native"];

for (const version of ["1.6", "1.7"] as const satisfies readonly PeerVersion[]) {
  describe(`ctr images on containerd ${version}`, () => {
    const images = testImages();
    let daemon: Daemon;
    let registry: Registry;
    let dir: string;
    let pair: Pair;
    before(async () => {
      daemon = await startPeer(version);
      registry = await startRegistry({ filled: images });
      dir = await mkdtemp(join(tmpdir(), "gantry-parity-"));
      pair = pairOn(daemon, version);
    });
    after(async () => {
      await daemon.stop();
      await registry.stop();
      rmSync(dir, { recursive: true, force: true });
    });

    test("pull: what ours brings, theirs finds complete and unpacked", () => {
      for (const name of ["multi", "layers10"]) {
        const ref = registry.ref(name);
        const said = ok(pair.ours("images", "pull", ...NATIVE, "--print-chainid", ref));
        assert.match(said, /^image chain ID: sha256:/m);
        assert.match(said, /^done: /m);
        const row = ok(pair.theirs("images", "check", ...NATIVE, `name==${ref}`)).split("\n")[1] ?? "";
        assert.match(row, /complete \(\d+\/\d+\) .* true/);
      }
      pair.same("images", "ls");
    });

    test("tables are equal: ls, check, usage; after their pull and after ours", () => {
      ok(pair.theirs("images", "pull", "--plain-http", ...NATIVE, registry.ref("busybox")));
      const list = pair.same("images", "ls").out;
      assert.match(list, /^REF +TYPE +DIGEST +SIZE +PLATFORMS +LABELS +\n/);
      pair.same("images", "ls", "-q");
      pair.same("images", "ls", "name~=busy");
      pair.same("images", "check", ...NATIVE);
      pair.same("images", "check");
      if (version === "1.7") pair.same("images", "usage", ...NATIVE, registry.ref("multi"));
    });

    test("tag, label, rm", () => {
      const ref = registry.ref("busybox");
      assert.equal(
        ok(pair.ours("images", "tag", ref, "a.test/b:1", "a.test/b:2")),
        "a.test/b:1\na.test/b:2\n",
      );
      const again = pair.ours("images", "tag", ref, "a.test/b:1");
      assert.equal(again.code, 1);
      assert.match(again.err, /^ctr: image "a\.test\/b:1": already exists\n {5}add --force/);
      ok(pair.ours("images", "tag", "--force", ref, "a.test/b:1"));
      assert.equal(ok(pair.ours("images", "label", "a.test/b:1", "k=v", "x=y")), "k=v,x=y\n");
      assert.match(pair.same("images", "ls").out, /k=v,x=y/);
      assert.equal(ok(pair.ours("images", "rm", "a.test/b:1", "a.test/b:2")), "a.test/b:1\na.test/b:2\n");
      pair.same("images", "rm", "a.test/b:1");
    });

    test("export makes the same archive; import of each other's works", () => {
      ok(pair.ours("images", "import", ...NATIVE, images.archive("nonroot")));
      const name = imageName("nonroot");
      const [mine, other] = [join(dir, `${version}-ours.tar`), join(dir, `${version}-theirs.tar`)];
      assert.equal(ok(pair.ours("images", "export", mine, name)), "");
      ok(pair.theirs("images", "export", other, name));
      assert.deepEqual(members(mine), members(other));
      const index = (tar: string): string => execFileSync("tar", ["-xOf", tar, "index.json"]).toString();
      if (version === "1.7") assert.equal(index(mine), index(other));
      ok(pair.ours("images", "rm", "--sync", name));
      assert.match(ok(pair.theirs("images", "import", ...NATIVE, mine)), /nonroot/);
      ok(pair.ours("images", "rm", "--sync", name));
      const line = `unpacking ${name} (${images.digest("nonroot")})...done\n`;
      assert.equal(ok(pair.ours("images", "import", ...NATIVE, other)), line);
      pair.same("images", "check", ...NATIVE);
    });

    test("convert makes the same documents, byte for byte", () => {
      for (const tag of ["multi:latest", "multi:schema2"]) {
        const [name = "", word = ""] = tag.split(":");
        const ref = registry.ref(name, word);
        ok(pair.theirs("images", "pull", "--plain-http", ...NATIVE, "--all-platforms", ref));
        for (const flags of [["--oci"], ["--uncompress"], ["--oci", "--uncompress", "--all-platforms"]]) {
          const want = ok(pair.theirs("images", "convert", ...flags, ref, "c.test/theirs:1"));
          assert.equal(ok(pair.ours("images", "convert", ...flags, ref, "c.test/ours:1")), want);
        }
      }
      ok(pair.ours("images", "rm", "c.test/ours:1", "c.test/theirs:1"));
    });

    test("a half export leaves no file", () => {
      const path = join(dir, "none.tar");
      const said = pair.ours("images", "export", path, "no.such/image:1");
      assert.equal(said.code, 1);
      assert.match(said.err, /^ctr: image "no\.such\/image:1": not found/);
      assert.ok(!readdirSync(dir).includes("none.tar"));
    });

    test("mount shows the root, unmount --rm leaves nothing", () => {
      const target = join(dir, "mnt");
      rmSync(target, { recursive: true, force: true });
      const before = ok(pair.theirs("snapshots", ...NATIVE, "ls"));
      mkdirSync(target);
      const said = ok(pair.ours("images", "mount", ...NATIVE, registry.ref("multi"), target));
      assert.match(said, /^sha256:[0-9a-f]{64}\n/);
      assert.equal(readFileSync(join(target, "etc/arch"), "utf8"), "amd64\n");
      ok(pair.ours("images", "unmount", ...NATIVE, "--rm", target));
      assert.deepEqual(readdirSync(target), []);
      assert.equal(ok(pair.theirs("snapshots", ...NATIVE, "ls")), before);
      assert.equal(ok(pair.theirs("leases", "ls", "-q")), "");
    });

    test("push to a registry with TLS and a password; theirs pulls it", async () => {
      await using guarded = await startRegistry({ tls: true, auth: true });
      const ref = guarded.ref("pushed");
      const from = registry.ref("busybox");
      const user = ["-u", `${USER.name}:${USER.password}`];
      const ca = ["--tlscacert", guarded.ca ?? ""];
      const refused = pair.ours("images", "push", ...ca, ref, from);
      assert.equal(refused.code, 1);
      assert.match(refused.err, /^ctr: .*401 Unauthorized.*\n {5}.*--user/);
      ok(pair.ours("images", "push", ...ca, ...user, ref, from));
      // 1.6 speaks plain HTTP to this machine whatever it is told
      const check = version === "1.6" ? pair.ours : pair.theirs;
      ok(check("images", "pull", "-k", ...user, ...NATIVE, ref));
    });

    test("errors are one line, a hint, and code 1", () => {
      const bad = pair.ours("images", "pull", "busybox");
      assert.equal(bad.code, 1);
      assert.match(
        bad.err,
        /^ctr: invalid reference "busybox": .*\n {5}use the full name: \S+\/busybox:latest\n$/,
      );
      const missing = pair.ours("images", "pull", registry.ref("nosuch"));
      assert.equal(missing.code, 1);
      assert.match(missing.err, /^ctr: failed to resolve reference .*not found\n/);
      const platform = pair.ours("images", "pull", "--platform", "linux/s390x", registry.ref("multi"));
      assert.equal(platform.code, 1);
      assert.match(platform.err, /no match for platform.*\n {5}the image offers: linux\/amd64, linux\/arm64/);
    });

    test("prune takes what no container uses", () => {
      if (version === "1.7") pair.same("images", "prune");
      ok(pair.ours("images", "prune", "--all"));
      assert.equal(pair.same("images", "ls", "-q").out, "");
      assert.equal(pair.same("content", "ls", "-q").out, "", "the last removal waited for the collection");
    });
  });
}

/** Files of a tar archive with their bytes. */
function members(path: string): Map<string, string> {
  const bytes = readFileSync(path);
  const out = new Map<string, string>();
  for (let at = 0; at + 512 <= bytes.length && bytes[at] !== 0; ) {
    const name = bytes.toString("utf8", at, at + 100).replace(/\0.*$/s, "");
    const size = Number.parseInt(bytes.toString("ascii", at + 124, at + 136), 8);
    const data = bytes.subarray(at + 512, at + 512 + size);
    // 1.7 writes a media type into the index, 1.6 does not
    const index = data.toString("utf8").replace(/"mediaType":"[^"]+index[^"]+",/, "");
    out.set(name, name === "index.json" ? index : data.toString("base64"));
    at += 512 + Math.ceil(size / 512) * 512;
  }
  return out;
}
