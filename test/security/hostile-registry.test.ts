/**
 * Registries that are out to hold a pull up, fill its memory or crash it (S11, S12, S14, S38, R19, R21): answers that no HTTP library
 * would send, from a socket. Each pull must end, in an error that says what was wrong, with bounded traffic; after all of them the
 * same client pulls from an honest one.
 */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { describe, test } from "node:test";
import { gzipSync } from "node:zlib";
import { TarWriter } from "../../scripts/lib/tar-writer.ts";
import { codeOf, messageOf } from "../../src/core/errors.ts";
import { pull } from "../../src/plugins/transfer/pull.ts";
import { registrySource } from "../../src/plugins/transfer/registry-source.ts";
import { fixedSource } from "../../src/registry/credentials.ts";
import { Registry } from "../../src/registry/registry.ts";
import { inNs } from "../contract/harness.ts";
import { HANG, type RawAnswer, RawRegistry, type RawRequest, reply } from "../fakes/raw-registry.ts";
import { type PullEngine, pullEngine } from "../faults/pull-rig.ts";
import { isDefect } from "./fuzz/calls.ts";

const MANIFEST = "application/vnd.oci.image.manifest.v1+json";
const INDEX = "application/vnd.oci.image.index.v1+json";
const LAYER = "application/vnd.oci.image.layer.v1.tar";
const CONFIG = "application/vnd.oci.image.config.v1+json";
const MIB = 1 << 20;
const call = inNs("testing");
const digestOf = (bytes: Uint8Array | string): string =>
  `sha256:${createHash("sha256").update(bytes).digest("hex")}`;

/** An honest image. */
const layer = new TarWriter().file("f", Buffer.from("content"), 0o644).finish();
const config = Buffer.from(
  JSON.stringify({
    os: "linux",
    architecture: "amd64",
    config: {},
    rootfs: { type: "layers", diff_ids: [digestOf(layer)] },
  }),
);
const descriptor = (mediaType: string, bytes: Uint8Array, more: object = {}): object => ({
  mediaType,
  digest: digestOf(bytes),
  size: bytes.length,
  ...more,
});
const manifestOf = (layers: readonly object[]): Buffer =>
  Buffer.from(
    JSON.stringify({ schemaVersion: 2, mediaType: MANIFEST, config: descriptor(CONFIG, config), layers }),
  );
const manifest = manifestOf([descriptor(LAYER, layer)]);

/** The answers of an honest registry for a top manifest. */
function honest(top: Uint8Array = manifest, type = MANIFEST, more: readonly Uint8Array[] = []) {
  const blobs = new Map([layer, config, top, ...more].map((bytes) => [digestOf(bytes), bytes]));
  return ({ method, path }: RawRequest): RawAnswer => {
    const name = path.split("?")[0]?.split("/").at(-1) ?? "";
    const bytes = name === "v1" ? top : blobs.get(name);
    if (bytes === undefined) return reply(path === "/v2/" ? 200 : 404, {});
    const manifests = path.includes("/manifests/");
    const headers = {
      "docker-content-digest": digestOf(bytes),
      ...(manifests ? { "content-type": bytes === top ? type : INDEX } : {}),
    };
    if (method === "HEAD") return [reply(200, { ...headers, "content-length": bytes.length })[0] ?? ""];
    return reply(200, headers, bytes);
  };
}

const isGet = (request: RawRequest, part: string): boolean =>
  request.method === "GET" && request.path.includes(part);

/** An honest registry but for some requests. */
function but(
  wrong: (request: RawRequest) => RawAnswer | "honest",
  top?: Uint8Array,
  type?: string,
  more?: readonly Uint8Array[],
): (request: RawRequest) => RawAnswer {
  const right = honest(top, type, more);
  return (request) => {
    const answer = wrong(request);
    return answer === "honest" ? right(request) : answer;
  };
}

/** Answers to GETs of manifests; HEAD is not offered, so the first answer is read whole. */
const manifests = (answer: () => RawAnswer) =>
  but((r) => (r.method === "HEAD" ? reply(405, {}) : isGet(r, "/manifests/") ? answer() : "honest"));
