import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeRegistry } from "../../test/fakes/registry.ts";
import { codeOf } from "../core/errors.ts";
import { parseChallenges } from "./auth.ts";
import { fixedSource } from "./credentials.ts";
import { Registry } from "./registry.ts";
import type { Credentials } from "./types.ts";

const never = new AbortController().signal;
const ALICE: Credentials = { kind: "basic", username: "alice", password: "s3cret" };

async function resolve(fake: FakeRegistry, credentials?: Credentials): Promise<unknown> {
  await using registry = new Registry({
    dockerConfig: false,
    limits: { initialDelayMs: 1 },
    ...(credentials === undefined ? {} : { credentials: fixedSource(credentials) }),
  });
  return await (await registry.session(`${fake.host}/team/app:v1`)).resolve(never);
}

test("challenges are parsed, several in one value too", () => {
  const [bearer, basic] = parseChallenges([
    'Bearer realm="https://t/x",service="a b",scope="repository:x:pull,push", Basic realm="y"',
  ]);
  assert.equal(bearer?.scheme, "bearer");
  assert.equal(bearer?.params.get("scope"), "repository:x:pull,push");
  assert.equal(basic?.scheme, "basic");
  assert.deepEqual(parseChallenges(["", ",,,", '"']), []);
});

test("basic credentials are sent after the challenge only", async () => {
  await using fake = await FakeRegistry.start({
    auth: { kind: "basic", username: "alice", password: "s3cret" },
  });
  fake.addImage("team/app", "v1", [new Uint8Array(1024)]);
  await resolve(fake, ALICE);
  assert.equal(fake.seen.filter((s) => s.headers.authorization !== undefined).length, 1);
});

test("bearer: a token for the scope is fetched, cached and renewed after a refusal", async () => {
  await using fake = await FakeRegistry.start({
    auth: { kind: "bearer", username: "alice", password: "s3cret" },
  });
  fake.addImage("team/app", "v1", [new Uint8Array(1024)]);
  await using registry = new Registry({ dockerConfig: false, credentials: fixedSource(ALICE) });
  const session = await registry.session(`${fake.host}/team/app:v1`);
  await session.resolve(never);
  await session.resolve(never);
  assert.equal(fake.requests("GET /token").length, 1);
  assert.match(fake.requests("GET /token")[0]?.url ?? "", /scope=repository%3Ateam%2Fapp%3Apull/);
  fake.tokens.clear();
  await session.resolve(never);
  assert.equal(fake.requests("GET /token").length, 2);
});

test("bearer: a refresh token is exchanged by POST", async () => {
  const auth = { kind: "bearer", username: "alice", password: "x", refreshToken: "idtok" } as const;
  await using fake = await FakeRegistry.start({ auth });
  fake.addImage("team/app", "v1", [new Uint8Array(1024)]);
  await resolve(fake, { kind: "refresh", token: "idtok" });
  assert.equal(fake.requests("POST /token").length, 1);
});

test("a registry token is sent as it is", async () => {
  await using fake = await FakeRegistry.start({ auth: { kind: "bearer", username: "alice", password: "x" } });
  fake.addImage("team/app", "v1", [new Uint8Array(1024)]);
  fake.tokens.add("ready-made");
  await resolve(fake, { kind: "bearer", token: "ready-made" });
  assert.equal(fake.requests("/token").length, 0);
});

test("wrong credentials: unauthenticated, and the secret is in no message", async () => {
  for (const kind of ["basic", "bearer"] as const) {
    await using fake = await FakeRegistry.start({ auth: { kind, username: "alice", password: "right" } });
    fake.addImage("team/app", "v1", [new Uint8Array(1024)]);
    await assert.rejects(resolve(fake, ALICE), (err: Error) => {
      assert.equal(codeOf(err), "unauthenticated");
      assert.ok(
        !err.message.includes("s3cret") &&
          !err.message.includes(Buffer.from("alice:s3cret").toString("base64")),
      );
      return true;
    });
    assert.ok(fake.seen.length < 8, "no endless loop");
  }
});

test("S14, S15: no credentials to another origin by redirect, not even on the way back", async () => {
  await using sink = await FakeRegistry.start();
  const auth = { kind: "basic", username: "alice", password: "s3cret" } as const;
  await using fake = await FakeRegistry.start({ auth });
  const { digest } = fake.addImage("team/app", "v1", [new Uint8Array(1024)]);
  sink.addImage("team/app", "v1", [new Uint8Array(1024)]);
  await using registry = new Registry({
    dockerConfig: false,
    credentials: fixedSource(ALICE),
    hosts: { headers: new Map([["x-secret", ["token"]]]) },
  });
  const session = await registry.session(`${fake.host}/team/app:v1`);
  const desc = await session.resolve(never);
  assert.equal(desc.digest, digest);
  for (const status of [301, 302, 307, 308]) {
    fake.fail({
      match: "GET /v2/team/app/manifests",
      status,
      headers: { location: `${sink.url}/v2/team/app/manifests/v1` },
    });
    await session.fetcher.read(desc, 1 << 20, never);
  }
  assert.equal(sink.seen.length, 4);
  for (const { headers } of sink.seen) {
    assert.equal(headers.authorization, undefined);
    assert.equal(headers["x-secret"], undefined);
  }
});

test("S14: a 401 of a redirect's target gets no credentials", async () => {
  const auth = { kind: "basic", username: "alice", password: "s3cret" } as const;
  await using sink = await FakeRegistry.start({ auth });
  await using fake = await FakeRegistry.start({ auth });
  fake.addImage("team/app", "v1", [new Uint8Array(1024)]);
  await using registry = new Registry({ dockerConfig: false, credentials: fixedSource(ALICE) });
  const session = await registry.session(`${fake.host}/team/app:v1`);
  const desc = await session.resolve(never);
  fake.fail({ match: "GET /v2/team/app/", status: 307, headers: { location: `${sink.url}/v2/x` }, times: 9 });
  await assert.rejects(session.fetcher.read(desc, 1 << 20, never));
  assert.ok(sink.seen.every((s) => s.headers.authorization === undefined));
});

test("a token server on plain http is refused for an https registry", async () => {
  const { Authorizer } = await import("./auth.ts");
  const auth = new Authorizer(fixedSource(ALICE), "x", () => Promise.reject(new Error("must not be asked")));
  const host = {
    scheme: "https",
    host: "r.test",
    path: "/v2",
    capabilities: new Set(["pull"] as const),
    headers: new Map(),
    tls: {},
    mirror: false,
    guessScheme: false,
  } as const;
  const response = {
    status: 401,
    url: new URL("https://r.test/v2/"),
    header: () => undefined,
    headerNames: () => [],
    headerValues: () => ['Bearer realm="http://t.test/token"'],
    body: (async function* () {})(),
    drop() {},
  };
  assert.equal(await auth.challenged(host, response, "s", undefined, never), true);
  await assert.rejects(auth.authorization(host, "s", never), /not https/);
});
