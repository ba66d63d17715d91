import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { type TarEntry, TarWriter } from "../../../scripts/lib/tar-writer.ts";
import { Call } from "../../core/call.ts";
import type { ContentStore } from "../../core/content/content.ts";
import { parseDigest } from "../../core/ids/digest.ts";
import { parseNamespace } from "../../core/ids/namespace.ts";
import { CHECKPOINT_TYPE } from "../../oci/checkpoint-types.ts";
import { checkpointToStore, unpackCheckpoint } from "./checkpoint.ts";

const call = new Call({}).in(parseNamespace("test"));

/** A store of blobs in memory, as far as checkpoints need one. */
function memoryStore(): { store: ContentStore; blobs: Map<string, Uint8Array> } {
  const blobs = new Map<string, Uint8Array>();
  const store = {
    reader: async (_call: unknown, digest: string) => {
      const bytes = blobs.get(digest) ?? new Uint8Array();
      return {
        size: BigInt(bytes.length),
        readAt: async (at: bigint, length: number) => bytes.subarray(Number(at), Number(at) + length),
        [Symbol.asyncDispose]: async () => {},
      };
    },
    writer: async () => {
      const parts: Uint8Array[] = [];
      const digest = () => `sha256:${createHash("sha256").update(Buffer.concat(parts)).digest("hex")}`;
      return {
        truncate: async () => {},
        write: async (bytes: Uint8Array) => void parts.push(bytes.slice()),
        digest,
        commit: async () => void blobs.set(digest(), Buffer.concat(parts)),
        [Symbol.asyncDispose]: async () => {},
      };
    },
  };
  return { store: store as unknown as ContentStore, blobs };
}

test("what is stored comes back byte for byte, and the folder it was made in is gone", async () => {
  const dir = mkdtempSync(join(tmpdir(), "checkpoint-"));
  try {
    const { store } = memoryStore();
    const work = join(dir, "work");
    mkdirSync(work);
    const big = new Uint8Array(3_000_001).fill(7);
    let made = "";
    const bundle = { namespace: "test", id: "c", path: dir, work };
    const [images] = await checkpointToStore(call, store, bundle, undefined, async (folder) => {
      made = folder;
      writeFileSync(join(folder, "pages-1.img"), big);
      writeFileSync(join(folder, "empty.img"), "");
    });
    assert.equal(existsSync(made), false);
    assert.ok(images !== undefined);
    const out = join(dir, "out");
    await unpackCheckpoint(call, store, images, out);
    assert.deepEqual(new Uint8Array(readFileSync(join(out, "pages-1.img"))), big);
    assert.equal(readFileSync(join(out, "empty.img")).length, 0);
  } finally {
    rmSync(dir, { recursive: true });
  }
});

const HOSTILE: Readonly<Record<string, TarEntry>> = {
  "a way out": { name: "../canary", data: "x" },
  "an absolute path": { name: "/tmp/canary", data: "x" },
  "a folder": { name: "deep/canary", data: "x" },
  "a symbolic link": { name: "link", type: "symlink", link: "/etc" },
  "a hard link": { name: "link", type: "hardlink", link: "/etc/passwd" },
  "a device": { name: "null", type: "char", devMajor: 1, devMinor: 3 },
  "a hidden name": { name: ".", data: "x" },
};

for (const [what, entry] of Object.entries(HOSTILE)) {
  test(`an archive with ${what} is refused (S32)`, async () => {
    const dir = mkdtempSync(join(tmpdir(), "checkpoint-"));
    try {
      const { store, blobs } = memoryStore();
      const digest = parseDigest(`sha256:${"a".repeat(64)}`);
      blobs.set(digest, new TarWriter().add({ name: "good.img", data: "ok" }).add(entry).finish());
      const from = { mediaType: CHECKPOINT_TYPE, digest, size: 0n };
      await assert.rejects(unpackCheckpoint(call, store, from, join(dir, "out")), {
        code: "invalid-argument",
      });
      assert.equal(existsSync(join(dir, "canary")), false);
    } finally {
      rmSync(dir, { recursive: true });
    }
  });
}

test("a cut-off archive and another media type are refused", async () => {
  const dir = mkdtempSync(join(tmpdir(), "checkpoint-"));
  try {
    const { store, blobs } = memoryStore();
    const digest = parseDigest(`sha256:${"b".repeat(64)}`);
    blobs.set(digest, new TarWriter().add({ name: "a.img", data: "long enough" }).finish().subarray(0, 515));
    const from = { mediaType: CHECKPOINT_TYPE, digest, size: 0n };
    await assert.rejects(unpackCheckpoint(call, store, from, join(dir, "one")), /cut off/);
    const other = { ...from, mediaType: "application/json" };
    await assert.rejects(
      unpackCheckpoint(call, store, other, join(dir, "two")),
      /unsupported checkpoint type/,
    );
  } finally {
    rmSync(dir, { recursive: true });
  }
});
