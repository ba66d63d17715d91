/**
 * A full disk (R8, F5): ext4 and tmpfs of a few MiB under a real daemon, filled up to different last bytes. What fails says why and
 * leaves nothing half done; deleting and collecting work with nothing free; afterwards everything works again. Needs root.
 */
import assert from "node:assert/strict";
import { execFileSync, spawn, spawnSync } from "node:child_process";
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statfsSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { type ImageSet, testImages } from "../fixtures/images.ts";
import { startRegistry } from "../fixtures/registry.ts";
import { until } from "../integration/client.ts";
import { ourBin } from "../integration/program.ts";
import { ctrOf, type Said } from "../peers/peer.ts";

const SIZE = 48 << 20;
const FULL = /no space left on device/;

/** A daemon whose root is a small file system. */
class Small {
  readonly dir = mkdtempSync(join(tmpdir(), "gantry-full-"));
  readonly root = join(this.dir, "root");
  readonly ctr: (...args: string[]) => Said;
  readonly #child;

  constructor(kind: "ext4" | "tmpfs") {
    const image = join(this.dir, "disk");
    mkdirSync(this.root);
    if (kind === "tmpfs") execFileSync("mount", ["-t", "tmpfs", "-o", `size=${SIZE}`, "gantry", this.root]);
    else {
      writeFileSync(image, "");
      truncateSync(image, SIZE);
      execFileSync("mkfs.ext4", ["-q", "-m", "0", image]);
      execFileSync("mount", ["-o", "loop", image, this.root]);
    }
    const config = join(this.dir, "config.toml");
    const socket = join(this.dir, "c.sock");
    writeFileSync(
      config,
      `version = 2\nroot = "${this.root}"\nstate = "${this.dir}/state"\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\n  address = "${socket}"\n`,
    );
    const bin = ourBin();
    const log = openSync(join(this.dir, "log"), "a");
    this.#child = spawn(join(bin, "containerd"), ["-c", config], {
      stdio: ["ignore", log, log],
      env: { ...process.env, PATH: `${bin}:${process.env["PATH"]}` },
    });
    closeSync(log);
    this.ctr = ctrOf(join(bin, "ctr"), socket);
  }

  ok(...args: string[]): string {
    const said = this.ctr(...args);
    assert.equal(said.code, 0, `ctr ${args.join(" ")}: ${said.err}\n${this.log()}`);
    return said.out;
  }

  /** Rows of a list, without its head. */
  rows(...args: string[]): string[] {
    return this.ok(...args)
      .trim()
      .split("\n")
      .slice(1);
  }

  log(): string {
    return readFileSync(join(this.dir, "log"), "utf8").slice(-3000);
  }

  free(): number {
    const fs = statfsSync(this.root);
    return fs.bavail * fs.bsize;
  }

  /** Fills the file system but for about `rest` bytes. */
  fill(rest: number): void {
    const path = join(this.root, "ballast");
    const fd = openSync(path, "a");
    for (const piece of [1 << 20, 4096, 1])
      try {
        for (const bytes = Buffer.alloc(piece, 1); ; ) writeSync(fd, bytes);
      } catch (err) {
        assert.match(String(err), /ENOSPC/);
      }
    closeSync(fd);
    if (rest > 0) truncateSync(path, Math.max(0, statSize(path) - rest));
  }

  empty(): void {
    unlinkSync(join(this.root, "ballast"));
  }

  async stop(): Promise<void> {
    this.#child.kill("SIGTERM");
    if (this.#child.exitCode === null) await new Promise((resolve) => this.#child.once("exit", resolve));
    spawnSync("umount", ["-R", "-l", this.root]);
    rmSync(this.dir, { recursive: true, force: true });
  }
}

function statSize(path: string): number {
  const fd = openSync(path, "r");
  closeSync(fd);
  return Number(execFileSync("stat", ["-c", "%s", path]).toString());
}

