import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { test } from "node:test";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { inNs } from "../../../test/contract/harness.ts";
import { type LocalStores, makeLocal } from "../../../test/contract/local-stores.ts";
import { tarDirectory, tarEnd, tarFile, tarPadding } from "../../../test/fakes/tar-blocks.ts";
import { codeOf, notImplemented } from "../../core/errors.ts";
import { parseDigest } from "../../core/ids/digest.ts";
import { matchStrict } from "../../oci/platform.ts";
import { importNaming, translate } from "./archive/naming.ts";
import { cleanPath } from "./archive/tar-reader.ts";
import { createContext, type TransferContext } from "./context.ts";
import { exportArchive } from "./export.ts";
import { importArchive } from "./import.ts";
import { tag } from "./tag.ts";

const call = inNs("testing");

async function withContext(
  work: (ctx: TransferContext, stores: LocalStores) => Promise<void>,
): Promise<void> {
  const stores = await makeLocal();
  try {
    const { content, images, leases, snapshotter } = stores;
    const apply = (): never => {
      throw notImplemented("no unpacking in this test");
    };
    await work(
      createContext({ content, images, leases, snapshotter, applier: { apply }, capabilities: () => [] }),
      stores,
    );
  } finally {
    await stores.close();
  }
}

type Entry = readonly [name: string, data: Uint8Array | { readonly link: string; readonly hard?: boolean }];

/** A tar of entries; links are made from a file header. */
function tar(entries: readonly Entry[]): Buffer {
  const parts: Uint8Array[] = [tarDirectory("blobs")];
  for (const [name, data] of entries) {
    if (data instanceof Uint8Array) {
      const size = BigInt(data.length);
      parts.push(tarFile(name, size), data, tarPadding(size));
    } else parts.push(linkHeader(name, data.link, data.hard === true));
  }
  parts.push(tarEnd());
  return Buffer.concat(parts);
}

function patch(header: Uint8Array, change: (h: Buffer) => void): Buffer {
  const h = Buffer.from(header);
  change(h);
  h.write("        ", 148);
  let sum = 0;
  for (const b of h) sum += b;
  h.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  return h;
}

function linkHeader(name: string, target: string, hard: boolean): Buffer {
  return patch(tarFile(name, 0n), (h) => {
    h.write(hard ? "1" : "2", 156);
    h.write(target, 157);
  });
}

async function* stream(bytes: Uint8Array, piece = 1000): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += piece) yield bytes.subarray(at, at + piece);
}

const json = (v: unknown): Buffer => Buffer.from(JSON.stringify(v));
const hex = (b: Uint8Array): string => createHash("sha256").update(b).digest("hex");
const LAYER = randomBytes(5000);
const CONFIG = json({
  os: "linux",
  architecture: "amd64",
  rootfs: { type: "layers", diff_ids: [`sha256:${hex(LAYER)}`] },
});

/** What `docker save` wrote before OCI layouts. */
function dockerSave(
  layerEntries: readonly Entry[],
  layers: readonly string[],
  tags: readonly string[],
): Buffer {
  return tar([
    [`${hex(CONFIG)}.json`, CONFIG],
    ...layerEntries,
    ["abc/VERSION", Buffer.from("1.0")],
    ["abc/json", json({ id: "abc" })],
    ["manifest.json", json([{ Config: `${hex(CONFIG)}.json`, RepoTags: tags, Layers: layers }])],
    ["repositories", json({})],
  ]);
}

async function collect(source: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const part of source) parts.push(Uint8Array.from(part));
  return Buffer.concat(parts);
}

