/**
 * Registries that misbehave, as a table: each fault against a plain one, one with TLS and a password, and one with TLS and bearer
 * tokens. What is right in the end arrives whole, what is not is refused; no blob is ever stored under another's name.
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { parseDigest } from "../../src/core/ids/digest.ts";
import { pull } from "../../src/plugins/transfer/pull.ts";
import { registrySource } from "../../src/plugins/transfer/registry-source.ts";
import { fixedSource } from "../../src/registry/credentials.ts";
import { inNs, list } from "../contract/harness.ts";
import type { LocalStores } from "../contract/local-stores.ts";
import { FakeRegistry, type Fault } from "../fakes/registry.ts";
import { hastyRegistry, pullEngine } from "./pull-rig.ts";

const call = inNs("testing");
const USER = { username: "tester", password: "s3cret" } as const;
const certificates = mkdtempSync(join(tmpdir(), "gantry-table-"));
const pem = (name: string): string => readFileSync(join(certificates, name), "utf8");

before(() => {
  const subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"];
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "key.pem"];
  execFileSync("openssl", ["req", "-x509", ...key, "-out", "cert.pem", "-days", "2", ...subject], {
    cwd: certificates,
    stdio: "ignore",
  });
});
after(() => rmSync(certificates, { recursive: true, force: true }));

const KINDS: readonly (readonly [string, "basic" | "bearer" | undefined])[] = [
  ["plain", undefined],
  ["TLS, password", "basic"],
  ["TLS, bearer tokens", "bearer"],
];

const BLOBS = /GET .*\/blobs\//;
const MANIFESTS = /(?:GET|HEAD) .*\/manifests\//;
const retry = { "retry-after": "0" };

interface Row {
  readonly title: string;
  readonly faults: readonly Fault[];
  /** The error's text; undefined: all is well in the end. */
  readonly refused?: RegExp;
}