/** What there is, to be compared. */
function records(small: Small): Record<string, readonly string[]> {
  const digests = (lines: readonly string[]): string[] => lines.map((line) => line.split(/\s/)[0] ?? "");
  return {
    images: small.ok("images", "ls", "-q").trim().split("\n"),
    content: digests(small.rows("content", "ls")),
    snapshots: digests(small.rows("snapshots", "ls")),
    containers: small.ok("containers", "ls", "-q").trim().split("\n"),
    leases: small.ok("leases", "ls", "-q").trim().split("\n"),
  };
}

async function started(kind: "ext4" | "tmpfs"): Promise<Small> {
  const small = new Small(kind);
  await until("the daemon answers", () => small.ctr("version").code === 0);
  return small;
}

describe("a full disk", { skip: process.getuid?.() !== 0, timeout: 300_000 }, () => {
  let images: ImageSet | undefined;
  for (const kind of ["ext4", "tmpfs"] as const)
    test(`${kind}: every write fails clearly, deleting works, all is well with space`, async () => {
      images ??= testImages();
      await using registry = await startRegistry({ filled: images });
      const small = await started(kind);
      const [keep, more] = [registry.ref("busybox"), registry.ref("layers10")];
      const blob = join(small.dir, "blob");
      writeFileSync(blob, Buffer.alloc(8 << 20, 7));
      const ingest = (): Said => {
        const said = spawnSync(
          "sh",
          [
            "-c",
            `exec "$@" < ${blob}`,
            "sh",
            join(ourBin(), "ctr"),
            "--address",
            join(small.dir, "c.sock"),
            "content",
            "ingest",
            "full",
          ],
          { encoding: "utf8" },
        );
        return { code: said.status ?? 128, out: said.stdout, err: said.stderr };
      };
      try {
        small.ok("images", "pull", "--plain-http", keep);
        const before = records(small);
        for (const rest of [0, 16 << 10, 256 << 10, 900 << 10, 1500 << 10]) {
          small.fill(rest);
          for (const [what, said] of [
            ["pull", small.ctr("images", "pull", "--plain-http", more)],
            ["ingest", ingest()],
          ] as const) {
            assert.notEqual(said.code, 0, `${what} with ${rest} bytes free`);
            assert.match(said.err, FULL, `${what} with ${rest} bytes free`);
          }
          // no half record; whole blobs of a failed pull wait for a collection, an ingest that can be resumed is kept
          small.ok("leases", "create", "--id", "collect");
          small.ok("leases", "delete", "--sync", "collect");
          assert.deepEqual(records(small), before, `${rest} bytes free`);
          for (const row of small.rows("content", "active").filter(Boolean))
            small.ok("content", "active", row.split(/\s/)[0] ?? "");
          small.empty();
        }
        small.fill(0);
        for (const args of [
          ["snapshots", "prepare", "key"],
          ["containers", "create", keep, "c"],
          ["leases", "create", "--id", "l"],
          ["namespaces", "create", "n"],
          ["images", "label", keep, `x=${"y".repeat(4000)}`],
        ]) {
          // records are small: some find room in what is there
          const said = small.ctr(...args);
          if (said.code !== 0) assert.match(said.err, FULL, args.join(" "));
        }
        small.fill(0);
        assert.equal(small.free(), 0);
        small.ok("images", "rm", "--sync", keep);
        assert.deepEqual(small.rows("content", "ls").filter(Boolean), []);
        const snapshots = join(small.root, "io.containerd.snapshotter.v1.overlayfs", "snapshots");
        await until("space is given back", () => small.free() > 1 << 20);
        small.empty();
        small.ok("images", "pull", "--plain-http", more);
        assert.match(small.ok("run", "--rm", more, "v", "/verify.sh"), / 0 bad/);
        assert.equal(ingest().code, 0);
        assert.ok(readdirSync(snapshots).length >= 10);
        const checked = spawnSync(
          join(ourBin(), "../gantry"),
          ["check", "--address", join(small.dir, "c.sock")],
          { encoding: "utf8" },
        );
        assert.equal(checked.status, 0, checked.stdout + checked.stderr);
      } finally {
        await small.stop();
      }
    });
});