/** Answers to GETs of the layer. */
const layers = (answer: (r: RawRequest) => RawAnswer) =>
  but((r) => (isGet(r, `/blobs/${digestOf(layer)}`) ? answer(r) : "honest"));

function* endless(first: string, part: string | Uint8Array): Generator<string | Uint8Array> {
  yield first;
  for (;;) yield part;
}
const OK = "HTTP/1.1 200 OK\r\n";
const JSON_TYPE = `content-type: ${MANIFEST}\r\n`;

interface Case {
  readonly title: string;
  readonly answer: (request: RawRequest) => RawAnswer;
  readonly says: RegExp;
}

const nest = (depth: number): Buffer => {
  let inner: Buffer = manifest;
  let type = MANIFEST;
  for (let i = 0; i < depth; i++) {
    inner = Buffer.from(
      JSON.stringify({ schemaVersion: 2, mediaType: INDEX, manifests: [descriptor(type, inner)] }),
    );
    type = INDEX;
    nested.push(inner);
  }
  return inner;
};
const nested: Buffer[] = [];
const tower = nest(12);
const liar = Buffer.from(
  JSON.stringify({
    schemaVersion: 2,
    mediaType: INDEX,
    manifests: [{ mediaType: INDEX, digest: digestOf("x"), size: 5000 }],
  }),
);
const deep = Buffer.from(`{"schemaVersion":2,"config":${"[".repeat(500_000)}${"]".repeat(500_000)}}`);
/** A gzip member of 64 MiB; one behind the other they never end. */
const zeros = gzipSync(Buffer.alloc(64 * MIB));

