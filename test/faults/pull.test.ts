/** Pulls through the daemon's own stores and helpers from a registry that misbehaves. Needs root: layers are unpacked. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { lstat, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, test } from "node:test";
import { codeOf } from "../../src/core/errors.ts";
import { parseDigest } from "../../src/core/ids/digest.ts";
import { createDeferred } from "../../src/lib/deferred.ts";
import { createContext } from "../../src/plugins/transfer/context.ts";
import { exportArchive } from "../../src/plugins/transfer/export.ts";
import { type PullResult, pull } from "../../src/plugins/transfer/pull.ts";
import { push } from "../../src/plugins/transfer/push.ts";
import { registrySource } from "../../src/plugins/transfer/registry-source.ts";
import { fixedSource } from "../../src/registry/credentials.ts";
import { Registry } from "../../src/registry/registry.ts";
import { inNs } from "../contract/harness.ts";
import { FakeRegistry } from "../fakes/registry.ts";
import { tarDirectory, tarEnd, tarFile, tarPadding } from "../fakes/tar-blocks.ts";
import { hastyRegistry, type PullEngine, pullEngine } from "./pull-rig.ts";

/** A layer with one directory and one file of random bytes. */
function layer(dir: string, size: number): Uint8Array {
  const data = randomBytes(size);
  const parts = [
    tarDirectory(dir),
    tarFile(`${dir}/data`, BigInt(size)),
    data,
    tarPadding(BigInt(size)),
    tarEnd(),
  ];
  return Buffer.concat(parts);
}

const registry = hastyRegistry();
after(() => registry.close());

async function run(e: PullEngine, fake: FakeRegistry, tag = "v1", signal?: AbortSignal): Promise<PullResult> {
  const name = `${fake.host}/team/app:${tag}`;
  const call = signal === undefined ? inNs("testing") : inNs("testing").with({ signal }).namespaced();
  const source = registrySource(await registry.session(name));
  return pull(e.ctx, call, { name, source, unpack: [{ snapshotter: "overlayfs" }] });
}

/** Waits for what is polled. */
async function until(done: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await done())) await new Promise((resolve) => setTimeout(resolve, 5));
}

/** Everything a failed pull may leave is gone after a collection. */
async function assertClean(e: PullEngine): Promise<void> {
  await e.stores.collect();
  const call = inNs("testing");
  assert.deepEqual(await e.stores.leases.list(call, []), []);
  const snapshots = [];
  for await (const s of e.stores.snapshotter("overlayfs").walk(call, [])) snapshots.push(s.name);
  assert.deepEqual(snapshots, []);
  const blobs = [];
  for await (const b of e.stores.content.walk(call, [])) blobs.push(b.digest);
  assert.deepEqual(blobs, []);
}

/** The file `dir/data` of the unpacked layer equals what the layer holds. */
async function assertUnpacked(e: PullEngine, dir: string, bytes: Uint8Array): Promise<void> {
  const base = join(e.root, "overlay", "snapshots");
  for (const id of await readdir(base)) {
    const path = join(base, id, "fs", dir, "data");
    if ((await lstat(path).catch(() => undefined)) === undefined) continue;
    const size = (await lstat(path)).size;
    assert.deepEqual(await readFile(path), Buffer.from(bytes.subarray(1024, 1024 + size)));
    return;
  }
  assert.fail(`${dir}/data was not unpacked`);
}

