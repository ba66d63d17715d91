/** The helper process itself: it ends with the daemon, its memory is bounded, its time grows with the layer (S6, S7, F19). Needs root. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { createGzip, gzipSync } from "node:zlib";
import { tarHeader } from "../../src/plugins/diff/tar/writer.ts";
import { bind, call, type Member, overlay, Rig, removeWorkspace, T, tar, workspace } from "./unpack-rig.ts";

const skip = process.getuid?.() !== 0;
const dir = workspace("helper");
const rig = new Rig(dir, { entries: 1_000_000, bytes: 256 << 20 });
after(() => removeWorkspace(dir));

/** Children of a process. */
function childrenOf(pid: number): number[] {
  const text = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim();
  return text === "" ? [] : text.split(" ").map(Number);
}

test("the helper dies with the process that started it", { skip, timeout: 30_000 }, async () => {
  const script = join(dir, "daemon.ts");
  const rigPath = new URL("./unpack-rig.ts", import.meta.url).pathname;
  writeFileSync(
    script,
    `import { bind, call, Rig } from ${JSON.stringify(rigPath)};
     const rig = new Rig(${JSON.stringify(dir)});
     const stream = await rig.applier.start(call, { mediaType: "application/vnd.oci.image.layer.v1.tar", mounts: bind(rig.folder()) });
     await stream.write(new Uint8Array(100));
     console.log("started");
     setInterval(() => {}, 1000);`,
  );
  const daemon = spawn(process.execPath, [script], { stdio: ["ignore", "pipe", "inherit"] });
  const lines = createInterface({ input: daemon.stdout });
  assert.equal((await lines[Symbol.asyncIterator]().next()).value, "started");
  const [helper = 0] = childrenOf(daemon.pid ?? 0);
  assert.ok(helper > 0);
  daemon.kill("SIGKILL");
  while (
    existsSync(`/proc/${helper}`) &&
    !/^State:\s+Z/m.test(readFileSync(`/proc/${helper}/status`, "utf8"))
  )
    await sleep(10);
});

test("started by hand it explains itself and does nothing", async () => {
  const main = new URL("../../src/main.ts", import.meta.url).pathname;
  const child = spawn(process.execPath, [main, "unpack"], { stdio: ["ignore", "ignore", "pipe"] });
  let said = "";
  child.stderr.on("data", (data: Buffer) => {
    said += data.toString();
  });
  const code = await new Promise((resolve) => child.on("close", resolve));
  assert.equal(code, 2);
  assert.match(said, /internal helper/);
});

describe("a helper takes layer after layer", { skip }, () => {
  const link = (name: string, linkname: string): Member => ({ name, type: T.symlink, linkname });

  test("none reaches the tree of the one before, or the host", async () => {
    const place = rig.folder();
    const [first, second] = [join(place, "first"), join(place, "second")];
    for (const path of [first, second]) mkdirSync(path);
    await rig.apply(
      tar({ name: "secret", data: "mine" }, link("up", "../.."), link("root", "/")),
      bind(first),
    );
    const [before] = childrenOf(process.pid);
    await rig.apply(
      tar(
        link("up", "../.."),
        link("first", first),
        { name: "up/escaped", data: "x" },
        { name: "first/escaped", data: "x" },
        { name: "../first/escaped", data: "x" },
      ),
      bind(second),
    );
    const refused = rig.apply(
      tar({ name: "stolen", type: T.link, linkname: join(first, "secret") }),
      bind(rig.folder()),
    );
    await assert.rejects(refused, /link/);
    assert.ok(
      before !== undefined && !childrenOf(process.pid).includes(before),
      "a failed layer ends its helper",
    );
    assert.deepEqual(readdirSync(place).sort(), ["first", "second"]);
    assert.deepEqual(readdirSync(first).sort(), ["root", "secret", "up"]);
    assert.ok(existsSync(join(second, "escaped")));
    assert.ok(!existsSync("/escaped"));
  });

  test("one process for layers in a row, with no file of the last one open", async () => {
    const pids = new Set<number | undefined>();
    const open: number[] = [];
    for (let i = 0; i < 5; i++) {
      await rig.apply(tar({ name: "f", data: "x" }), overlay(rig.folder(), rig.folder(), [rig.folder()]));
      const [pid] = childrenOf(process.pid);
      pids.add(pid);
      open.push(readdirSync(`/proc/${pid}/fd`).length);
    }
    assert.equal(pids.size, 1);
    assert.equal(new Set(open.slice(1)).size, 1, `descriptors: ${open.join(" ")}`);
  });
});