test("docker save: plain, gzip, zstd, xz, bzip2; tags get their full names", async () => {
  const plain = dockerSave([["abc/layer.tar", LAYER]], ["abc/layer.tar"], ["app:1", "h.test/app:2"]);
  const by = (program: string): Uint8Array => execFileSync(program, ["-c"], { input: plain });
  for (const bytes of [plain, gzipSync(plain), zstdCompressSync(plain), by("xz"), by("bzip2")]) {
    await withContext(async (ctx, stores) => {
      const images = await importArchive(ctx, call, stream(bytes));
      assert.deepEqual(
        images.map((i) => i.name),
        ["docker.io/library/app:1", "h.test/app:2"],
      );
      assert.equal(images[0]?.target.mediaType, "application/vnd.docker.distribution.manifest.v2+json");
      await stores.collect();
      await stores.content.info(call, parseDigest(`sha256:${hex(LAYER)}`));
      assert.deepEqual(await stores.leases.list(call, []), []);
      await assert.rejects(stores.content.info(call, parseDigest(`sha256:${hex(json({ id: "abc" }))}`)));
    });
  }
});

test("an extended header without a space ends the import", () =>
  withContext(async (ctx) => {
    const body = Buffer.from("no-space-and-no-number");
    const header = patch(tarFile("pax", BigInt(body.length)), (h) => h.write("x", 156));
    const archive = Buffer.concat([header, body, tarPadding(BigInt(body.length)), tarEnd()]);
    await assert.rejects(importArchive(ctx, call, stream(archive)), /broken extended header/);
  }));

test("docker save: layers by symbolic and hard links", () =>
  withContext(async (ctx) => {
    const entries: Entry[] = [
      ["abc/layer.tar", LAYER],
      ["def/layer.tar", { link: "../abc/layer.tar" }],
      ["ghi/layer.tar", { link: "abc/layer.tar", hard: true }],
    ];
    for (const path of ["def/layer.tar", "ghi/layer.tar"]) {
      const images = await importArchive(ctx, call, stream(dockerSave(entries, [path], ["app:1"])));
      assert.equal(images.length, 1);
    }
    const loop: Entry[] = [["def/layer.tar", { link: "layer.tar" }]];
    await assert.rejects(
      importArchive(ctx, call, stream(dockerSave(loop, ["def/layer.tar"], ["a:1"]))),
      /layer "def\/layer.tar" not found/,
    );
  }));

test("plain layers are compressed when asked", () =>
  withContext(async (ctx, stores) => {
    const bytes = dockerSave([["abc/layer.tar", LAYER]], ["abc/layer.tar"], ["app:1"]);
    const [image] = await importArchive(ctx, call, stream(bytes), { compress: true });
    const found = [];
    await stores.collect();
    for await (const b of stores.content.walk(call, []))
      found.push(b.labels.get("containerd.io/uncompressed"));
    assert.ok(found.includes(`sha256:${hex(LAYER)}`));
    assert.ok(image);
  }));

test("export and import: the same bytes twice, the same image back, names by annotation", () =>
  withContext(async (ctx, stores) => {
    await importArchive(ctx, call, stream(dockerSave([["l", LAYER]], ["l"], ["h.test/app:1"])));
    await tag(ctx, call, "h.test/app:1", "h.test/other:2", false);
    await assert.rejects(
      tag(ctx, call, "h.test/app:1", "h.test/other:2", false),
      (e) => codeOf(e) === "already-exists",
    );
    await tag(ctx, call, "h.test/app:1", "h.test/other:2", true);
    const names = ["h.test/app:1", "h.test/other:2"];
    const bytes = await collect(exportArchive(ctx, call, { names }));
    assert.deepEqual(bytes, await collect(exportArchive(ctx, call, { names })));
    const before = await stores.images.get(call, "h.test/app:1");
    await withContext(async (other, fresh) => {
      const images = await importArchive(other, call, stream(bytes), { indexName: "all:1" });
      assert.deepEqual(
        images.map((i) => i.name),
        [...names, "all:1"],
      );
      assert.equal(images[0]?.target.digest, before.target.digest);
      await fresh.collect();
      assert.equal((await collect(exportArchive(other, call, { names }))).length, bytes.length);
    });
    await assert.rejects(
      collect(exportArchive(ctx, call, { names: ["no/such"] })),
      (e) => codeOf(e) === "not-found",
    );
    const arm = { names: ["h.test/app:1"], matcher: matchStrict({ os: "linux", architecture: "arm64" }) };
    await assert.rejects(collect(exportArchive(ctx, call, arm)), /no match for platform/);
  }));

