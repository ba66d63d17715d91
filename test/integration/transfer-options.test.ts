/**
 * What configuration and flags ask of a pull, with a real daemon: verifiers and stream processors refuse on every path, a
 * pull cut off by kill -9 goes on where it was, requests are shown. Needs root (layers are unpacked).
 */
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { describe, test } from "node:test";
import { digestOf, FakeRegistry } from "../fakes/registry.ts";
import { tarDirectory, tarEnd, tarFile, tarPadding } from "../fakes/tar-blocks.ts";
import type { Said } from "../peers/peer.ts";
import { peerBin, startDaemon } from "../peers/peer.ts";
import { until } from "./client.ts";
import { Engine } from "./engine.ts";
import { BUN, MAIN } from "./program.ts";

function layer(dir: string, size: number): Uint8Array {
  const data = randomBytes(size);
  const file = tarFile(`${dir}/data`, BigInt(size));
  return Buffer.concat([tarDirectory(dir), file, data, tarPadding(BigInt(size)), tarEnd()]);
}

/** Our client without blocking this process: the registry lives in it. */
function ctrOn(
  address: string,
  [program, ...lead]: readonly [string, ...string[]] = [BUN, MAIN, "ctr"],
): (...args: string[]) => Promise<Said> {
  return (...args) =>
    new Promise((resolve, reject) => {
      const child = spawn(program, [...lead, "-a", address, ...args], { stdio: ["ignore", "pipe", "pipe"] });
      let out = "";
      let err = "";
      child.stdout.on("data", (d) => (out += String(d)));
      child.stderr.on("data", (d) => (err += String(d)));
      child.on("error", reject);
      child.on("close", (code) => resolve({ code: code ?? 128, out, err }));
    });
}

