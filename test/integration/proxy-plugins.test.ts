/**
 * `[proxy_plugins]` with a real process behind the socket: the example of docs/, under our daemon and under Debian's.
 * Needs root (mounts, runc).
 */
import assert from "node:assert/strict";
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { testImages } from "../fixtures/images.ts";
import { startRegistry } from "../fixtures/registry.ts";
import { ourCtr } from "../parity/ctr.ts";
import { type Ctr, type Daemon, peerCtr, startDaemon, startPeer } from "../peers/peer.ts";
import { until } from "./client.ts";
import { BUN, MAIN } from "./program.ts";

const EXAMPLE = join(import.meta.dirname, "../../docs/examples/snapshotter/main.ts");
const dir = mkdtempSync(join(tmpdir(), "gantry-proxy-"));
const archive = join(dir, "hello.tar");

/** A running example process. */
interface Example {
  readonly socket: string;
  readonly child: ChildProcess;
  names(): string[];
}

async function startExample(name: string, ...more: string[]): Promise<Example> {
  const socket = join(dir, `${name}.sock`);
  const folder = join(dir, name);
  const child = spawn(BUN, [EXAMPLE, socket, folder, ...more], { stdio: ["ignore", "ignore", "inherit"] });
  await until("the example's socket", () => existsSync(socket));
  const names = (): string[] => {
    const state = JSON.parse(readFileSync(join(folder, "state.json"), "utf8")) as {
      list: { name: string }[];
    };
    return state.list.map((item) => item.name);
  };
  return { socket, child, names };
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  child.kill("SIGTERM");
  await gone;
}

function ok(ctr: Ctr, ...args: string[]): string {
  const said = ctr(...args);
  assert.equal(said.code, 0, `ctr ${args.join(" ")}: ${said.err}${said.out}`);
  return said.out;
}

/** Imports and runs the hello image on the snapshotter `copying`; nothing is left in the process afterwards. */
async function useIt(ctr: Ctr, example: Example): Promise<void> {
  assert.match(ok(ctr, "plugins", "ls"), /io\.containerd\.snapshotter\.v1 +copying +(?:linux\/\w+|-) +ok/);
  ok(ctr, "images", "import", "--snapshotter", "copying", archive);
  const [image] = ok(ctr, "images", "ls", "-q").trim().split("\n");
  assert.ok(image !== undefined);
  const out = ok(ctr, "run", "--rm", "--snapshotter", "copying", image, `px-${process.pid}`);
  assert.match(out, /hello/i);
  assert.match(ok(ctr, "snapshots", "--snapshotter", "copying", "ls"), /sha256:\w+ .*Committed/);
  assert.match(example.names().join(" "), /default\/\d+\/sha256:\w+/);
  ok(ctr, "images", "rm", "--sync", image);
  await until("the removal of what the image had", () => example.names().length === 0);
}

/** Hex digests of the blobs that are no manifest and no config, by what their labels say: layers name nobody. */
function layersOf(ctr: Ctr): string[] {
  const lines = ok(ctr, "content", "ls").split("\n");
  return lines.flatMap((line) =>
    line.includes("gc.ref.") ? [] : (/^sha256:(\w{64})/.exec(line)?.slice(1) ?? []),
  );
}

const table = (socket: string): string =>
  `[proxy_plugins.copying]\n  type = "snapshot"\n  address = "${socket}"\n`;