test("S11, S12: hostile archives are refused and leave nothing", async () => {
  const blob = (data: Uint8Array, name = `blobs/sha256/${hex(data)}`): Entry => [name, data];
  const layout: Entry = ["oci-layout", json({ imageLayoutVersion: "1.0.0" })];
  const huge = patch(tarFile("index.json", 0n), (h) => h.write("100000000000", 124));
  const paxBomb = patch(tarFile("x", 0n), (h) => {
    h.write("x", 156);
    h.write("20000000000\0", 124);
  });
  const indexOf = (desc: object): Entry => ["index.json", json({ schemaVersion: 2, manifests: [desc] })];
  const selfType = "application/vnd.oci.image.index.v1+json";
  const cases: [string, Uint8Array][] = [
    ["8 GiB index.json", Buffer.concat([huge, randomBytes(512)])],
    ["pax header of 2 GiB", Buffer.concat([paxBomb, randomBytes(512)])],
    ["no tar", randomBytes(2000)],
    ["empty", new Uint8Array()],
    ["text", Buffer.from("hello".repeat(200))],
    ["xz", Buffer.from("fd377a585a000004e6d6b446", "hex")],
    ["no index", tar([blob(LAYER)])],
    [
      "wrong digest",
      tar([
        layout,
        blob(LAYER, `blobs/sha256/${"0".repeat(64)}`),
        ["index.json", json({ schemaVersion: 2, manifests: [] })],
      ]),
    ],
    ["traversing digest", tar([blob(LAYER, "blobs/sha256/..%2f")])],
    ["unknown algorithm", tar([blob(LAYER, `blobs/md5/${"0".repeat(32)}`)])],
    ["null manifest", tar([layout, ["index.json", json({ schemaVersion: 2, manifests: [null] })]])],
    [
      "missing manifest",
      tar([layout, indexOf({ mediaType: selfType, digest: `sha256:${hex(LAYER)}`, size: 1 })]),
    ],
    ["cut off", dockerSave([["l", LAYER]], ["l"], ["a:1"]).subarray(0, 3000)],
    ["config that is a layer", dockerSave([["l", LAYER]], ["l"], ["a:1"]).fill(0x41, 600, 700)],
  ];
  for (const [what, bytes] of cases) {
    await withContext(async (ctx, stores) => {
      const started = performance.now();
      await assert.rejects(
        importArchive(ctx, call, stream(bytes)),
        (err) => ["invalid-argument", "failed-precondition", "not-found"].includes(codeOf(err)),
        what,
      );
      assert.ok(performance.now() - started < 5000);
      await stores.collect();
      for await (const b of stores.content.walk(call, [])) assert.fail(`${what}: ${b.digest} is left`);
      assert.deepEqual(await stores.images.list(call, []), []);
      assert.deepEqual(await stores.leases.list(call, []), []);
    });
  }
});

test("import names", () => {
  const today = new Date("2026-02-03T00:00:00Z");
  const ref = (v: string): Map<string, string> => new Map([["org.opencontainers.image.ref.name", v]]);
  assert.equal(importNaming({ today }).name(ref("v1")), "import-2026-02-03:v1");
  assert.equal(importNaming({ baseName: "h/app" }).name(ref("v1")), "h/app:v1");
  assert.equal(importNaming({ baseName: "h/app" }).name(ref("other/app:1")), "");
  assert.equal(
    importNaming({ baseName: "h/app", digests: true }).digest?.(parseDigest(`sha256:${hex(LAYER)}`), true),
    `h/app@sha256:${hex(LAYER)}`,
  );
  assert.equal(translate("h/apple:1", "h/app", true), "");
  assert.equal(translate("h/app/x:1", "h/app", true), "h/app/x:1");
  assert.equal(cleanPath("./a//../../b/./c/"), "b/c");
});