describe("transfer options", { skip: process.getuid?.() !== 0 }, () => {
  test("kill -9 of the daemon in mid-pull: the next pull asks for the rest only", async () => {
    await using fake = await FakeRegistry.start();
    const image = fake.addImage("team/app", "v1", [layer("d", 900_000)]);
    const blob = `GET /v2/team/app/blobs/${image.layers[0]}`;
    fake.fail({ match: blob, stallAfter: 600_000 });
    const engine = new Engine("bun");
    try {
      await engine.start();
      const ctr = ctrOn(engine.address);
      const ref = `${fake.host}/team/app:v1`;
      const cut = ctr("images", "pull", ref);
      const ingests = join(engine.root, "io.containerd.content.v1.content", "ingest");
      const received = (): number =>
        Math.max(
          0,
          ...readdirSync(ingests).map(
            (id) => statSync(join(ingests, id, "data"), { throwIfNoEntry: false })?.size ?? 0,
          ),
        );
      await until("most of the layer", () => received() > 400_000);
      await engine.end("SIGKILL");
      assert.notEqual((await cut).code, 0);
      await engine.start();
      const again = await ctr("images", "pull", ref);
      assert.equal(again.code, 0, again.err + again.out);
      const range = fake.requests(blob).at(-1)?.headers.range ?? "";
      assert.ok(Number(/^bytes=(\d+)-$/.exec(range)?.[1]) > 400_000, `second request: "${range}"`);
      assert.match((await ctr("images", "check")).out, /complete \(\d\/\d\) .* true/);
    } finally {
      await engine.stop();
    }
  });

  test("verifiers: no path goes round one that refuses", async () => {
    await using fake = await FakeRegistry.start();
    fake.addImage("team/good", "v1", [layer("g", 1000)]);
    fake.addImage("team/bad", "v1", [layer("b", 1000)]);
    const dir = mkdtempSync(join(tmpdir(), "gantry-verifiers-"));
    const program = join(dir, "policy");
    writeFileSync(program, '#!/bin/sh\ncase "$2" in *bad*) echo "not on my watch"; exit 1;; esac\n');
    chmodSync(program, 0o755);
    const table = '[plugins."io.containerd.image-verifier.v1.bindir"]';
    const config = `${table}\n  bin_dir = "${dir}"\n  verify_client_images = true\n`;
    const daemon = await startDaemon({ command: [BUN, MAIN, "daemon"], config });
    try {
      const ctr = ctrOn(daemon.address);
      const good = `${fake.host}/team/good:v1`;
      const bad = `${fake.host}/team/bad:v1`;
      for (const more of [[], ["--local"]]) {
        const said = await ctr("images", "pull", ...more, good);
        assert.equal(said.code, 0, said.err);
        const refused = await ctr("images", "pull", ...more, bad);
        assert.equal(refused.code, 1);
        assert.match(refused.err, /refused by verifier "policy" .*not on my watch/);
      }
      // Debian's client pulls by itself: its image record is refused.
      const debian = ctrOn(daemon.address, [join(peerBin("1.6"), "ctr")]);
      assert.equal((await debian("images", "pull", "--plain-http", good)).code, 0);
      assert.match((await debian("images", "pull", "--plain-http", bad)).err, /refused by verifier "policy"/);
      for (const more of [[], ["--local"]])
        assert.match((await ctr("images", "tag", ...more, good, bad)).err, /refused by verifier "policy"/);
      const tar = join(daemon.dir, "image.tar");
      assert.equal((await ctr("images", "export", tar, good)).code, 0);
      const index = execFileSync("tar", ["-xOf", tar, "index.json"]).toString();
      writeFileSync(join(daemon.dir, "index.json"), index.replaceAll("team/good:", "team/bad:"));
      for (const name of ["index.json", "manifest.json"]) execFileSync("tar", ["--delete", "-f", tar, name]);
      execFileSync("tar", ["-rf", tar, "-C", daemon.dir, "index.json"]);
      assert.match((await ctr("images", "import", tar)).err, /refused by verifier "policy"/);
      // A verifier that cannot be run refuses everything.
      chmodSync(program, 0o644);
      for (const more of [[], ["--local"]])
        assert.match(
          (await ctr("images", "pull", ...more, good)).err,
          /refused: verifier "policy" is not executable/,
        );
      assert.doesNotMatch((await ctr("images", "ls", "-q")).out, /bad/);
      assert.equal((await ctr("leases", "ls", "-q")).out, "");
    } finally {
      await daemon.stop();
      rmSync(dir, { recursive: true, force: true });
    }
  });

  test("stream processors: layers of a type of their own go through them, and nothing passes when they fail", async () => {
    await using fake = await FakeRegistry.start();
    const type = "application/vnd.oci.image.layer.v1.tar+encrypted";
    const dir = mkdtempSync(join(tmpdir(), "gantry-processors-"));
    const plain = layer("secret", 50_000);
    const hidden = Buffer.from(Buffer.from(plain).toString("base64"));
    const digest = fake.addBlob(hidden);
    const { config } = fake.addImage("team/plain", "v1", [plain]);
    const doc = JSON.parse(Buffer.from(fake.manifests.get("team/plain:v1")?.bytes ?? "").toString());
    doc.layers = [{ mediaType: type, digest, size: hidden.length }];
    fake.addManifest("team/hidden", "v1", doc);
    assert.equal(doc.config.digest, config);
    const program = join(dir, "decode");
    const table = `[stream_processors."test.decoder"]\n  accepts = ["${type}"]\n  returns = "application/vnd.oci.image.layer.v1.tar"\n  path = "${program}"\n`;
    const daemon = await startDaemon({ command: [BUN, MAIN, "daemon"], config: table });
    const ref = `${fake.host}/team/hidden:v1`;
    const chain = join(daemon.dir, "root", "io.containerd.snapshotter.v1.overlayfs", "snapshots");
    try {
      const ctr = ctrOn(daemon.address);
      const write = (script: string): void => {
        writeFileSync(program, `#!/bin/sh\n${script}\n`);
        chmodSync(program, 0o755);
      };
      for (const more of [[], ["--local"]]) {
        for (const [script, says] of [
          ["echo wrong key >&2; exit 3", /wrong key/],
          // Says all is well, and gives other bytes.
          ["head -c 512 /dev/zero", /diff id|digest/],
        ] as const) {
          write(script);
          const refused = await ctr("images", "pull", ...more, ref);
          assert.equal(refused.code, 1, refused.out);
          assert.match(refused.err, says);
        }
        rmSync(program);
        assert.equal((await ctr("images", "pull", ...more, ref)).code, 1);
        assert.equal((await ctr("images", "ls", "-q")).out, "");
        write("exec base64 -d");
        const said = await ctr("images", "pull", ...more, ref);
        assert.equal(said.code, 0, said.err);
        assert.ok(readdirSync(chain).some((id) => readdirSync(join(chain, id, "fs")).includes("secret")));
        assert.equal((await ctr("images", "rm", "--sync", ref)).code, 0);
      }
    } finally {
      await daemon.stop();
      rmSync(dir, { recursive: true, force: true });
    }
  });

  test("--http-dump and --http-trace show requests without secrets, from the daemon and from the client", async () => {
    await using fake = await FakeRegistry.start({
      auth: { kind: "bearer", username: "alice", password: "pa55word" },
    });
    fake.addImage("team/app", "v1", [layer("d", 1000)]);
    const daemon = await startDaemon({ command: [BUN, MAIN, "daemon"] });
    try {
      const ctr = ctrOn(daemon.address);
      for (const more of [[], ["--local"]]) {
        const flags = ["-u", "alice:pa55word", "--http-dump", "--http-trace", ...more];
        const said = await ctr("images", "pull", ...flags, `${fake.host}/team/app:v1`);
        assert.equal(said.code, 0, said.err);
        assert.match(said.err, /^HEAD \/v2\/team\/app\/manifests\/v1 HTTP\/1\.1\r\nHost: 127/m);
        assert.match(said.err, /^HTTP\/1\.1 401 Unauthorized/m);
        assert.match(said.err, /^Authorization: Bearer \*\*\*/m);
        assert.match(said.err, /^GET http:\S+\/token\?\.\.\.: 200 after [\d.]+ ms$/m);
        for (const secret of ["pa55word", ...fake.tokens, Buffer.from("alice:pa55word").toString("base64")])
          assert.ok(!said.err.includes(secret), secret);
      }
    } finally {
      await daemon.stop();
    }
  });
});