describe("proxy plugins", { skip: process.getuid?.() !== 0 }, () => {
  before(() => {
    writeFileSync(archive, execFileSync(BUN, [MAIN, "builtin-image", "hello"]));
  });
  after(() => rmSync(dir, { recursive: true, force: true }));

  test("our daemon on the example, from Debian's client; the process may be restarted", async () => {
    let example = await startExample("ours");
    const config = [
      table(example.socket),
      '  [proxy_plugins.copying.exports]\n    root = "/var/lib/copying"',
      '[proxy_plugins.hung]\n  type = "snapshot"\n  address = "/nonexistent/hung.sock"',
      '[proxy_plugins.boxes]\n  type = "sandbox"\n  address = "/nonexistent/boxes.sock"',
      '[proxy_plugins.other]\n  type = "diff"\n  address = "/nonexistent/diff.sock"',
      '[proxy_plugins.blobs]\n  type = "content"\n  address = "/nonexistent/blobs.sock"',
    ].join("\n");
    const daemon: Daemon = await startDaemon({ command: [BUN, MAIN, "daemon"], config });
    try {
      const ctr = peerCtr("1.6", daemon.address);
      await useIt(ctr, example);
      const plugins = ok(ctr, "plugins", "ls");
      assert.match(plugins, /snapshotter\.v1 +hung .*ok/);
      assert.match(plugins, /differ\.v1 +other .*ok/);
      assert.match(plugins, /content\.v1 +blobs .*ok/);
      assert.match(plugins, /sandbox\.controller\.v1 +boxes .*ok/);
      assert.match(ok(ctr, "plugins", "ls", "-d", "id==copying"), /root +\/var\/lib\/copying/);
      const refused = ctr("snapshots", "--snapshotter", "hung", "prepare", "k");
      assert.notEqual(refused.code, 0);
      assert.match(refused.err, /hung\.sock/);
      await end(example.child);
      example = await startExample("ours");
      await useIt(ctr, example);
    } finally {
      await daemon.stop();
      await end(example.child);
    }
  });

  test("a layer the snapshotter has already is not unpacked by a pull", async () => {
    const ready = join(dir, "ready-layers");
    const images = testImages();
    await using registry = await startRegistry({ filled: images });
    const example = await startExample("lazy", ready);
    const config = `${table(example.socket)}  exports = { enable_remote_snapshot_annotations = "true" }\n`;
    const daemon = await startDaemon({ command: [BUN, MAIN, "daemon"], config });
    try {
      const ctr = ourCtr(daemon.address);
      const ref = registry.ref("busybox");
      ok(ctr, "images", "pull", "--snapshotter", "native", ref);
      const layers = layersOf(ctr);
      assert.ok(layers.length > 0);
      const chain = /sha256:(\w{64}) /.exec(ok(ctr, "snapshots", "--snapshotter", "native", "ls"))?.[1] ?? "";
      mkdirSync(join(ready, chain), { recursive: true });
      writeFileSync(join(ready, chain, "only-here"), "");
      ok(ctr, "images", "rm", "--sync", ref);
      assert.deepEqual(layersOf(ctr), []);
      ok(ctr, "images", "pull", "--snapshotter", "copying", ref);
      // nor is it fetched, before somebody asks for its bytes
      assert.deepEqual(layersOf(ctr), []);
      assert.match(
        ok(ctr, "snapshots", "--snapshotter", "copying", "info", `sha256:${chain}`),
        /snapshot\.ref/,
      );
      ok(ctr, "images", "export", join(dir, "lazy.tar"), ref);
      const packed = execFileSync("tar", ["tf", join(dir, "lazy.tar")], { encoding: "utf8" });
      for (const layer of layers) assert.ok(packed.includes(layer), layer);
      assert.match(example.names().join(" "), /^ready\/default\/\d+\/extract-/);
      assert.match(
        ok(ctr, "snapshots", "--snapshotter", "copying", "ls"),
        new RegExp(`sha256:${chain} .*Committed`),
      );
      const mounts = ok(ctr, "snapshots", "--snapshotter", "copying", "prepare", "rw", `sha256:${chain}`);
      assert.equal(mounts, "");
      const source = /bind (\S+) /.exec(
        ok(ctr, "snapshots", "--snapshotter", "copying", "mounts", "/mnt", "rw"),
      )?.[1];
      assert.deepEqual(readdirSync(source ?? ""), ["only-here"]);
    } finally {
      await daemon.stop();
      await end(example.child);
    }
  });

  test("Debian's containerd 1.6 on the example", async () => {
    const example = await startExample("theirs");
    const daemon = await startPeer("1.6", { config: table(example.socket) });
    try {
      await useIt(peerCtr("1.6", daemon.address), example);
    } finally {
      await daemon.stop();
      await end(example.child);
    }
  });
});