test("layers arrive in parallel and are unpacked; chain, labels and image are right", async () => {
  await using fake = await FakeRegistry.start();
  await using e = await pullEngine();
  const layers = [0, 1, 2, 3, 4, 5].map((i) => layer(`d${i}`, 50_000));
  const image = fake.addImage("team/app", "v1", layers);
  const result = await run(e, fake);
  for (const [i, bytes] of layers.entries()) await assertUnpacked(e, `d${i}`, bytes);
  const call = inNs("testing");
  const config = await e.stores.content.info(call, parseDigest(image.config));
  assert.equal(config.labels.get("containerd.io/gc.ref.snapshot.overlayfs"), result.unpacked[0]?.chainId);
  const first = await e.stores.content.info(call, parseDigest(image.layers[0] ?? ""));
  assert.equal(first.labels.get("containerd.io/uncompressed"), image.layers[0]);
  const manifest = await e.stores.content.info(call, parseDigest(image.digest));
  assert.equal(manifest.labels.get("containerd.io/gc.ref.content.l.5"), image.layers[5]);
  assert.deepEqual(await e.stores.leases.list(call, []), []);
  await e.stores.collect();
  assert.equal(
    (await e.stores.snapshotter("overlayfs").stat(call, result.unpacked[0]?.chainId ?? "")).kind,
    "committed",
  );
});

