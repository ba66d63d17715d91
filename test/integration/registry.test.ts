/** The registry client against Debian's docker-registry: plain, and TLS with a password. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { copyFile, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { codeOf } from "../../src/core/errors.ts";
import type { Descriptor } from "../../src/core/oci.ts";
import { describe } from "../../src/oci/descriptors.ts";
import { DOCKER_LAYER, OCI_CONFIG, OCI_MANIFEST } from "../../src/oci/media-types.ts";
import { fixedSource } from "../../src/registry/credentials.ts";
import { Registry, type RegistrySession } from "../../src/registry/registry.ts";
import { startRegistry, USER } from "../fixtures/registry.ts";

const never = new AbortController().signal;

/** Pushes an image of one layer, then reads it back. */
async function roundTrip(session: RegistrySession, chunkBytes?: number): Promise<void> {
  const layer = randomBytes(700_000);
  const config = new TextEncoder().encode('{"os":"linux","architecture":"amd64","rootfs":{"type":"layers"}}');
  const parts: [Descriptor, Uint8Array][] = [
    [describe(OCI_CONFIG, config), config],
    [describe(DOCKER_LAYER, layer), layer],
  ];
  const [configJson, layerJson] = parts.map(([d]) => ({ ...d, size: Number(d.size) }));
  const text = JSON.stringify({
    schemaVersion: 2,
    mediaType: OCI_MANIFEST,
    config: configJson,
    layers: [layerJson],
  });
  const manifest = new TextEncoder().encode(text);
  parts.push([describe(OCI_MANIFEST, manifest), manifest]);
  for (const [desc, bytes] of parts) {
    const outcome = await session.pusher.push({
      desc,
      async *open(offset) {
        for (let at = Number(offset); at < bytes.length; at += 65536) yield bytes.subarray(at, at + 65536);
      },
      tag: desc.mediaType === OCI_MANIFEST ? session.ref.tag : undefined,
      signal: never,
      ...(chunkBytes === undefined ? {} : { chunkBytes }),
    });
    assert.notEqual(outcome, undefined);
  }
  const found = await session.resolve(never);
  assert.equal(found.digest, describe(OCI_MANIFEST, manifest).digest);
  assert.deepEqual(Buffer.from(await session.fetcher.read(found, 1 << 20, never)), Buffer.from(manifest));
  const got: Uint8Array[] = [];
  for await (const part of session.fetcher.stream(describe(DOCKER_LAYER, layer), 300_000n, never))
    got.push(Uint8Array.from(part));
  assert.deepEqual(Buffer.concat(got), layer.subarray(300_000));
}

test("plain registry on loopback: push in one piece and in chunks, resolve, fetch by range", async () => {
  await using server = await startRegistry();
  await using registry = new Registry({ dockerConfig: false });
  await roundTrip(await registry.session(`${server.host}/team/app:v1`));
  await roundTrip(await registry.session(`${server.host}/team/chunked:v1`), 100_000);
  const missing = await registry.session(`${server.host}/team/app:v9`);
  await assert.rejects(missing.resolve(never), (err) => codeOf(err) === "not-found");
});

test("a blob is mounted from a sibling repository", async () => {
  await using server = await startRegistry();
  await using registry = new Registry({ dockerConfig: false });
  const bytes = randomBytes(1000);
  const desc = describe(DOCKER_LAYER, bytes);
  const open = async function* (): AsyncGenerator<Uint8Array> {
    yield bytes;
  };
  const first = await registry.session(`${server.host}/a/one:x`);
  assert.equal(await first.pusher.push({ desc, open, signal: never }), "pushed");
  assert.equal(await first.pusher.push({ desc, open, signal: never }), "exists");
  const second = await registry.session(`${server.host}/b/two:x`);
  assert.equal(
    await second.pusher.push({ desc, open, mountFrom: ["no/such", "a/one"], signal: never }),
    "mounted",
  );
});