/** Blobs of the namespace by digest. */
async function blobs(ctr: ReturnType<typeof ctrOn>): Promise<string[]> {
  const said = await ctr("content", "ls", "-q");
  assert.equal(said.code, 0, said.err);
  return said.out.trim().split("\n");
}

describe("retention of layers", { skip: process.getuid?.() !== 0 }, () => {
  for (const way of ["by the daemon's configuration", "by the client's flag"])
    test(`layers go after unpacking ${way}; push, export and convert have them again`, async () => {
      await using fake = await FakeRegistry.start();
      await using other = await FakeRegistry.start();
      const image = fake.addImage("team/app", "v1", [layer("a", 60_000), layer("b", 30_000)]);
      const key = '[plugins."io.containerd.transfer.v1.local"]\n  discard_unpacked_layers = true\n';
      const gc =
        '[plugins."io.containerd.gc.v1.scheduler"]\n  schedule_delay = "1ms"\n  deletion_threshold = 1\n';
      const byConfig = way.includes("configuration");
      const daemon = await startDaemon({
        command: [BUN, MAIN, "daemon"],
        config: byConfig ? key + gc : gc,
      });
      try {
        const ctr = ctrOn(daemon.address);
        const ok = async (...args: string[]): Promise<string> => {
          const said = await ctr(...args);
          assert.equal(said.code, 0, `${args.join(" ")}: ${said.err}${said.out}`);
          return said.out;
        };
        const gone = async (): Promise<void> =>
          until("the layers to go", async () => {
            const all = await blobs(ctr);
            return image.layers.every((digest) => !all.includes(digest));
          });
        const ref = `${fake.host}/team/app:v1`;
        await ok("images", "pull", ...(byConfig ? [] : ["--discard-unpacked-layers"]), ref);
        await gone();
        const left = await blobs(ctr);
        assert.deepEqual(left.sort(), [image.digest, image.config].sort());
        assert.match(await ok("snapshots", "ls"), /Committed[\s\S]*Committed/);
        // Again: nothing is fetched for what is unpacked.
        const before = fake.requests("GET /v2/team/app/blobs/").length;
        await ok("images", "pull", ...(byConfig ? [] : ["--discard-unpacked-layers"]), ref);
        assert.equal(fake.requests("GET /v2/team/app/blobs/").length, before);

        const copy = `${other.host}/copy/app:v1`;
        await ok("images", "push", copy, ref);
        for (const digest of image.layers) assert.ok(other.blobs.has(digest), digest);
        assert.equal(other.manifests.has("copy/app:v1"), true);
        // To the registry it came from: mounted there, nothing moves.
        const reads = fake.requests("GET /v2/team/app/blobs/").length;
        await ok("images", "push", `${fake.host}/second/app:v1`, ref);
        assert.equal(fake.requests("GET /v2/team/app/blobs/").length, reads);

        const tar = join(daemon.dir, "out.tar");
        await ok("images", "export", tar, ref);
        await gone();
        // Another snapshotter needs them too.
        await ok("snapshots", "--snapshotter", "native", "unpack", image.digest);
        assert.match(await ok("snapshots", "--snapshotter", "native", "ls"), /Committed[\s\S]*Committed/);
        const converted = (await ok("images", "convert", "--oci", ref, "local/oci:v1")).trim();
        assert.match(converted, /^sha256:/);
        await ok("images", "rm", "--sync", ref, "local/oci:v1");
        assert.equal((await ok("content", "ls", "-q")).trim(), "");
        await ok("images", "import", ...(byConfig ? [] : ["--discard-unpacked-layers"]), tar);
        if (!byConfig) await gone();
        assert.match(await ok("images", "ls", "-q"), /team\/app:v1/);
      } finally {
        await daemon.stop();
      }
    });
});

