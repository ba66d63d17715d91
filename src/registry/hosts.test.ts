import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { hostFolders, hostsFor, splitConfigPath } from "./hosts.ts";

async function withDir(work: (dir: string) => Promise<void>): Promise<void> {
  const dir = await mkdtemp(join(tmpdir(), "gantry-hosts-"));
  try {
    await work(dir);
  } finally {
    await rm(dir, { recursive: true });
  }
}

async function put(dir: string, host: string, text: string): Promise<void> {
  await mkdir(join(dir, host), { recursive: true });
  await writeFile(join(dir, host, "hosts.toml"), text);
}

const brief = (hosts: Awaited<ReturnType<typeof hostsFor>>): string[] =>
  hosts.map((h) => `${h.scheme}://${h.host}${h.path}${h.mirror ? " mirror" : ""}`);

test("without configuration: the registry itself, the default host at its API", async () => {
  assert.deepEqual(brief(await hostsFor("r.test:5000", {})), ["https://r.test:5000/v2"]);
  assert.deepEqual(brief(await hostsFor("docker.io", {})), ["https://registry-1.docker.io/v2"]);
  const [local] = await hostsFor("localhost:5000", {});
  assert.equal(local?.guessScheme, true);
  assert.deepEqual(brief(await hostsFor("r.test", { defaultScheme: "http" })), ["http://r.test/v2"]);
});

test("hosts.toml: order, capabilities, override_path, headers, TLS, server last", () =>
  withDir(async (dir) => {
    await mkdir(join(dir, "r.test"), { recursive: true });
    await writeFile(join(dir, "r.test", "ca.pem"), "CA");
    await writeFile(join(dir, "r.test", "c.cert"), "CERT");
    await writeFile(join(dir, "r.test", "c.key"), "KEY");
    await put(
      dir,
      "r.test",
      `server = "https://up.test"
[host."https://m1.test/api"]
  capabilities = ["pull", "resolve"]
  ca = "ca.pem"
  client = [["c.cert", "c.key"]]
  dial_timeout = "5s"
  [host."https://m1.test/api".header]
    X-One = ["a", "b"]
[host."http://m2.test/custom"]
  override_path = true
  skip_verify = true
[host."https://m3.test".auth]
  username = "u"
  password = "p"`,
    );
    const hosts = await hostsFor("r.test", { configPaths: [dir] });
    assert.deepEqual(brief(hosts), [
      "https://m1.test/api/v2 mirror",
      "http://m2.test/custom mirror",
      "https://m3.test/v2 mirror",
      "https://up.test/v2",
    ]);
    const [m1, m2, m3] = hosts;
    assert.equal(m1?.capabilities.has("push"), false);
    assert.deepEqual(m1?.tls, {
      skipVerify: false,
      ca: ["CA"],
      client: [{ cert: "CERT", key: "KEY" }],
      dialTimeoutMs: 5000,
    });
    assert.deepEqual(m1?.headers.get("x-one"), ["a", "b"]);
    assert.equal(m2?.tls.skipVerify, true);
    const from = join(dir, "r.test", "hosts.toml");
    assert.deepEqual(m3?.credentials, { kind: "basic", username: "u", password: "p", from });
  }));

test("several folders, host_port_ and _default, read anew each time", () =>
  withDir(async (dir) => {
    const paths = splitConfigPath(`${dir}/a:${dir}/b`);
    await put(join(dir, "b"), "r.test_5000_", 'server = "https://s1.test"');
    assert.deepEqual(brief(await hostsFor("r.test:5000", { configPaths: paths })), ["https://s1.test/v2"]);
    await put(join(dir, "a"), "_default", '[host."https://d.test"]');
    assert.deepEqual(brief(await hostsFor("other.test", { configPaths: paths })), [
      "https://d.test/v2 mirror",
      "https://other.test/v2",
    ]);
    assert.deepEqual(hostFolders("h:1"), ["h_1_", "h:1", "_default"]);
  }));

test("docker certificate folders, and a missing key", () =>
  withDir(async (dir) => {
    await mkdir(join(dir, "r.test"));
    await writeFile(join(dir, "r.test", "a.crt"), "CA");
    await writeFile(join(dir, "r.test", "x.cert"), "CERT");
    await assert.rejects(hostsFor("r.test", { configPaths: [dir] }), /missing key "x.key"/);
    await writeFile(join(dir, "r.test", "x.key"), "KEY");
    const [host] = await hostsFor("r.test", { configPaths: [dir] });
    assert.deepEqual(host?.tls.ca, ["CA"]);
    assert.deepEqual(host?.tls.client, [{ cert: "CERT", key: "KEY" }]);
  }));

test("inline mirrors, wildcard, configs, environment mirrors", async () => {
  const config = {
    mirrors: new Map([
      ["*", ["https://any.test"]],
      ["r.test", ["http://m.test/v2"]],
    ]),
    configs: new Map([["m.test", { auth: { auth: Buffer.from("u:p").toString("base64") } }]]),
    defaultMirrors: ["https://hub-mirror.test"],
  };
  const hosts = await hostsFor("r.test", config);
  assert.deepEqual(brief(hosts), ["http://m.test/v2 mirror", "https://r.test/v2"]);
  assert.partialDeepStrictEqual(hosts[0]?.credentials, { kind: "basic", username: "u", password: "p" });
  assert.deepEqual(brief(await hostsFor("docker.io", config)), [
    "https://any.test/v2 mirror",
    "https://hub-mirror.test/v2 mirror",
    "https://registry-1.docker.io/v2",
  ]);
});

test("wrong files are errors that name file and key", () =>
  withDir(async (dir) => {
    for (const [text, want] of [
      ["server = 1", /hosts.toml".*server/],
      ['capabilities = ["steal"]', /steal/],
      ['ca = "missing.pem"', /missing.pem/],
      ["[host", /hosts.toml/],
    ] as const) {
      await put(dir, "r.test", text);
      await assert.rejects(hostsFor("r.test", { configPaths: [dir] }), want);
    }
  }));
