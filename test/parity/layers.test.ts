/** Layers against GNU tar, and made layers against what they were made from. Needs root; Debian's minbase when cached. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { gunzipSync, gzipSync, zstdCompressSync, zstdDecompressSync } from "node:zlib";
import type { LocalContentStore } from "../../src/core/content/content.ts";
import { codeOf } from "../../src/core/errors.ts";
import type { Mount } from "../../src/core/mounts/mount.ts";
import { withTempMount } from "../../src/platform/mounts/mounts.ts";
import { HelperApplier } from "../../src/plugins/diff/apply.ts";
import { HelperComparer } from "../../src/plugins/diff/compare.ts";
import { parseStreamProcessors } from "../../src/plugins/diff/stream-processors.ts";
import {
  bind,
  call,
  listing,
  overlay,
  Rig,
  removeWorkspace,
  sha256,
  T,
  tar,
  workspace,
} from "../security/unpack-rig.ts";

const skip = process.getuid?.() !== 0;
const dir = workspace("layers");
const rig = new Rig(dir);
const odd = join(dir, "odd");
const OCI = "application/vnd.oci.image.layer.v1.tar";
const MINBASE = "/var/cache/gantry-test/debian-minbase.tar";

/** A tree with one of everything. */
const MAKE_ODD = `
mkdir -p a/b/c empty; echo one >a/one; ln a/one a/b/uno; ln -s ../one a/b/sym; ln -s /abs/nowhere dangling
mkfifo a/pipe; mknod a/null c 1 3; mknod a/blk b 8 1; echo s >suid; chmod 6755 suid; chmod 1777 empty
chown 12345:54321 a/b; chown -h 1:2 a/b/sym; chown 3000000000:4000000000 a/one
truncate -s 20M a/holes; printf end >>a/holes; printf mid | dd of=a/holes bs=1 seek=5000000 conv=notrunc status=none
printf x >"$(printf 'bytes-\\377\\376-name')"; printf x >"new
line"; printf x >'with space'; mkdir -p "$(printf 'long%.0s' $(seq 50))/$(printf 'deep%.0s' $(seq 50))"
echo long >"$(printf 'long%.0s' $(seq 50))/$(printf 'deep%.0s' $(seq 50))/file"
ln -s "$(printf 'target/%.0s' $(seq 60))" longlink
: >zero; setfattr -n user.text -v hello a/one; setfattr -n user.bytes -v 0x00ff0a3d00 a/b
setfattr -n security.capability -v 0x0100000200200000000000000000000000000000 suid
touch -d '2001-02-03 04:05:06.123456789' a/one; touch -h -d '1999-01-01 00:00:00.5' a/b/sym dangling
touch -d '2040-01-01' zero; touch -d '1970-01-01 00:00:00' a/b/c; touch -d '2010-10-10 10:10:10.1' a/b a
`;

before(() => {
  if (skip) return;
  mkdirSync(odd);
  execFileSync("bash", ["-ec", MAKE_ODD], { cwd: odd });
});
after(() => removeWorkspace(dir));

/** What GNU tar makes of an archive. */
function reference(archive: string): string {
  const root = rig.folder();
  execFileSync("tar", ["--xattrs", "--xattrs-include=*", "--numeric-owner", "-xpf", archive, "-C", root]);
  return listing(root);
}

