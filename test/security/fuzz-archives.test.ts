/**
 * Archives that were valid before a few of their bytes changed: layers through the real unpack helper, with a canary tree beside the
 * destination, and archives of images through the import. Each ends in success or in an error of our own words. Needs root.
 * GANTRY_FUZZ_ARCHIVES and GANTRY_FUZZ_SEED make it longer and another one.
 */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { chmodSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { OciLayout } from "../../scripts/lib/oci-layout.ts";
import { TarWriter } from "../../scripts/lib/tar-writer.ts";
import { codeOf, messageOf } from "../../src/core/errors.ts";
import { importArchive } from "../../src/plugins/transfer/import.ts";
import { inNs } from "../contract/harness.ts";
import { type PullEngine, pullEngine } from "../faults/pull-rig.ts";
import { isDefect } from "./fuzz/calls.ts";
import { Random } from "./fuzz/random.ts";
import { bind, listing, overlay, Rig, removeWorkspace, workspace } from "./unpack-rig.ts";

const COUNT = Number(process.env["GANTRY_FUZZ_ARCHIVES"] ?? 400);
/** Each layer is a process. */
const LAYERS = Math.ceil(COUNT / 4);
const SEED = Number(process.env["GANTRY_FUZZ_SEED"] ?? 1);
const BLOCK = 512;
const skip = process.getuid?.() !== 0;
const dir = workspace("fuzz-archives");
const canary = join(dir, "canary");
const LAYER = "application/vnd.oci.image.layer.v1.tar";

/** One of everything that a layer may hold. */
function layer(): Buffer {
  const tar = new TarWriter()
    .dir("d")
    .file("d/a", Buffer.from("a".repeat(700)), 0o4755)
    .symlink("d/l", "../d/a")
    .symlink("up", "../../../../canary")
    .add({ name: "d/h", type: "hardlink", link: "d/a" })
    .add({ name: "d/fifo", type: "fifo", mode: 0o600 })
    .add({ name: "d/null", type: "char", devMajor: 1, devMinor: 3 })
    .add({ name: "d/x", data: "x", xattrs: { "user.a": Buffer.from("b") }, mtimeNanos: 5 })
    .add({ name: `${"long/".repeat(40)}name`, data: "y" })
    .add({ name: "d/.wh.gone", data: "" })
    .dir("e")
    .add({ name: "e/.wh..wh..opq", data: "" })
    .add({ name: "é\u202e", data: "z", uid: 3_000_000, gid: 7 });
  return Buffer.from(tar.finish());
}

/** Changes a few bytes; in most cases headers get a right checksum afterwards, so that they are looked at. */
function change(random: Random, archive: Buffer): Buffer {
  let out = Buffer.from(archive);
  const blocks = Math.floor(out.length / BLOCK);
  for (let i = 1 + random.below(4); i > 0; i--) {
    const block = random.below(blocks) * BLOCK;
    switch (random.below(8)) {
      case 0:
        out = out.subarray(0, random.below(out.length));
        return out;
      case 1: {
        // one block over another
        const from = random.below(blocks) * BLOCK;
        out.copyWithin(block, from, from + BLOCK);
        break;
      }
      case 2:
        out.write(
          random.pick([
            "../",
            "/",
            "//",
            "./",
            "a/../../",
            "\0",
            "..",
            ".wh.",
            ".wh..wh..opq",
            "d",
            "up/x",
            "d/l/x",
          ]),
          block,
        );
        break;
      case 3:
        // size, mode, owner, time, device: octal, base-256, none
        out.write(
          random.pick([
            "77777777777\0",
            "00000000000 ",
            "-1",
            "\x80\0\0\0\x7f\xff\xff\xff",
            "\xff\xff\xff\xff\xff\xff\xff\xff",
            "9999",
            "",
            "  1 2 3",
          ]),
          block + random.pick([100, 108, 116, 124, 136, 329, 337]),
          "latin1",
        );
        break;
      case 4:
        out[block + 156] = random.pick([
          0, 0x30, 0x31, 0x32, 0x33, 0x34, 0x35, 0x36, 0x37, 0x53, 0x4b, 0x4c, 0x67, 0x78, 0x56, 0xff,
        ]);
        break;
      case 5:
        out.write(
          random.pick(["../../canary/file", "/", "", ".", "d/a", "up/file", "é", "x".repeat(100)]),
          block + 157,
        );
        break;
      default:
        out[random.below(out.length)] = random.below(256);
    }
    if (!random.oneIn(6) && block + BLOCK <= out.length) sum(out, block);
  }
  return out;
}

function sum(archive: Buffer, block: number): void {
  archive.fill(0x20, block + 148, block + 156);
  let total = 0;
  for (let i = 0; i < BLOCK; i++) total += archive[block + i] ?? 0;
  archive.write(`${total.toString(8).padStart(6, "0")}\0 `, block + 148);
}

/** Fails on an error that is a fault of the program. */
function assertOwnWords(err: unknown, what: string): void {
  const outcome = { method: what, code: codeOf(err), message: messageOf(err), ms: 0 };
  assert.ok(
    !isDefect(outcome) && outcome.code !== "internal",
    `${what}: ${outcome.code}: ${outcome.message}`,
  );
}

describe("changed archives", { skip }, () => {
  const rig = new Rig(dir, { entries: 10_000, bytes: 64 << 20 });
  let engine: PullEngine;
  before(async () => {
    engine = await pullEngine();
    mkdirSync(join(canary, "sub"), { recursive: true });
    writeFileSync(join(canary, "file"), "secret");
    chmodSync(join(canary, "file"), 0o640);
    symlinkSync("file", join(canary, "link"));
  });
  after(async () => {
    await engine?.[Symbol.asyncDispose]();
    removeWorkspace(dir);
  });

  test(`${LAYERS} layers: success or a clear error, nothing outside`, { timeout: 3_600_000 }, async () => {
    const want = listing(canary, true);
    const base = layer();
    const random = new Random(SEED);
    let unpacked = 0;
    for (let i = 0; i < LAYERS; i++) {
      const plain = change(random, base);
      const coding = random.below(8);
      let bytes: Buffer = coding === 0 ? gzipSync(plain) : coding === 1 ? zstdCompressSync(plain) : plain;
      if (coding < 2 && random.oneIn(2)) {
        bytes = Buffer.from(bytes);
        bytes[random.below(bytes.length)] = random.below(256);
      }
      const type = `${LAYER}${coding === 0 ? "+gzip" : coding === 1 ? "+zstd" : ""}`;
      const [root, work, lower] = [rig.folder(), rig.folder(), rig.folder()];
      mkdirSync(join(lower, "d"));
      const mounts = random.oneIn(3) ? overlay(root, work, [lower]) : bind(root);
      try {
        await rig.apply(bytes, mounts, type);
        unpacked++;
      } catch (err) {
        assertOwnWords(err, `layer ${i} of seed ${SEED}`);
      }
      for (const path of [root, work, lower]) rmSync(path, { recursive: true });
      if (i % 100 === 99 || i === LAYERS - 1)
        assert.equal(listing(canary, true), want, `the canary changed before layer ${i} of seed ${SEED}`);
    }
    assert.ok(unpacked > LAYERS / 20 && unpacked < LAYERS, `${unpacked} of ${LAYERS} were unpacked`);
  });

  test(`${COUNT} archives of images: success or a clear error`, { timeout: 3_600_000 }, async () => {
    const call = inNs("testing");
    const layout = new OciLayout();
    layout.tag("x", layout.image({ layers: [layer()], config: { Env: ["A=b"] } }));
    const base = Buffer.from(layout.archive("x", "gantry.test/x:1"));
    const random = new Random(SEED);
    async function* pieces(bytes: Buffer): AsyncGenerator<Uint8Array> {
      for (let at = 0; at < bytes.length; at += 4096) yield bytes.subarray(at, at + 4096);
    }
    let imported = 0;
    for (let i = 0; i < COUNT; i++) {
      let bytes = random.oneIn(3) ? changeJson(random, base) : change(random, base);
      if (random.oneIn(6)) bytes = gzipSync(bytes);
      try {
        await importArchive(engine.ctx, call, pieces(bytes));
        imported++;
      } catch (err) {
        assertOwnWords(err, `archive ${i} of seed ${SEED}`);
      }
    }
    assert.ok(imported > 0 && imported < COUNT, `${imported} of ${COUNT} were imported`);
    assert.deepEqual(await engine.stores.leases.list(call, []), []);
  });
});

/** Changes a byte or a word of the documents in an archive, at the same length. */
function changeJson(random: Random, archive: Buffer): Buffer {
  const out = Buffer.from(archive);
  const quotes: number[] = [];
  for (let at = out.indexOf('":'); at >= 0; at = out.indexOf('":', at + 1)) quotes.push(at + 2);
  for (let i = 1 + random.below(3); i > 0; i--)
    out.write(
      random.pick(["nul", "[]", "{}", "-1", "1e9", '""', "tru", "{{", ",,", "0.5", '"\\u']),
      random.pick(quotes),
    );
  return out;
}