test("resets, stalls, 429 and 503 on every layer: the right bytes, at most 1.3 times the traffic", async () => {
  await using fake = await FakeRegistry.start();
  await using e = await pullEngine();
  const layers = [0, 1, 2].map((i) => layer(`d${i}`, 400_000));
  fake.addImage("team/app", "v1", layers);
  fake.fail({ match: /GET .*\/blobs\//, times: 2, status: 503 });
  fake.fail({ match: /GET .*\/blobs\//, times: 1, status: 429, headers: { "retry-after": "0" } });
  fake.fail({ match: /GET .*\/blobs\//, times: 6, resetAfter: 100_000 });
  fake.fail({ match: /GET .*\/blobs\//, times: 1, stallAfter: 10_000 });
  await run(e, fake);
  for (const [i, bytes] of layers.entries()) await assertUnpacked(e, `d${i}`, bytes);
  const total = layers.reduce((n, l) => n + l.length, 0);
  assert.ok(fake.sent <= total * 1.3, `${fake.sent} of ${total}`);
});

test("wrong bytes once: fetched again; wrong bytes always: refused, nothing is left", async () => {
  await using fake = await FakeRegistry.start();
  await using e = await pullEngine();
  const bytes = layer("d0", 50_000);
  const image = fake.addImage("team/app", "v1", [bytes]);
  const match = `GET /v2/team/app/blobs/${image.layers[0]}`;
  fake.fail({ match, corrupt: true, times: 50 });
  await assert.rejects(run(e, fake), (err) =>
    ["failed-precondition", "invalid-argument"].includes(codeOf(err)),
  );
  await assertClean(e);
  fake.faults.length = 0;
  fake.fail({ match, truncate: 1000, times: 1 });
  await run(e, fake);
  await assertUnpacked(e, "d0", bytes);
});

test("a diff id that differs is refused although the blob is right", async () => {
  await using fake = await FakeRegistry.start();
  await using e = await pullEngine();
  const bytes = layer("d0", 5000);
  const blob = fake.addBlob(bytes);
  const config = JSON.stringify({
    os: "linux",
    architecture: "amd64",
    rootfs: { type: "layers", diff_ids: [`sha256:${"0".repeat(64)}`] },
  });
  const configDigest = fake.addBlob(new TextEncoder().encode(config));
  fake.addManifest("team/app", "v1", {
    schemaVersion: 2,
    mediaType: "application/vnd.oci.image.manifest.v1+json",
    config: {
      mediaType: "application/vnd.oci.image.config.v1+json",
      digest: configDigest,
      size: config.length,
    },
    layers: [{ mediaType: "application/vnd.oci.image.layer.v1.tar", digest: blob, size: bytes.length }],
  });
  await assert.rejects(run(e, fake), /wrong diff id/);
  await assertClean(e);
});

test("cancel in mid-layer ends at once; the retry goes on where it stopped, garbage collection or not", async () => {
  await using fake = await FakeRegistry.start();
  await using e = await pullEngine();
  const bytes = layer("d0", 3_000_000);
  const image = fake.addImage("team/app", "v1", [bytes]);
  fake.fail({ match: `GET /v2/team/app/blobs/${image.layers[0]}`, stallAfter: 2_500_000, times: 1 });
  const stop = new AbortController();
  const pulling = run(e, fake, "v1", stop.signal);
  // The helper has written what came: its file is the only witness.
  const ingests = join(e.root, "content", "ingest");
  for (let size = 0; size < 2_000_000; await new Promise((resolve) => setTimeout(resolve, 5))) {
    const ids = await readdir(ingests);
    const sizes = await Promise.all(
      ids.map(async (id) => (await lstat(join(ingests, id, "data")).catch(() => undefined))?.size ?? 0),
    );
    size = Math.max(0, ...sizes);
  }
  stop.abort();
  await assert.rejects(pulling, (err) => codeOf(err) === "canceled");
  // A collection between the two takes nothing of what came.
  await e.stores.collect();
  assert.match(
    (await e.stores.leases.list(inNs("testing"), [])).map((l) => l.id).join(),
    /^resume-[0-9a-f]{24}$/,
  );
  await run(e, fake);
  await assertUnpacked(e, "d0", bytes);
  assert.deepEqual(await e.stores.leases.list(inNs("testing"), []), []);
  const range = fake.requests(`GET /v2/team/app/blobs/${image.layers[0]}`).at(-1)?.headers.range;
  assert.match(range ?? "", /^bytes=\d{5,}-$/);
});

test("what came of a small layer is kept when its pull is cancelled", async () => {
  await using fake = await FakeRegistry.start();
  await using e = await pullEngine();
  const bytes = layer("d0", 500_000);
  const image = fake.addImage("team/app", "v1", [bytes]);
  fake.fail({ match: `GET /v2/team/app/blobs/${image.layers[0]}`, stallAfter: 300_000, times: 1 });
  const stop = new AbortController();
  const pulling = run(e, fake, "v1", stop.signal);
  for (let came = 0n; came < 250_000n; await new Promise((resolve) => setTimeout(resolve, 5)))
    came = (await e.stores.content.statuses(inNs("testing"), [])).reduce(
      (n, s) => (s.ref.startsWith("layer-") && s.offset > n ? s.offset : n),
      0n,
    );
  stop.abort();
  await assert.rejects(pulling, (err) => codeOf(err) === "canceled");
  await run(e, fake);
  await assertUnpacked(e, "d0", bytes);
  const range = fake.requests(`GET /v2/team/app/blobs/${image.layers[0]}`).at(-1)?.headers.range;
  assert.match(range ?? "", /^bytes=[1-9]\d*-$/);
});

test("many pulls at once share each layer; one that is cancelled does not take the others with it", async () => {
  await using fake = await FakeRegistry.start();
  await using e = await pullEngine();
  const shared = layer("shared", 300_000);
  const tags = ["a", "b", "c", "d"];
  const own = tags.map((tag) => layer(`own-${tag}`, 20_000));
  const images = tags.map((tag, i) => fake.addImage("team/app", tag, [shared, own[i] ?? shared]));
  const stop = new AbortController();
  const [first, ...rest] = tags;
  const cancelled = run(e, fake, first, stop.signal).catch((err: unknown) => err);
  const others = rest.map((tag) => run(e, fake, tag));
  stop.abort();
  await cancelled;
  await Promise.all(others);
  await assertUnpacked(e, "shared", shared);
  for (const [i, tag] of tags.entries()) if (i > 0) await assertUnpacked(e, `own-${tag}`, own[i] ?? shared);
  assert.ok(fake.requests(`GET /v2/team/app/blobs/${images[0]?.layers[0]}`).length <= 2);
  assert.equal(e.ctx.layersInFlight.size, 0);
});

test("pulls of one image at once ask the registry for each part once", async () => {
  await using fake = await FakeRegistry.start();
  await using e = await pullEngine();
  const image = fake.addImage("team/app", "v1", [layer("a", 200_000), layer("b", 100_000)]);
  await Promise.all([0, 1, 2, 3, 4].map(() => run(e, fake)));
  for (const digest of [image.digest, image.config, ...image.layers])
    assert.equal(fake.requests("GET /v2/").filter((r) => r.url.includes(digest)).length, 1, digest);
  assert.equal(fake.requests("HEAD /v2/").length, 5);
});

test("ranges of a large layer arrive at a time, in the store and unpacked", async () => {
  await using fake = await FakeRegistry.start();
  await using e = await pullEngine();
  const bytes = layer("big", 3_000_000);
  const image = fake.addImage("team/app", "v1", [bytes]);
  fake.bytesPerSecond = 2_000_000;
  const ctx = createContext(e.ctx.stores, { rangeBytes: 200_000 });
  const name = `${fake.host}/team/app:v1`;
  const source = registrySource(await registry.session(name));
  await pull(ctx, inNs("testing"), { name, source, unpack: [{ snapshotter: "overlayfs" }] });
  await assertUnpacked(e, "big", bytes);
  assert.ok(fake.sending.most >= 4, `${fake.sending.most} at a time`);
  assert.ok(fake.requests(`GET /v2/team/app/blobs/${image.layers[0]}`).length >= 15);
});

test("layers come into the store while all slots for unpacking wait for the layers below", async () => {
  await using fake = await FakeRegistry.start();
  await using e = await pullEngine({ unpacks: 2, downloads: 4 });
  await using patient = new Registry({ dockerConfig: false });
  const layers = Array.from({ length: 10 }, (_, i) => layer(`d${i}`, i === 7 ? 3_000_000 : 20_000));
  const image = fake.addImage("team/app", "v1", layers);
  const asked = (i: number): number => fake.requests(`GET /v2/team/app/blobs/${image.layers[i]}`).length;
  const bottom = createDeferred<void>();
  fake.fail({ match: `GET /v2/team/app/blobs/${image.layers[0]}`, hold: bottom.promise });
  const name = `${fake.host}/team/app:v1`;
  const source = registrySource(await patient.session(name));
  const pulling = pull(e.ctx, inNs("testing"), { name, source, unpack: [{ snapshotter: "overlayfs" }] });
  const stored = async (): Promise<number> => {
    let bytes = 0n;
    for (const { offset } of await e.stores.content.statuses(inNs("testing"), [])) bytes += offset;
    for await (const blob of e.stores.content.walk(inNs("testing"), [])) bytes += blob.size;
    return Number(bytes);
  };
  const above = layers.slice(1).reduce((sum, bytes) => sum + bytes.length, 0);
  // one slot waits for the bottom, the other one for its parent; all the others come
  await until(async () => (await stored()) >= above);
  assert.deepEqual(
    layers.map((_, i) => asked(i)),
    layers.map(() => 1),
  );
  bottom.resolve();
  await pulling;
  for (const [i, bytes] of layers.entries()) await assertUnpacked(e, `d${i}`, bytes);
  // what had come was not asked for again
  assert.deepEqual(
    layers.map((_, i) => asked(i)),
    layers.map(() => 1),
  );
  // lower layers first: no more than the other connections' are still to be asked for
  const order = fake.seen
    .filter(({ method }) => method === "GET")
    .map(({ url }) => image.layers.findIndex((digest) => url.endsWith(digest)))
    .filter((i) => i >= 0);
  for (const [at, i] of order.entries())
    assert.ok(i - order.slice(0, at).filter((lower) => lower < i).length < 4, `${order}`);
});

test("a layer that another client is fetching is waited for, and taken over when that one stops", async () => {
  await using fake = await FakeRegistry.start();
  await using e = await pullEngine();
  const bytes = layer("d0", 100_000);
  const image = fake.addImage("team/app", "v1", [bytes]);
  const digest = parseDigest(image.layers[0] ?? "");
  const options = { ref: `layer-${digest}`, size: BigInt(bytes.length), expected: digest };
  const other = await e.stores.content.writer(inNs("testing"), options);
  await other.write(bytes.subarray(0, 40_000));
  const pulling = run(e, fake);
  // It knows the image: opening the ingest is next, and refused a few times.
  await until(() => fake.requests(`GET /v2/team/app/blobs/${image.config}`).length > 0);
  await new Promise((resolve) => setTimeout(resolve, 150));
  await other.close();
  await pulling;
  await assertUnpacked(e, "d0", bytes);
  const [range] = fake.requests(`GET /v2/team/app/blobs/${digest}`).map((r) => r.headers.range);
  assert.equal(range, "bytes=40000-");
});

test("non-distributable layers: fetched from their URL without credentials, pushed and exported only when asked", async () => {
  const auth = { kind: "basic", username: "alice", password: "s3cret" } as const;
  await using fake = await FakeRegistry.start({ auth });
  await using elsewhere = await FakeRegistry.start();
  await using other = await FakeRegistry.start();
  await using e = await pullEngine();
  const bytes = layer("foreign", 30_000);
  const digest = elsewhere.addBlob(bytes);
  fake.addImage("team/app", "v1", [bytes]);
  fake.blobs.delete(digest);
  const doc = JSON.parse(Buffer.from(fake.manifests.get("team/app:v1")?.bytes ?? []).toString());
  doc.layers[0].mediaType = "application/vnd.oci.image.layer.nondistributable.v1.tar";
  doc.layers[0].urls = [`${elsewhere.url}/v2/any/thing/blobs/${digest}`];
  fake.addManifest("team/app", "v1", doc);
  await using known = new Registry({
    dockerConfig: false,
    credentials: fixedSource({ kind: "basic", username: "alice", password: "s3cret" }),
  });
  const name = `${fake.host}/team/app:v1`;
  const call = inNs("testing");
  const source = registrySource(await known.session(name));
  await pull(e.ctx, call, { name, source, unpack: [{ snapshotter: "overlayfs" }] });
  await assertUnpacked(e, "foreign", bytes);
  assert.ok(elsewhere.seen.length > 0);
  assert.ok(elsewhere.seen.every((s) => s.headers.authorization === undefined));
  const to = async (tag: string) => await registry.session(`${other.host}/copy/app:${tag}`);
  await push(e.ctx, call, { name, session: await to("without") });
  assert.ok(other.manifests.has("copy/app:without"));
  assert.equal(other.blobs.has(digest), false);
  const size = async (skipNonDistributable: boolean): Promise<number> => {
    let total = 0;
    for await (const part of exportArchive(e.ctx, call, { names: [name], skipNonDistributable }))
      total += part.byteLength;
    return total;
  };
  assert.ok((await size(false)) - (await size(true)) >= bytes.length);
  await push(e.ctx, call, { name, session: await to("with"), allowNonDistributable: true });
  assert.ok(other.blobs.has(digest));
});

test("R9: cancelled at random and pulled again while garbage is collected: never a missing parent", async () => {
  await using fake = await FakeRegistry.start();
  await using e = await pullEngine();
  const layers = [0, 1, 2].map((i) => layer(`d${i}`, 20_000));
  fake.addImage("team/app", "v1", layers);
  for (let i = 0; i < 6; i++) {
    const stop = new AbortController();
    const pulling = run(e, fake, "v1", stop.signal).catch((err: unknown) => err);
    setTimeout(() => stop.abort(), i * 15);
    const [outcome] = await Promise.all([pulling, e.stores.collect()]);
    if (outcome instanceof Error) assert.equal(codeOf(outcome), "canceled", outcome.message);
    await e.stores.images.delete(inNs("testing"), `${fake.host}/team/app:v1`).catch(() => {});
    await e.stores.collect();
  }
  await run(e, fake);
  for (const [i, bytes] of layers.entries()) await assertUnpacked(e, `d${i}`, bytes);
});