describe("what is unpacked equals GNU tar's", { skip }, () => {
  const formats = ["posix", "gnu", "ustar"];
  for (const format of formats) {
    for (const extra of format === "ustar" ? [[]] : [[], ["--sparse"]]) {
      test(`format ${format} ${extra.join(" ")}`, async () => {
        const archive = join(dir, `odd-${format}${extra.length}.tar`);
        const attributes = format === "posix" ? ["--xattrs", "--xattrs-include=*"] : [];
        // ustar cannot say the large ids nor the long names.
        const without =
          format === "ustar" ? ["--exclude=long*", "--exclude=./a/one", "--exclude=./a/b/uno"] : [];
        const sort = ["--sort=name", `--format=${format}`, "--numeric-owner"];
        execFileSync("tar", [...sort, ...attributes, ...extra, ...without, "-cf", archive, "-C", odd, "."]);
        const root = rig.folder();
        await rig.apply(readFileSync(archive), bind(root));
        assert.equal(listing(root), reference(archive));
      });
    }
  }
  for (const version of ["0.0", "0.1", "1.0"]) {
    test(`pax sparse ${version}`, async () => {
      const archive = join(dir, `sparse-${version}.tar`);
      execFileSync("tar", [
        "--format=posix",
        "--sparse",
        `--sparse-version=${version}`,
        "-cf",
        archive,
        "-C",
        odd,
        "a/holes",
      ]);
      const root = rig.folder();
      await rig.apply(readFileSync(archive), bind(root));
      assert.deepEqual(readFileSync(join(root, "a/holes")), readFileSync(join(odd, "a/holes")));
      assert.ok(statSync(join(root, "a/holes")).blocks < 1000);
    });
  }
  test("Debian's minbase, by gzip and zstd", { skip: !existsSync(MINBASE), timeout: 120_000 }, async () => {
    const want = reference(MINBASE);
    const bytes = readFileSync(MINBASE);
    const { digest } = rig.store(bytes);
    const packed: [string, Uint8Array][] = [
      [`${OCI}+gzip`, gzipSync(bytes, { level: 1 })],
      [`${OCI}+zstd`, zstdCompressSync(bytes)],
    ];
    for (const [type, layer] of packed) {
      const root = rig.folder();
      const diff = await rig.apply(layer, bind(root), type);
      assert.equal(diff.digest, digest);
      assert.equal(diff.size, BigInt(bytes.length));
      assert.equal(listing(root), want);
    }
  });
  test("several gzip members are one layer", async () => {
    const bytes = tar({ name: "f", data: "x".repeat(100_000) });
    const layer = Buffer.concat([gzipSync(bytes.subarray(0, 50_000)), gzipSync(bytes.subarray(50_000))]);
    const root = rig.folder();
    const diff = await rig.apply(layer, bind(root), "application/vnd.docker.image.rootfs.diff.tar.gzip");
    assert.equal(diff.digest, sha256(bytes));
    assert.equal(statSync(join(root, "f")).size, 100_000);
  });
  test("bytes after the end of the archive count for the digest", async () => {
    const bytes = Buffer.concat([tar({ name: "f", data: "x" }), Buffer.alloc(10_240, 1)]);
    const diff = await rig.apply(gzipSync(bytes), bind(rig.folder()), `${OCI}+gzip`);
    assert.equal(diff.digest, sha256(bytes));
  });
  test("a blob that is not what its descriptor says is refused", async () => {
    const desc = rig.store(tar({ name: "f", data: "x" }));
    writeFileSync(join(dir, desc.digest.slice(7)), tar({ name: "g", data: "y" }));
    await assert.rejects(rig.applier.apply(call, desc, bind(rig.folder())), { code: "failed-precondition" });
  });
});

test("stream processors turn one media type into another", { skip }, async () => {
  const bytes = gzipSync(tar({ name: "f", data: "plain" }));
  const blob = bytes.map((byte) => byte ^ 0x55);
  const python = "import sys; sys.stdout.buffer.write(bytes(b ^ 0x55 for b in sys.stdin.buffer.read()))";
  const script = `test "$STREAM_PROCESSOR_MEDIATYPE" = application/x-xor; test "$KEY" = k; cat <&3 >"$1"; exec python3 -c '${python}'`;
  const got = join(dir, "payload");
  const processors = parseStreamProcessors({
    xor: {
      accepts: ["application/x-xor"],
      returns: `${OCI}+gzip`,
      path: "sh",
      args: ["-ec", script, "sh", got],
      env: ["KEY=k"],
    },
    bad: {
      accepts: ["application/x-bad"],
      returns: OCI,
      path: "sh",
      args: ["-c", "echo no key >&2; exit 3"],
    },
  });
  const content = { blobPath: async (_: unknown, digest: string) => join(dir, digest.slice(7)) };
  const applier = new HelperApplier(
    content as unknown as LocalContentStore,
    { entries: 100, bytes: 0 },
    processors,
  );
  const root = rig.folder();
  const processorPayloads = new Map([["xor", { typeUrl: "t", value: Uint8Array.of(1, 2) }]]);
  const diff = await applier.apply(call, rig.store(blob, "application/x-xor"), bind(root), {
    processorPayloads,
  });
  assert.equal(diff.digest, sha256(gunzipSync(bytes)));
  assert.equal(readFileSync(join(root, "f"), "utf8"), "plain");
  assert.deepEqual([...readFileSync(got)], [0x0a, 1, 0x74, 0x12, 2, 1, 2]);
  await assert.rejects(
    applier.apply(call, rig.store(blob, "application/x-bad"), bind(rig.folder())),
    /"bad" ended with code 3: no key/,
  );
});

