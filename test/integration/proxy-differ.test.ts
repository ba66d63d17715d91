/**
 * `[proxy_plugins]` of type diff: a differ in this process, behind a socket, unpacks and makes layers for our daemon, asked by
 * Debian's client. It reads and writes blobs by the daemon's own API, as real ones do, in the namespace of each call (which
 * containerd 1.7 does not tell its differs). Needs root.
 */
import assert from "node:assert/strict";
import { execFile, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { gunzipSync } from "node:zlib";
import { contentClient } from "../../src/client/content.ts";
import type { NamespacedCall } from "../../src/core/call.ts";
import type { Applier, Comparer } from "../../src/core/diff/diff.ts";
import { notImplemented } from "../../src/core/errors.ts";
import { parseDigest } from "../../src/core/ids/digest.ts";
import type { Mount } from "../../src/core/mounts/mount.ts";
import type { Descriptor } from "../../src/core/oci.ts";
import { withTempMount } from "../../src/platform/mounts/mounts.ts";
import { createGrpcServer } from "../../src/rpc/grpc/server.ts";
import { createGrpcTransport } from "../../src/rpc/grpc/transport.ts";
import { diffService } from "../../src/services/diff.ts";
import { testImages } from "../fixtures/images.ts";
import { type Daemon, peerBin, type Said, startDaemon } from "../peers/peer.ts";
import { ourBin } from "./program.ts";

const LAYER = "application/vnd.oci.image.layer.v1.tar";
const digestOf = (bytes: Uint8Array) =>
  parseDigest(`sha256:${createHash("sha256").update(bytes).digest("hex")}`);

/** GNU tar as a differ. */
class TarDiffer implements Applier, Comparer {
  readonly asked: string[] = [];
  /** The daemon's socket, once it is there. */
  address = "";

  async apply(call: NamespacedCall, desc: Descriptor, mounts: readonly Mount[]): Promise<Descriptor> {
    this.asked.push(`apply ${call.namespace} ${desc.digest}`);
    const transport = createGrpcTransport({ path: this.address });
    try {
      const parts: Uint8Array[] = [];
      await using reader = await contentClient(transport).reader(call, desc.digest);
      for await (const part of reader.stream()) parts.push(part);
      const packed = Buffer.concat(parts);
      const plain = packed[0] === 0x1f ? gunzipSync(packed) : packed;
      await withTempMount([...mounts], async (root) => {
        const done = spawnSync("tar", ["-x", "--numeric-owner", "-C", root], { input: plain });
        assert.equal(done.status, 0, String(done.stderr));
      });
      return { mediaType: LAYER, digest: digestOf(plain), size: BigInt(plain.length) };
    } finally {
      await transport.close();
    }
  }

  async compare(
    call: NamespacedCall,
    _lower: readonly Mount[],
    upper: readonly Mount[],
  ): Promise<Descriptor> {
    this.asked.push(`compare ${call.namespace}`);
    const transport = createGrpcTransport({ path: this.address });
    try {
      const bytes = await withTempMount([...upper], async (root) => {
        const done = spawnSync("tar", ["-c", "-C", root, "added"], { maxBuffer: 1 << 24 });
        assert.equal(done.status, 0, String(done.stderr));
        return new Uint8Array(done.stdout);
      });
      const writer = await contentClient(transport).writer(call, { ref: "made-by-the-proxy" });
      await writer.write(bytes);
      const digest = await writer.commit(BigInt(bytes.length), digestOf(bytes));
      return { mediaType: LAYER, digest, size: BigInt(bytes.length) };
    } finally {
      await transport.close();
    }
  }
}

/** Debian's client, without holding up this process: the differ is in it. */
type Client = (...args: string[]) => Promise<Said>;

const clientOf =
  (address: string): Client =>
  (...args) =>
    new Promise((resolve) => {
      execFile(join(peerBin("1.7"), "ctr"), ["-a", address, ...args], { timeout: 60_000 }, (err, out, said) =>
        resolve({ code: err === null ? 0 : 1, out, err: said }),
      );
    });

async function ok(ctr: Client, ...args: string[]): Promise<string> {
  const said = await ctr(...args);
  assert.equal(said.code, 0, `ctr ${args.join(" ")}: ${said.err}${said.out}`);
  return said.out;
}

const table = (name: string, socket: string): string =>
  `[proxy_plugins.${name}]\n  type = "diff"\n  address = "${socket}"\n`;
const order = (...names: string[]): string =>
  `[plugins."io.containerd.service.v1.diff-service"]\n  default = ${JSON.stringify(names)}\n`;

describe("a differ in another process", { skip: process.getuid?.() !== 0, timeout: 120_000 }, () => {
  const archive = testImages().archive("busybox");
  const bin = ourBin();
  test("our daemon: layers are unpacked and made by it", async () => {
    const dir = mkdtempSync(join(tmpdir(), "gantry-differ-"));
    const differ = new TarDiffer();
    const socket = join(dir, "d.sock");
    const server = createGrpcServer({ services: [diffService(differ)] });
    await server.listen({ path: socket });
    const config = table("gnutar", socket) + order("gnutar");
    const daemon = await startDaemon({ command: [join(bin, "containerd")], path: [bin], config });
    differ.address = daemon.address;
    const ctr = clientOf(daemon.address);
    try {
      assert.match(await ok(ctr, "plugins", "ls"), /differ\.v1 +gnutar .*ok/);
      await ok(ctr, "images", "import", archive);
      const [image = ""] = (await ok(ctr, "images", "ls", "-q")).trim().split("\n");
      assert.equal(await ok(ctr, "run", "--rm", image, "proxied", "echo", "unpacked"), "unpacked\n");
      assert.deepEqual(
        differ.asked.map((line) => line.replace(/sha256:\w+/, "D")),
        ["apply default D"],
      );
      const chain = /sha256:\w{64}/.exec(await ok(ctr, "snapshots", "ls"))?.[0] ?? "";
      await ok(ctr, "snapshots", "prepare", "rw", chain);
      const mounted = (await ok(ctr, "snapshots", "mounts", join(dir, "root"), "rw")).trim();
      const made = spawnSync("bash", [
        "-ec",
        `mkdir "$1/root"; ${mounted}; echo new >"$1/root/added"; umount "$1/root"`,
        "bash",
        dir,
      ]);
      assert.equal(made.status, 0, String(made.stderr));
      await ok(ctr, "snapshots", "diff", "rw");
      assert.equal(differ.asked.at(-1), "compare default");
      assert.match(await ok(ctr, "content", "ls"), /sha256/);
    } finally {
      await daemon.stop();
      await server.close();
      rmSync(dir, { recursive: true, force: true });
    }
  });

  test("our daemon: one that cannot do it is passed over, one that never answers fails in time", async () => {
    const dir = mkdtempSync(join(tmpdir(), "gantry-differ-"));
    const unable = {
      apply: () => Promise.reject(notImplemented("unpack layer: not this type")),
      compare: () => Promise.reject(notImplemented("make layer")),
    };
    const server = createGrpcServer({ services: [diffService(unable as unknown as Applier & Comparer)] });
    await server.listen({ path: join(dir, "unable.sock") });
    const sockets = new Set<Socket>();
    const hung: Server = createServer((socket) => sockets.add(socket));
    await new Promise<void>((resolve) => hung.listen(join(dir, "hung.sock"), resolve));
    const timeouts = '[timeouts]\n  "gantry.timeout.proxy.diff" = "500ms"\n';
    const run = async (
      first: string,
      body: (ctr: Client, daemon: Daemon) => Promise<void>,
    ): Promise<void> => {
      const config = table(first, join(dir, `${first}.sock`)) + order(first, "walking") + timeouts;
      const daemon = await startDaemon({ command: [join(bin, "containerd")], path: [bin], config });
      try {
        await body(clientOf(daemon.address), daemon);
      } finally {
        await daemon.stop();
      }
    };
    try {
      await run("unable", async (ctr) => {
        await ok(ctr, "images", "import", archive);
        const [image = ""] = (await ok(ctr, "images", "ls", "-q")).trim().split("\n");
        assert.equal(await ok(ctr, "run", "--rm", image, "walked", "echo", "unpacked"), "unpacked\n");
      });
      await run("hung", async (ctr, daemon) => {
        const said = await ctr("images", "import", archive);
        assert.notEqual(said.code, 0);
        assert.match(
          said.err,
          /deadline exceeded/i,
          readFileSync(join(daemon.dir, "log"), "utf8").slice(-500),
        );
        // others are not held up
        await ok(ctr, "version");
      });
    } finally {
      for (const socket of sockets) socket.destroy();
      hung.close();
      await server.close();
      rmSync(dir, { recursive: true, force: true });
    }
  });
});
