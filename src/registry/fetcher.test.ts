import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { test } from "node:test";
import { FakeRegistry } from "../../test/fakes/registry.ts";
import { codeOf } from "../core/errors.ts";
import { parseDigest } from "../core/ids/digest.ts";
import type { Descriptor } from "../core/oci.ts";
import { Registry, type RegistryOptions } from "./registry.ts";

const never = new AbortController().signal;
const FAST = { initialDelayMs: 1, stall: { windowMs: 50, floorBytes: 64 } };

async function open(host: string, options: RegistryOptions = {}) {
  const registry = new Registry({ dockerConfig: false, limits: FAST, ...options });
  const session = await registry.session(`${host}/team/app:v1`);
  return { registry, session };
}

function blob(
  bytes: Uint8Array,
  digest: string,
  mediaType = "application/vnd.oci.image.layer.v1.tar",
): Descriptor {
  return { mediaType, digest: parseDigest(digest), size: BigInt(bytes.length) };
}

async function hashAll(stream: AsyncIterable<Uint8Array>): Promise<string> {
  const hash = createHash("sha256");
  for await (const part of stream) hash.update(part);
  return `sha256:${hash.digest("hex")}`;
}

const DATA = randomBytes(300_000);

async function fetchWith(
  prepare: (fake: FakeRegistry) => void,
): Promise<{ digest: string; fake: FakeRegistry; error: unknown }> {
  const fake = await FakeRegistry.start();
  const digest = fake.addBlob(DATA);
  prepare(fake);
  const { registry, session } = await open(fake.host);
  try {
    return {
      digest: await hashAll(session.fetcher.stream(blob(DATA, digest), 0n, never)),
      fake,
      error: undefined,
    };
  } catch (error) {
    return { digest: "", fake, error };
  } finally {
    await registry.close();
    await fake.stop();
  }
}

const WANT = `sha256:${createHash("sha256").update(DATA).digest("hex")}`;

test("a plain blob comes whole", async () => {
  assert.equal((await fetchWith(() => {})).digest, WANT);
});

test("resets keep the bytes received: ranges ask for the rest only", async () => {
  const { digest, fake } = await fetchWith((f) => {
    for (let i = 0; i < 5; i++) f.fail({ match: "GET /v2/team/app/blobs", resetAfter: 40_000 });
  });
  assert.equal(digest, WANT);
  assert.ok(
    fake
      .requests("/blobs/")
      .slice(1)
      .some((r) => /^bytes=\d+-$/.test(r.headers.range ?? "")),
  );
  assert.ok(fake.sent <= DATA.length * 1.3, `sent ${fake.sent} of ${DATA.length}`);
});

test("a server that ignores ranges still gives the right bytes", async () => {
  const { digest } = await fetchWith((f) => {
    f.fail({ match: "/blobs/", resetAfter: 100_000 });
    f.fail({ match: "/blobs/", noRange: true });
  });
  assert.equal(digest, WANT);
});

test("429 and 503 are waited out, Retry-After is taken", async () => {
  const { digest, fake } = await fetchWith((f) => {
    f.fail({ match: "/blobs/", status: 429, headers: { "retry-after": "0" } });
    f.fail({ match: "/blobs/", status: 503, times: 3 });
  });
  assert.equal(digest, WANT);
  assert.equal(fake.requests("/blobs/").length, 5);
});

test("a Retry-After beyond the limit fails at once", async () => {
  const { error } = await fetchWith((f) =>
    f.fail({ match: "/blobs/", status: 429, headers: { "retry-after": "9999" } }),
  );
  assert.equal(codeOf(error), "resource-exhausted");
});

test("a stall in mid-body is noticed and the rest is fetched again", async () => {
  const { digest } = await fetchWith((f) => f.fail({ match: "/blobs/", stallAfter: 50_000 }));
  assert.equal(digest, WANT);
});

test("endless stalls end with unavailable", async () => {
  const { error } = await fetchWith((f) => f.fail({ match: "/blobs/", stallAfter: 0, times: 100 }));
  assert.equal(codeOf(error), "unavailable");
});

test("a body that is too long is refused", async () => {
  const { error } = await fetchWith((f) => f.fail({ match: "/blobs/", extra: 10 }));
  assert.equal(codeOf(error), "failed-precondition");
});

test("a body that is too short is completed by range", async () => {
  const { digest } = await fetchWith((f) => f.fail({ match: "/blobs/", truncate: 1000 }));
  assert.equal(digest, WANT);
});

test("a gzip-coded transfer is decoded", async () => {
  assert.equal((await fetchWith((f) => f.fail({ match: "/blobs/", gzip: true }))).digest, WANT);
});

test("cancel ends a stalled download and closes its connection", async () => {
  await using fake = await FakeRegistry.start();
  const digest = fake.addBlob(DATA);
  fake.fail({ match: "/blobs/", stallAfter: 1000 });
  const { registry, session } = await open(fake.host, { limits: {} });
  const stop = new AbortController();
  const reading = (async () => {
    for await (const _ of session.fetcher.stream(blob(DATA, digest), 0n, stop.signal)) stop.abort();
  })();
  await assert.rejects(reading, (err) => codeOf(err) === "canceled");
  await registry.close();
});

test("the manifest is read with its digest checked, a second mirror is tried after wrong bytes", async () => {
  await using bad = await FakeRegistry.start();
  await using good = await FakeRegistry.start();
  for (const f of [bad, good]) f.addImage("team/app", "v1", [DATA]);
  bad.fail({ match: "GET /v2/team/app/manifests", corrupt: true, times: 10 });
  const registry = new Registry({
    dockerConfig: false,
    limits: FAST,
    hosts: { mirrors: new Map([["registry.test", [bad.url, good.url]]]) },
  });
  const session = await registry.session("registry.test/team/app:v1");
  const desc = await session.resolve(never);
  const bytes = await session.fetcher.read(desc, 1 << 20, never);
  assert.equal(BigInt(bytes.length), desc.size);
  assert.equal(good.requests("GET /v2/team/app/manifests").length, 1);
  assert.ok(good.seen.every((s) => s.url.includes("ns=registry.test")));
  await registry.close();
});

test("a broken mirror is skipped, the error of a total failure names every host", async () => {
  await using fake = await FakeRegistry.start();
  fake.addImage("team/app", "v1", [DATA]);
  const hosts = { mirrors: new Map([["registry.test", ["http://127.0.0.1:1", fake.url]]]) };
  const registry = new Registry({ dockerConfig: false, limits: FAST, hosts });
  assert.ok(await (await registry.session("registry.test/team/app:v1")).resolve(never));
  const missing = await registry.session("registry.test/team/app:v2");
  await assert.rejects(missing.resolve(never), (err: Error) => {
    assert.match(err.message, /127\.0\.0\.1:1/);
    assert.ok(err.message.includes(fake.host));
    return true;
  });
  await registry.close();
});

test("registry answers that are no manifest are refused with a hint", async () => {
  await using fake = await FakeRegistry.start();
  fake.fail({
    match: "/manifests/",
    status: 200,
    headers: { "content-type": "text/html" },
    body: "<html>",
    times: 9,
  });
  const { registry, session } = await open(fake.host);
  await assert.rejects(session.resolve(never), /text\/html/);
  await registry.close();
});