const ROWS: readonly Row[] = [
  { title: "connections reset in mid-blob", faults: [{ match: BLOBS, times: 5, resetAfter: 70_000 }] },
  { title: "a manifest's connection is reset", faults: [{ match: /GET .*\/manifests\//, resetAfter: 10 }] },
  { title: "a stall in mid-blob", faults: [{ match: BLOBS, times: 2, stallAfter: 50_000 }] },
  { title: "429 with Retry-After", faults: [{ match: BLOBS, times: 3, status: 429, headers: retry }] },
  {
    title: "429 for manifests",
    faults: [{ match: MANIFESTS, times: 2, status: 429, headers: retry, body: "slow down" }],
  },
  { title: "503", faults: [{ match: BLOBS, times: 3, status: 503 }] },
  {
    title: "a range is ignored after a reset",
    faults: [
      { match: BLOBS, resetAfter: 70_000 },
      { match: BLOBS, noRange: true },
    ],
  },
  { title: "a body that ends early, once", faults: [{ match: BLOBS, truncate: 1000 }] },
  { title: "a body gzip-coded although nobody asked", faults: [{ match: BLOBS, times: 2, gzip: true }] },
  { title: "wrong bytes of the right length, once", faults: [{ match: BLOBS, corrupt: true }] },
  { title: "wrong bytes always", faults: [{ match: BLOBS, times: 99, corrupt: true }], refused: /digest/ },
  {
    title: "bodies that always end early",
    faults: [{ match: BLOBS, times: 99, truncate: 1000 }],
    refused: /./,
  },
  { title: "bodies that are too long", faults: [{ match: BLOBS, times: 99, extra: 7 }], refused: /./ },
  {
    title: "a manifest of other bytes than its digest",
    faults: [{ match: /GET .*\/manifests\//, times: 99, corrupt: true }],
    refused: /digest|manifest|JSON/,
  },
  {
    title: "a web page for a manifest",
    faults: [
      { match: MANIFESTS, times: 99, status: 200, headers: { "content-type": "text/html" }, body: "<html>" },
    ],
    refused: /./,
  },
  { title: "not found", faults: [{ match: BLOBS, times: 99, status: 404 }], refused: /404 Not Found/ },
];

/** Every file of the store is what its name says. */
async function assertHonest(stores: LocalStores): Promise<void> {
  const folder = join(stores.root, "content/blobs/sha256");
  for (const name of await readdir(folder).catch(() => []))
    assert.equal(
      createHash("sha256")
        .update(await readFile(join(folder, name)))
        .digest("hex"),
      name,
    );
}

for (const [kind, auth] of KINDS)
  describe(kind, () => {
    const started = async (): Promise<FakeRegistry> =>
      auth === undefined
        ? FakeRegistry.start()
        : FakeRegistry.start({
            auth: { kind: auth, ...USER },
            tls: { cert: pem("cert.pem"), key: pem("key.pem") },
          });

    async function withPull(
      body: (fake: FakeRegistry, stores: LocalStores, go: () => Promise<unknown>) => Promise<void>,
    ): Promise<void> {
      await using fake = await started();
      await using engine = await pullEngine();
      const registry = hastyRegistry(fixedSource({ kind: "basic", ...USER }));
      try {
        await body(fake, engine.stores, async () => {
          const name = `${fake.host}/team/app:v1`;
          const source = registrySource(await registry.session(name));
          return pull(engine.ctx, call, { name, source, unpack: [] });
        });
      } finally {
        await registry.close();
      }
    }

    for (const row of ROWS)
      test(row.title, { timeout: 60_000 }, () =>
        withPull(async (fake, stores, go) => {
          const layers = [randomBytes(200_000), randomBytes(150_000)];
          const image = fake.addImage("team/app", "v1", layers);
          for (const fault of row.faults) fake.fail(fault);
          if (row.refused === undefined) {
            await go();
            for (const [i, digest] of image.layers.entries()) {
              await using reader = await stores.content.reader(call, parseDigest(digest));
              assert.deepEqual(Buffer.from(await reader.readAt(0n, 300_000)), layers[i]);
            }
          } else {
            await assert.rejects(go(), row.refused);
            await assertHonest(stores);
            // a pull that failed may keep what came, for the next one, under a lease that expires: as if it had
            for (const { id } of await stores.leases.list(call, [])) await stores.leases.delete(call, id);
            await stores.collect();
            assert.deepEqual(await list(stores.content.walk(call, [])), []);
            assert.deepEqual(await stores.images.list(call, []), []);
            // and nothing of it stands in the way of the next
            fake.faults.length = 0;
            await go();
          }
          await assertHonest(stores);
        }),
      );

    test("redirects: blobs of another host arrive, and no credentials reach it", { timeout: 60_000 }, () =>
      withPull(async (fake, stores, go) => {
        await using other = await started();
        other.auth = undefined;
        const layers = [randomBytes(200_000)];
        const image = fake.addImage("team/app", "v1", layers);
        for (const digest of [...image.layers, image.config]) {
          other.blobs.set(digest, fake.blobs.get(digest) ?? new Uint8Array());
          const location = `${other.url}/v2/far/blobs/${digest}?signed=1`;
          fake.fail({
            match: `GET /v2/team/app/blobs/${digest}`,
            times: 99,
            status: 307,
            headers: { location },
          });
        }
        other.fail({ match: BLOBS, resetAfter: 60_000 });
        await go();
        await using reader = await stores.content.reader(call, parseDigest(image.layers[0] ?? ""));
        assert.deepEqual(Buffer.from(await reader.readAt(0n, 300_000)), layers[0]);
        assert.ok(other.requests("/v2/far/blobs/").length >= 2);
        assert.deepEqual(
          other.seen.filter((seen) => seen.headers.authorization !== undefined),
          [],
        );
        await assertHonest(stores);
      }),
    );
  });