test("TLS with a private authority and a password, configured by hosts.toml alone", async () => {
  await using server = await startRegistry({ tls: true, auth: true });
  const dir = await mkdtemp(join(tmpdir(), "gantry-certs-"));
  try {
    const folder = join(dir, server.host);
    await mkdir(folder);
    await copyFile(server.ca ?? "", join(folder, "ca.crt"));
    const base = `server = "https://${server.host}"\nca = "ca.crt"\n`;
    await writeFile(
      join(folder, "hosts.toml"),
      `${base}[auth]\nusername = "${USER.name}"\npassword = "${USER.password}"\n`,
    );
    await using registry = new Registry({ dockerConfig: false, hosts: { configPaths: [dir] } });
    await roundTrip(await registry.session(`${server.host}/team/app:v1`));
    await writeFile(join(folder, "hosts.toml"), base);
    // Read anew for each session: no restart.
    const anonymous = await registry.session(`${server.host}/team/app:v1`);
    await assert.rejects(anonymous.resolve(never), (err) => codeOf(err) === "unauthenticated");
  } finally {
    await rm(dir, { recursive: true });
  }
});

test("TLS by docker's certificate folder, and the hint without it", async () => {
  await using server = await startRegistry({ tls: true, auth: true });
  const dir = await mkdtemp(join(tmpdir(), "gantry-certs-"));
  const credentials = fixedSource({ kind: "basic", username: USER.name, password: USER.password });
  try {
    await mkdir(join(dir, server.host));
    await copyFile(server.ca ?? "", join(dir, server.host, "ca.crt"));
    await using registry = new Registry({ dockerConfig: false, credentials, hosts: { configPaths: [dir] } });
    await roundTrip(await registry.session(`${server.host}/team/app:v1`));
    await using strict = new Registry({
      dockerConfig: false,
      credentials,
      hosts: { defaultScheme: "https", defaultTls: {} },
    });
    await assert.rejects((await strict.session(`${server.host}/team/app:v1`)).resolve(never), (err) => {
      assert.equal(codeOf(err), "failed-precondition");
      assert.match(String(err instanceof Error && "hint" in err ? err.hint : ""), /authority/);
      return true;
    });
  } finally {
    await rm(dir, { recursive: true });
  }
});

// Version 2.8 keeps no part of a broken request: the upload begins anew. Registries that do are in pusher.test.ts.
test("an upload whose connection breaks is brought to its end", async () => {
  await using server = await startRegistry();
  const port = Number(server.host.split(":")[1]);
  // Breaks connections after so many bytes towards the registry.
  const cuts = [600_000, 900_000];
  const sockets = new Set<Socket>();
  const sent: string[] = [];
  const relay = createServer((client) => {
    const upstream = connect(port, "127.0.0.1");
    for (const s of [client, upstream]) {
      sockets.add(s);
      s.on("error", () => {});
      s.on("close", () => {
        client.destroy();
        upstream.destroy();
      });
    }
    let left = Number.POSITIVE_INFINITY;
    client.on("data", (data: Buffer) => {
      const line = /^(PUT|PATCH) .*\r\n/.exec(data.toString("latin1"));
      if (line !== null) {
        sent.push(line[1] ?? "");
        left = cuts.shift() ?? Number.POSITIVE_INFINITY;
      }
      left -= data.length;
      upstream.write(data);
      // What was passed on arrives before the end.
      if (left < 0) upstream.end(() => client.destroy());
    });
    upstream.pipe(client);
  });
  await new Promise<void>((resolve) => relay.listen(0, "127.0.0.1", resolve));
  try {
    const { port: at } = relay.address() as AddressInfo;
    await using registry = new Registry({ dockerConfig: false, limits: { initialDelayMs: 1 } });
    const session = await registry.session(`127.0.0.1:${at}/team/app:v1`);
    const bytes = randomBytes(3_000_000);
    const desc = describe(DOCKER_LAYER, bytes);
    const outcome = await session.pusher.push({
      desc,
      async *open(offset) {
        for (let from = Number(offset); from < bytes.length; from += 65536) {
          yield bytes.subarray(from, from + 65536);
        }
      },
      signal: never,
    });
    assert.equal(outcome, "pushed");
    assert.equal(sent[0], "PUT");
    assert.equal(cuts.length, 0);
    const got: Uint8Array[] = [];
    for await (const part of session.fetcher.stream(desc, 0n, never)) got.push(Uint8Array.from(part));
    assert.ok(Buffer.concat(got).equals(bytes));
  } finally {
    for (const s of sockets) s.destroy();
    relay.close();
  }
});