const CASES: readonly Case[] = [
  {
    title: "a manifest without an end",
    answer: manifests(() => endless(`${OK}${JSON_TYPE}\r\n`, "[".repeat(65_536))),
    says: /larger than/,
  },
  {
    title: "a manifest that stops in the middle",
    answer: manifests(() => [`${OK}${JSON_TYPE}content-length: 1000\r\n\r\n{"a":`, HANG]),
    says: /stalled/,
  },
  {
    title: "a manifest of 100 MB, announced",
    answer: but((r) =>
      r.method === "HEAD"
        ? [
            `${OK}${JSON_TYPE}docker-content-digest: ${digestOf(manifest)}\r\ncontent-length: 104857600\r\n\r\n`,
          ]
        : "honest",
    ),
    says: /larger than/,
  },
  { title: "a manifest nested a million deep", answer: honest(deep), says: /manifest|JSON/ },
  { title: "indexes in indexes", answer: honest(tower, INDEX, nested), says: /nested deeper/ },
  {
    title: "an index that holds what is not there",
    answer: but(
      (r) => (isGet(r, digestOf("x")) ? reply(200, { "content-type": INDEX }, liar) : "honest"),
      liar,
      INDEX,
    ),
    says: /digest|more than|connection closed/,
  },
  {
    title: "an index for a manifest",
    answer: honest(manifest, INDEX),
    says: /mediaType|media type|index|manifest/,
  },
  {
    title: "a layer list of nothing",
    answer: honest(
      Buffer.from(`{"schemaVersion":2,"mediaType":"${MANIFEST}","config":null,"layers":[null]}`),
    ),
    says: /manifest/,
  },
  {
    title: "sizes that are no sizes",
    answer: honest(manifestOf([{ mediaType: LAYER, digest: digestOf(layer), size: -1 }])),
    says: /size|manifest/,
  },
  {
    title: "a layer larger than any disk, in truth small",
    answer: honest(manifestOf([{ mediaType: LAYER, digest: digestOf(layer), size: 9_000_000_000_000_000 }])),
    says: /./,
  },
  {
    title: "a digest that is a path",
    answer: honest(manifestOf([{ mediaType: LAYER, digest: `sha256:../../${"0".repeat(58)}`, size: 1 }])),
    says: /digest|manifest/,
  },
  {
    title: "a digest header that is a path",
    answer: but((r) =>
      r.method === "HEAD"
        ? reply(200, {
            "content-type": MANIFEST,
            "docker-content-digest": "sha256:../../../etc/passwd",
            "content-length": 10,
          })
        : "honest",
    ),
    says: /digest/,
  },
  {
    title: "informational answers for ever",
    answer: layers(() => endless("", "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(100))),
    says: /no answer in time|header|Upgrade|response|informational/i,
  },
  {
    title: "an informational answer, then nothing",
    answer: layers(() => ["HTTP/1.1 103 Early Hints\r\n\r\n", HANG]),
    says: /no answer in time/,
  },
  { title: "no answer at all", answer: layers(() => [HANG]), says: /no answer in time/ },
  {
    title: "a header without an end",
    answer: layers(() => endless(OK, `x-a: ${"y".repeat(1000)}\r\n`)),
    says: /header/i,
  },
  { title: "no HTTP", answer: layers(() => [Buffer.alloc(5000, 0xff)]), says: /./ },
  {
    title: "two lengths",
    answer: layers(() => [`${OK}content-length: 5\r\ncontent-length: 7000\r\n\r\nxxxxx`]),
    says: /./,
  },
  { title: "a length below zero", answer: layers(() => [`${OK}content-length: -5\r\n\r\nxxxxx`]), says: /./ },
  {
    title: "a chunk of 2^64 bytes",
    answer: layers(() => [`${OK}transfer-encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\n`, "x"]),
    says: /./,
  },
  {
    title: "a chunk extension without an end",
    answer: layers(async function* flood() {
      yield `${OK}transfer-encoding: chunked\r\n\r\n5;`;
      for (;;) {
        yield "a".repeat(65_536);
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    }),
    says: /stalled/,
  },
  {
    title: "trailers without an end",
    answer: layers(() =>
      endless(`${OK}transfer-encoding: chunked\r\n\r\n0\r\n`, `x-t: ${"y".repeat(60_000)}\r\n`),
    ),
    says: /./,
  },
  {
    title: "a layer without an end",
    answer: layers(() => endless(`${OK}\r\n`, Buffer.alloc(65_536))),
    says: /more than/,
  },
  {
    title: "a gzip bomb as transfer coding",
    answer: layers(() => endless(`${OK}content-encoding: gzip\r\n\r\n`, zeros)),
    says: /more than/,
  },
  {
    title: "a transfer coding nobody knows",
    answer: layers(() => reply(200, { "content-encoding": "x".repeat(5000) }, layer)),
    says: /unknown content encoding/,
  },
  {
    title: "a layer by drops",
    answer: layers(async function* drip() {
      yield `${OK}content-length: ${layer.length}\r\n\r\n`;
      for (;;) {
        yield "x";
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    }),
    says: /stalled/,
  },
  ...["bytes 5-9/10", "bytes 0-3/2", "bytes */10", "x", "bytes 99999999999999999999-1/1"].map((range) => ({
    title: `the range ${range}`,
    answer: layers(() => reply(206, { "content-range": range }, "xxxxx")),
    says: /./,
  })),
  ...[
    "/v2/team/app/blobs/again",
    "file:///etc/passwd",
    "http://[::1",
    "ftp://x/",
    "//",
    "http://user:secret@127.0.0.1:1/x",
    "x".repeat(10_000),
  ].map((location) => ({
    title: `a redirect to ${location.slice(0, 40)}`,
    answer: but((r) =>
      isGet(r, "/blobs/")
        ? reply(307, { location: location === "/v2/team/app/blobs/again" ? r.path : location })
        : "honest",
    ),
    says: /^(?!.*secret)/,
  })),
  {
    title: "an error without an end",
    answer: layers(() => endless(`HTTP/1.1 404 X\r\n\r\n`, "{".repeat(65_536))),
    says: /404/,
  },
  {
    title: "a hundred thousand errors",
    answer: layers(() => reply(403, {}, `{"errors":[${'{"code":"A","message":"b"},'.repeat(100_000)}{}]}`)),
    says: /403/,
  },
  ...["999999999", "Fri, 31 Dec 9999 23:59:59 GMT"].map((after_) => ({
    title: `wait until ${after_}`,
    answer: layers(() => reply(429, { "retry-after": after_ })),
    says: /asked to wait/,
  })),
  ...[
    "Bearer",
    'Bearer realm=""',
    'Bearer realm="javascript:alert(1)"',
    'Bearer realm="http://[::1"',
    "Basic",
    "Digest realm=x",
    'Bearer realm="http://HOST/token",service="',
    "=====",
    ", , ,",
    '"'.repeat(8000),
    "Bearer ".repeat(1500),
    "Bearer realm=http://HOST/loop",
  ].map((challenge) => ({
    title: `the challenge ${challenge.slice(0, 50)}`,
    answer: (r: RawRequest) =>
      r.path.startsWith("/loop")
        ? reply(302, { location: "/loop" })
        : r.path.startsWith("/token")
          ? reply(401, {
              "www-authenticate": "Bearer realm=http://HOST/token".replace(
                "HOST",
                r.headers.get("host") ?? "",
              ),
            })
          : reply(401, { "www-authenticate": challenge.replace("HOST", r.headers.get("host") ?? "") }),
    says: /./,
  })),
  ...(
    [
      ["no JSON", () => reply(200, {}, "<html>")],
      ["a list", () => reply(200, {}, "[]")],
      ["null", () => reply(200, {}, "null")],
      ["a number", () => reply(200, {}, '{"token":5}')],
      ["a line's end", () => reply(200, {}, '{"token":"a\\r\\nx: y"}')],
      ["nested a million deep", () => reply(200, {}, "[".repeat(900_000))],
      ["ending at once", () => reply(200, {}, '{"token":"t","expires_in":-5}')],
      ["never ending", () => reply(200, {}, '{"token":"t","expires_in":1e308}')],
      ["without an end", () => endless(`${OK}\r\n`, '{"token":"'.repeat(10_000))],
      ["that stops in the middle", () => [`${OK}content-length: 100\r\n\r\n{"tok`, HANG]],
    ] as const
  ).map(([what, token]) => ({
    title: `a token: ${what}`,
    answer: (r: RawRequest): RawAnswer =>
      r.path.startsWith("/token")
        ? token()
        : reply(401, {
            "www-authenticate": `Bearer realm="http://${r.headers.get("host")}/token",service=s`,
          }),
    says: /./,
  })),
];

async function attempt(engine: PullEngine, fake: RawRegistry, hasty: boolean): Promise<void> {
  const registry = new Registry({
    dockerConfig: false,
    credentials: fixedSource({ kind: "basic", username: "tester", password: "s3cret" }),
    ...(hasty
      ? {
          transport: { headersTimeoutMs: 120 },
          limits: { initialDelayMs: 1, barrenTries: 2, stall: { windowMs: 120, floorBytes: 64 } },
        }
      : {}),
  });
  try {
    const name = `${fake.host}/team/app:v1`;
    const source = registrySource(await registry.session(name));
    await pull(engine.ctx, call, { name, source, unpack: [] });
  } finally {
    await registry.close();
  }
}

describe("hostile registries", () => {
  for (const { title, answer, says } of CASES)
    test(title, { timeout: 60_000 }, async () => {
      await using engine = await pullEngine();
      await using fake = await RawRegistry.start();
      fake.answer = answer;
      const err: unknown = await attempt(engine, fake, true).then(
        () => undefined,
        (why: unknown) => why,
      );
      assert.ok(err !== undefined, "the pull succeeded");
      const message = messageOf(err);
      assert.match(message, says);
      assert.ok(message.length < 20_000, `an error of ${message.length} characters`);
      assert.ok(!isDefect({ method: "pull", code: codeOf(err), message, ms: 0 }), message);
      assert.doesNotMatch(message, /s3cret/);
      assert.ok(fake.sent < 100 * MIB, `${fake.sent} bytes were taken`);
      assert.ok(fake.seen.length < 100, `${fake.seen.length} requests`);
      // nothing of it stands in the way of an honest one
      fake.answer = honest();
      await attempt(engine, fake, false);
    });

  test("as many layers as an image may have, and more", { timeout: 60_000 }, async () => {
    await using engine = await pullEngine();
    await using fake = await RawRegistry.start();
    const of = (count: number): Buffer =>
      manifestOf(Array.from({ length: count }, () => descriptor(LAYER, layer)));
    fake.answer = honest(of(20_000));
    await assert.rejects(attempt(engine, fake, false), /2048/);
    fake.answer = honest(of(2048));
    await attempt(engine, fake, false);
    assert.equal(fake.seen.filter((r) => r.path.includes("/blobs/")).length, 2);
  });
});