describe("a layer unpacked while it arrives", { skip }, () => {
  const bytes = tar({ name: "p/q", data: "x".repeat(300_000) }, { name: "d/.wh.gone" }, { name: ".wh.f" });
  const layer = gzipSync(bytes);

  test("is stored, hashed and completed when the parents are known", async () => {
    const lower = rig.folder();
    const lowerTar = tar(
      { name: "p", type: T.dir, mode: 0o711, uid: 4 },
      { name: "d", type: T.dir },
      { name: "d/gone" },
      { name: "f" },
    );
    await rig.apply(lowerTar, bind(lower));
    const upper = rig.folder();
    const blobPath = join(dir, "arriving");
    writeFileSync(blobPath, layer.subarray(0, 100)); // resumed
    await using stream = await rig.applier.start(call, {
      mediaType: `${OCI}+gzip`,
      blobPath,
      mounts: bind(upper),
    });
    for (let at = 100; at < layer.length; at += 77) await stream.write(layer.subarray(at, at + 77));
    const seen = await stream.end();
    assert.deepEqual(seen, {
      blob: { digest: sha256(layer), size: BigInt(layer.length) },
      diff: { digest: sha256(bytes), size: BigInt(bytes.length) },
    });
    assert.deepEqual(readFileSync(blobPath), layer);
    const mounts = overlay(upper, rig.folder(), [lower]);
    await stream.finish(mounts);
    await withTempMount(mounts, (root) => {
      assert.deepEqual(listing(root).match(/b'[^']*'/g), ["b'd'", "b'p'", "b'p/q'"]);
      const p = statSync(join(root, "p"));
      assert.deepEqual([p.mode & 0o777, p.uid], [0o711, 4]);
    });
  });
  test("without parents its whiteouts mean nothing", async () => {
    const root = rig.folder();
    await using stream = await rig.applier.start(call, { mediaType: `${OCI}+gzip`, mounts: bind(root) });
    await stream.write(layer);
    await stream.end();
    await stream.finish(bind(root));
    assert.deepEqual(listing(root).match(/b'[^']*'/g), ["b'd'", "b'p'", "b'p/q'"]);
  });
  test("without mounts it is only stored", async () => {
    const blobPath = join(dir, "stored");
    await using stream = await rig.applier.start(call, { mediaType: "application/anything", blobPath });
    await stream.write(layer);
    const seen = await stream.end();
    assert.deepEqual(seen, { blob: { digest: sha256(layer), size: BigInt(layer.length) } });
    assert.deepEqual(readFileSync(blobPath), layer);
  });
  test("an error comes back while writing, and abort kills", async () => {
    await using stream = await rig.applier.start(call, { mediaType: OCI, mounts: bind(rig.folder()) });
    const junk = Buffer.alloc(65536, 0x41);
    await assert.rejects(async () => {
      for (;;) await stream.write(junk);
    }, /checksum|not a number/);
    const other = await rig.applier.start(call, { mediaType: OCI, mounts: bind(rig.folder()) });
    await other.abort();
    await assert.rejects(other.end());
  });
  test("the end of the call kills the helper", async () => {
    const stop = new AbortController();
    await using stream = await rig.applier.start(call.until(stop.signal), {
      mediaType: OCI,
      mounts: bind(rig.folder()),
    });
    const ending = stream.end().catch((err: unknown) => err);
    stop.abort();
    assert.equal(codeOf(await ending), "canceled");
  });
});

/** Collects made layers in memory. */
class Store {
  readonly blobs = new Map<string, Uint8Array>();
  readonly labels = new Map<string, ReadonlyMap<string, string>>();
  readonly content = {
    externalWriter: async () => {
      const path = join(rig.folder(), "data");
      return {
        path,
        offset: 0n,
        progress: () => {},
        adopt: async (
          size: bigint,
          digest: string,
          _expected: unknown,
          labels: ReadonlyMap<string, string>,
        ) => {
          const bytes = readFileSync(path);
          assert.equal(BigInt(bytes.length), size);
          assert.equal(`sha256:${createHash("sha256").update(bytes).digest("hex")}`, digest);
          this.blobs.set(digest, bytes);
          this.labels.set(digest, labels);
          return digest;
        },
        abort: async () => {},
        [Symbol.asyncDispose]: async () => {},
      };
    },
  } as unknown as LocalContentStore;

  async make(lower: Mount[], upper: Mount[], mediaType: string): Promise<Uint8Array> {
    const desc = await new HelperComparer(this.content).compare(call, lower, upper, { mediaType });
    const bytes = this.blobs.get(desc.digest) ?? new Uint8Array();
    const plain = mediaType.endsWith("gzip")
      ? gunzipSync(bytes)
      : mediaType.endsWith("zstd")
        ? zstdDecompressSync(bytes)
        : bytes;
    assert.equal(this.labels.get(desc.digest)?.get("containerd.io/uncompressed"), sha256(plain));
    return plain;
  }
}

/** Changes of every kind to the odd tree. */
const CHANGE = `
rm a/null; rm -r a/b/c; echo two >a/one.new; mv a/one.new zero; chmod 700 empty; ln -sfn elsewhere dangling
rm suid; mkdir suid; echo in >suid/file; rm -r empty; echo file >empty; mkdir -p n/e/w; echo x >n/e/w/x; ln n/e/w/x n/link
setfattr -n user.added -v 1 'with space'; rm -rf a/b; mkdir a/b; echo fresh >a/b/fresh; touch a/b/c
python3 -c "import socket; socket.socket(socket.AF_UNIX).bind('n/sock')"
`;

describe("a made layer gives the same tree again", { skip }, () => {
  const store = new Store();
  const lower = join(dir, "odd");
  /** Listing without what a layer does not keep: times of directories that only lost entries, sockets. */
  const comparable = (path: string): string =>
    listing(path)
      .split("\n")
      .filter((line) => !line.includes("n/sock"))
      // Overlay counts the links of the lower file, also those that are hidden.
      .map((line) => (line.startsWith("b'a/one'") ? line.replace(/ \d (?=\w{64})/, " L ") : line))
      .map((line) => (line.includes(" 0o4") ? line.replace(/ \d{18,19} /, " T ") : line))
      .join("\n");

  test("of everything, from an empty tree", { timeout: 60_000 }, async () => {
    for (const type of [OCI, `${OCI}+gzip`, `${OCI}+zstd`]) {
      const layer = await store.make([], bind(lower), type);
      const root = rig.folder();
      await rig.apply(layer, bind(root));
      assert.equal(listing(root), listing(lower));
    }
  });
  test("is the same bytes each time", async () => {
    const first = await store.make([], bind(lower), `${OCI}+gzip`);
    assert.deepEqual(await store.make([], bind(lower), `${OCI}+gzip`), first);
  });
  test("of nothing changed is empty", async () => {
    assert.equal((await store.make(bind(lower), bind(lower), OCI)).length, 1024);
  });
  test("from an overlay's upper directory, and from two trees", { timeout: 60_000 }, async () => {
    const upper = rig.folder();
    const mounts = overlay(upper, rig.folder(), [lower]);
    const view: Mount[] = [{ type: "bind", source: lower, target: "", options: ["ro", "rbind"] }];
    await withTempMount(mounts, async (merged) => {
      execFileSync("bash", ["-ec", CHANGE], { cwd: merged });
      const want = comparable(merged);
      const made = {
        upper: await store.make(view, mounts, OCI),
        trees: await store.make(bind(lower), bind(merged), OCI),
        // Other lower mounts than the overlay's own: the merged view is mounted.
        merged: await store.make([], mounts, OCI),
      };
      for (const [how, layer] of Object.entries(made)) {
        const target = rig.folder();
        const snapshot = how === "merged" ? bind(target) : overlay(target, rig.folder(), [lower]);
        await rig.apply(layer, snapshot);
        await withTempMount(snapshot, (root) => assert.equal(comparable(root), want, how));
      }
    });
  });
});