/** Applies a layer and gives the helper's peak memory in bytes. */
async function peakOf(bytes: Uint8Array, expected: RegExp, type: string): Promise<number> {
  await using stream = await rig.applier.start(call, { mediaType: type, mounts: bind(rig.folder()) });
  const [pid = 0] = childrenOf(process.pid);
  let peak = 0;
  const look = (): void => {
    const match = existsSync(`/proc/${pid}/status`)
      ? /VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))
      : null;
    if (match !== null) peak = Math.max(peak, Number(match[1]) * 1024);
  };
  const timer = setInterval(look, 5);
  const err = await (async () => {
    for (let at = 0; at < bytes.length; at += 65536) await stream.write(bytes.subarray(at, at + 65536));
    await stream.end();
  })().catch((error: Error) => error);
  clearInterval(timer);
  assert.match(String(err?.message), expected);
  return peak;
}

describe("S7: memory stays bounded", { skip }, () => {
  const gzip = "application/vnd.oci.image.layer.v1.tar+gzip";
  /** A helper that has done nothing takes about 50 MiB. */
  const BOUND = 160 << 20;

  test("a bomb stops at the quota", { timeout: 60_000 }, async () => {
    // Many files of 64 MiB each: no header claims more than the quota.
    const packer = createGzip({ level: 1 });
    const parts: Uint8Array[] = [];
    packer.on("data", (data: Uint8Array) => parts.push(data));
    const zeros = new Uint8Array(1 << 20);
    for (let i = 0; i < 8; i++) {
      const header = {
        type: T.file,
        name: `f${i}`,
        mode: 0o644,
        uid: 0,
        gid: 0,
        size: 64 << 20,
        mtime: { sec: 0, nsec: 0 },
      };
      packer.write(tarHeader(header));
      for (let j = 0; j < 64; j++)
        if (!packer.write(zeros)) await new Promise((go) => packer.once("drain", go));
    }
    packer.end();
    await new Promise((resolve) => packer.on("end", resolve));
    const peak = await peakOf(Buffer.concat(parts), /more than 268435456 bytes/, gzip);
    assert.ok(peak < BOUND, `peak ${peak}`);
  });
  test("gzip inside gzip is no archive", async () => {
    const peak = await peakOf(gzipSync(gzipSync(Buffer.alloc(50 << 20))), /read tar/, gzip);
    assert.ok(peak < BOUND, `peak ${peak}`);
  });
  test("a zstd window of 2 GiB is refused", async () => {
    const frame = Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 0x01, 0x00, 0x00, 0, 0, 0, 0]);
    await peakOf(
      frame,
      /window of 2147483648 bytes is too large/,
      "application/vnd.oci.image.layer.v1.tar+zstd",
    );
  });
});

describe("S6: time grows with the layer, not faster", { skip }, () => {
  const shapes: Record<string, (n: number) => Member[]> = {
    "opaque markers in a full folder": (n) => {
      const members = Array.from({ length: n }, (_, i): Member => ({ name: `d/f${i}` }));
      for (let i = 0; i < n / 10; i++)
        members.push({ name: "d/.wh..wh..opq" }, { name: `d/s${i}/.wh..wh..opq` });
      return members;
    },
    whiteouts: (n) => Array.from({ length: n * 2 }, (_, i): Member => ({ name: `d/.wh.f${i}` })),
  };
  for (const [title, make] of Object.entries(shapes)) {
    test(title, { timeout: 120_000 }, async () => {
      for (const style of ["overlay", "delete"] as const) {
        const times: number[] = [];
        for (const n of [3000, 12_000]) {
          const root = rig.folder();
          if (style === "delete") writeFileSync(join(root, "there"), "");
          const mounts = style === "delete" ? bind(root) : overlay(root, rig.folder(), [rig.folder()]);
          const layer = tar(...make(n));
          const start = performance.now();
          await rig.apply(layer, mounts);
          times.push(performance.now() - start);
        }
        const [small = 0, large = 0] = times;
        // Four times the entries; repeated walks would take sixteen times as long.
        assert.ok(large < small * 12, `${style}: ${small.toFixed()} ms, then ${large.toFixed()} ms`);
      }
    });
  }
});