describe("import", { skip: process.getuid?.() !== 0 }, () => {
  test("an archive of any size passes through the daemon without being held; half an archive makes no image", async () => {
    const daemon = await startDaemon({ command: [BUN, MAIN, "daemon"] });
    const peakKb = (): number =>
      Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${daemon.pid}/status`, "utf8"))?.[1]);
    try {
      const size = 300 << 20;
      const piece = new Uint8Array(1 << 20);
      const layerTar = function* (): Generator<Uint8Array> {
        yield tarFile("zeros", BigInt(size));
        for (let i = 0; i < size >> 20; i++) yield piece;
        yield tarEnd();
      };
      const hash = createHash("sha256");
      for (const part of layerTar()) hash.update(part);
      const layerDigest = `sha256:${hash.digest("hex")}`;
      const layerSize = 512 + size + 1024;
      const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));
      const config = json({
        os: "linux",
        architecture: "amd64",
        rootfs: { type: "layers", diff_ids: [layerDigest] },
      });
      const manifest = json({
        schemaVersion: 2,
        mediaType: "application/vnd.oci.image.manifest.v1+json",
        config: {
          mediaType: "application/vnd.oci.image.config.v1+json",
          digest: digestOf(config),
          size: config.length,
        },
        layers: [
          { mediaType: "application/vnd.oci.image.layer.v1.tar", digest: layerDigest, size: layerSize },
        ],
      });
      const target = {
        mediaType: "application/vnd.oci.image.manifest.v1+json",
        digest: digestOf(manifest),
        size: manifest.length,
        annotations: { "io.containerd.image.name": "big.test/zeros:1" },
      };
      const path = (digest: string): string => `blobs/${digest.replace(":", "/")}`;
      const archive = function* (whole: boolean): Generator<Uint8Array> {
        yield tarFile(path(layerDigest), BigInt(layerSize));
        let left = whole ? Number.POSITIVE_INFINITY : 50;
        for (const part of layerTar()) {
          if (left-- <= 0) return;
          yield part;
        }
        for (const [name, bytes] of [
          [path(digestOf(config)), config],
          [path(digestOf(manifest)), manifest],
          ["index.json", json({ schemaVersion: 2, manifests: [target] })],
          ["oci-layout", json({ imageLayoutVersion: "1.0.0" })],
        ] as const) {
          yield tarFile(name, BigInt(bytes.length));
          yield bytes;
          yield tarPadding(BigInt(bytes.length));
        }
        yield tarEnd();
      };
      const importIt = async (whole: boolean): Promise<Said> => {
        const args = [MAIN, "ctr", "-a", daemon.address, "images", "import", "-"];
        const child = spawn(BUN, args, { stdio: ["pipe", "pipe", "pipe"] });
        let [out, err] = ["", ""];
        child.stdout.on("data", (d) => (out += String(d)));
        child.stderr.on("data", (d) => (err += String(d)));
        const ended = new Promise<number>((resolve) => child.on("close", (code) => resolve(code ?? 128)));
        child.stdin.on("error", () => {});
        await pipeline(Readable.from(archive(whole)), child.stdin).catch(() => {});
        return { code: await ended, out, err };
      };
      const before = peakKb();
      const half = await importIt(false);
      assert.equal(half.code, 1);
      assert.match(half.err, /unexpected end/);
      const whole = await importIt(true);
      assert.equal(whole.code, 0, whole.err);
      assert.match(whole.out, /unpacking big\.test\/zeros:1 \(sha256:\w+\)\.\.\.done/);
      // Far less than the 300 MiB that went through, twice.
      assert.ok(peakKb() - before < 150_000, `${before} KiB before, ${peakKb()} KiB at most`);
      assert.match(
        (await ctrOn(daemon.address)("images", "check")).out,
        /big\.test\/zeros:1 .* complete .* true/,
      );
    } finally {
      await daemon.stop();
    }
  });
});
