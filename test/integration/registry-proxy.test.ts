/**
 * Registries behind proxies and behind client certificates: a real proxy (CONNECT and absolute requests, with a password),
 * real TLS. No name of a registry here can be resolved except by the proxy, so nothing goes round it unseen.
 */
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, request, type Server } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { FakeRegistry } from "../fakes/registry.ts";
import { type Said, startDaemon } from "../peers/peer.ts";
import { BUN, MAIN } from "./program.ts";

/** A proxy that leads every name to one port of this machine. */
class TestProxy implements AsyncDisposable {
  /** `CONNECT host:port` and `GET http://...` lines. */
  readonly seen: string[] = [];
  /** Proxy-Authorization values. */
  readonly auth: (string | undefined)[] = [];
  /** Bytes after which a tunnel breaks, for the next tunnels. */
  readonly cuts: number[] = [];
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  constructor(port: number, password?: string) {
    const allowed = (value: string | undefined): boolean =>
      password === undefined || value === `Basic ${Buffer.from(`me:${password}`).toString("base64")}`;
    this.#server = createServer((req, res) => {
      this.seen.push(`${req.method} ${req.url}`);
      this.auth.push(req.headers["proxy-authorization"]);
      if (!allowed(req.headers["proxy-authorization"])) return void res.writeHead(407).end();
      const { "proxy-authorization": _secret, ...headers } = req.headers;
      const url = new URL(req.url ?? "");
      const onward = request(
        { host: "127.0.0.1", port, method: req.method, path: url.pathname + url.search, headers },
        (answer) => {
          res.writeHead(answer.statusCode ?? 502, answer.headers);
          answer.pipe(res);
        },
      );
      onward.on("error", () => res.destroy());
      req.pipe(onward);
    });
    this.#server.on("connect", (req, client: Socket, head: Buffer) => {
      this.seen.push(`CONNECT ${req.url}`);
      this.auth.push(req.headers["proxy-authorization"]);
      if (!allowed(req.headers["proxy-authorization"]))
        return void client.end("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n");
      const upstream = connect(port, "127.0.0.1", () => {
        client.write("HTTP/1.1 200 Connection established\r\n\r\n");
        upstream.write(head);
        client.pipe(upstream);
        upstream.pipe(client);
      });
      let left = this.cuts.shift() ?? Number.POSITIVE_INFINITY;
      upstream.on("data", (data: Buffer) => {
        left -= data.length;
        if (left < 0) client.destroy();
      });
      for (const s of [client, upstream]) {
        this.#sockets.add(s);
        s.on("error", () => {});
        s.on("close", () => {
          client.destroy();
          upstream.destroy();
        });
      }
    });
  }

  async listen(): Promise<this> {
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    return this;
  }

  url(userinfo = ""): string {
    return `http://${userinfo}127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const s of this.#sockets) s.destroy();
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }
}

const dir = mkdtempSync(join(tmpdir(), "gantry-proxy-"));
const pem = (name: string): string => readFileSync(join(dir, name), "utf8");
const HOST = "registry.test:5443";

function certificates(): void {
  const ssl = (...args: string[]): void => {
    execFileSync("openssl", args, { cwd: dir, stdio: ["ignore", "ignore", "pipe"] });
  };
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
  for (const ca of ["ca", "other"])
    ssl(
      "req",
      "-x509",
      ...key,
      "-keyout",
      `${ca}.key`,
      "-out",
      `${ca}.pem`,
      "-days",
      "30",
      "-subj",
      `/CN=${ca}`,
    );
  writeFileSync(join(dir, "ext"), "subjectAltName=DNS:registry.test,DNS:localhost\n");
  for (const [name, ca] of [
    ["server", "ca"],
    ["client", "ca"],
    ["stranger", "other"],
  ] as const) {
    ssl("req", ...key, "-keyout", `${name}.key`, "-out", `${name}.csr`, "-subj", `/CN=${name}`);
    const by = [
      "-CA",
      `${ca}.pem`,
      "-CAkey",
      `${ca}.key`,
      "-CAcreateserial",
      "-days",
      "30",
      "-extfile",
      "ext",
    ];
    ssl("x509", "-req", "-in", `${name}.csr`, "-out", `${name}.pem`, ...by);
  }
}

function ctr(args: readonly string[], env: Readonly<Record<string, string>>): Promise<Said> {
  return new Promise((resolve, reject) => {
    const clean = Object.fromEntries(Object.entries(process.env).filter(([k]) => !/_proxy$/i.test(k)));
    const child = spawn(BUN, [MAIN, "ctr", ...args], { env: { ...clean, DOCKER_CONFIG: dir, ...env } });
    let [out, err] = ["", ""];
    child.stdout.on("data", (d) => (out += String(d)));
    child.stderr.on("data", (d) => (err += String(d)));
    child.on("error", reject);
    child.on("close", (code) => resolve({ code: code ?? 128, out, err }));
  });
}

/** Content of a manifest fetched by name, through whatever the environment says. */
const fetchManifest = (
  ref: string,
  env: Readonly<Record<string, string>>,
  ...flags: string[]
): Promise<Said> => ctr(["content", "fetch-object", ...flags, ref], env);

describe("proxies and client certificates", () => {
  before(certificates);
  after(() => rmSync(dir, { recursive: true, force: true }));

  test("HTTPS_PROXY: CONNECT, with a password; NO_PROXY goes round; the proxy's refusal is told without the password", async () => {
    await using fake = await FakeRegistry.start({ tls: { cert: pem("server.pem"), key: pem("server.key") } });
    fake.addImage("team/app", "v1", [new Uint8Array(1024)]);
    await using proxy = await new TestProxy(Number(fake.host.split(":")[1]), "pa55").listen();
    const ref = `${HOST}/team/app:v1`;
    const tls = ["--tlscacert", join(dir, "ca.pem")];
    const said = await fetchManifest(ref, { HTTPS_PROXY: proxy.url("me:pa55@") }, ...tls);
    assert.equal(said.code, 0, said.err);
    assert.match(said.out, /"schemaVersion":2/);
    assert.deepEqual([...new Set(proxy.seen)], [`CONNECT ${HOST}`]);
    // Nothing of the proxy's password reaches the registry.
    assert.ok(fake.seen.every((s) => s.headers["proxy-authorization"] === undefined));
    const lower = await fetchManifest(ref, { https_proxy: proxy.url("me:pa55@") }, ...tls);
    assert.equal(lower.code, 0, lower.err);
    const refused = await fetchManifest(ref, { HTTPS_PROXY: proxy.url("me:wr0ng@") }, ...tls);
    assert.equal(refused.code, 1);
    assert.match(refused.err, /407/);
    assert.ok(!refused.err.includes("wr0ng"));
    const count = proxy.seen.length;
    for (const rule of ["registry.test", ".test", "registry.test:5443", "*"]) {
      const round = await fetchManifest(
        ref,
        { HTTPS_PROXY: proxy.url("me:pa55@"), NO_PROXY: `x,${rule}` },
        ...tls,
      );
      assert.equal(round.code, 1, "the name cannot be resolved here");
      assert.match(round.err, /no such host|name lookup failed/);
    }
    assert.equal(proxy.seen.length, count);
    const other = { HTTPS_PROXY: proxy.url("me:pa55@"), NO_PROXY: "registry.test:5000,y.test" };
    assert.equal((await fetchManifest(ref, other, ...tls)).code, 0);
  });

  test("HTTP_PROXY: plain registries by absolute requests; a proxy that is not there is named", async () => {
    await using fake = await FakeRegistry.start();
    fake.addImage("team/app", "v1", [new Uint8Array(1024)]);
    await using proxy = await new TestProxy(Number(fake.host.split(":")[1])).listen();
    const ref = "plain.test:5000/team/app:v1";
    const said = await fetchManifest(ref, { HTTP_PROXY: proxy.url() }, "--plain-http");
    assert.equal(said.code, 0, said.err);
    assert.match(proxy.seen[0] ?? "", /^(GET|HEAD) http:\/\/plain\.test:5000\/v2\//);
    assert.match(fake.seen[0]?.headers.host ?? "", /^plain\.test:5000$/);
    const gone = await fetchManifest(ref, { HTTP_PROXY: "http://127.0.0.1:9" }, "--plain-http");
    assert.equal(gone.code, 1);
    assert.match(gone.err, /connection refused/);
  });

  test("a registry that wants a client certificate: by flags, by hosts.toml, through a proxy too", async () => {
    const tls = { cert: pem("server.pem"), key: pem("server.key"), ca: pem("ca.pem") };
    await using fake = await FakeRegistry.start({ tls });
    fake.addImage("team/app", "v1", [new Uint8Array(1024)]);
    await using proxy = await new TestProxy(Number(fake.host.split(":")[1])).listen();
    const env = { HTTPS_PROXY: proxy.url() };
    const ref = `${HOST}/team/app:v1`;
    const ca = ["--tlscacert", join(dir, "ca.pem")];
    const cert = (name: string): string[] => [
      ...ca,
      "--tlscert",
      join(dir, `${name}.pem`),
      "--tlskey",
      join(dir, `${name}.key`),
    ];
    const right = await fetchManifest(ref, env, ...cert("client"));
    assert.equal(right.code, 0, right.err);
    for (const flags of [ca, cert("stranger")]) {
      const refused = await fetchManifest(ref, env, ...flags);
      assert.equal(refused.code, 1, refused.out);
    }
    const hosts = join(dir, "certs.d", HOST);
    mkdirSync(hosts, { recursive: true });
    const toml = `server = "https://${HOST}"\nca = "${dir}/ca.pem"\nclient = [["${dir}/client.pem", "${dir}/client.key"]]\n`;
    writeFileSync(join(hosts, "hosts.toml"), toml);
    const by = ["--hosts-dir", join(dir, "certs.d")];
    const said = await fetchManifest(ref, env, ...by);
    assert.equal(said.code, 0, said.err);
    const check = await ctr(["registry", "check", ...by, ref], env);
    assert.equal(check.code, 0, check.out);
    assert.match(check.out, /and 1 of its own, with a client certificate/);
    // Straight on, without a proxy.
    const direct = join(dir, "certs.d", fake.host);
    mkdirSync(direct, { recursive: true });
    writeFileSync(join(direct, "hosts.toml"), toml.replaceAll(HOST, `localhost:${fake.host.split(":")[1]}`));
    const local = await fetchManifest(`${fake.host}/team/app:v1`, {}, ...by);
    assert.equal(local.code, 0, local.err);
  });

  test("the daemon's own pulls go through the proxy of its environment, and survive tunnels that break", {
    skip: process.getuid?.() !== 0,
  }, async () => {
    await using fake = await FakeRegistry.start({ tls: { cert: pem("server.pem"), key: pem("server.key") } });
    const blob = new Uint8Array(2_000_000).fill(7);
    fake.addImage("team/app", "v1", [blob]);
    await using proxy = await new TestProxy(Number(fake.host.split(":")[1])).listen();
    proxy.cuts.push(600_000, 600_000, 600_000);
    const hosts = join(dir, "daemon.d", HOST);
    mkdirSync(hosts, { recursive: true });
    writeFileSync(join(hosts, "hosts.toml"), `server = "https://${HOST}"\nca = "${dir}/ca.pem"\n`);
    const config = `[plugins."io.containerd.transfer.v1.local"]\n  config_path = "${dir}/daemon.d"\n`;
    const daemon = await startDaemon({
      command: [BUN, MAIN, "daemon"],
      config,
      env: { HTTPS_PROXY: proxy.url() },
    });
    try {
      const ref = `${HOST}/team/app:v1`;
      const said = await ctr(
        ["-a", daemon.address, "content", "fetch", "--hosts-dir", `${dir}/daemon.d`, ref],
        {
          HTTPS_PROXY: proxy.url(),
        },
      );
      assert.equal(said.code, 0, said.err);
      assert.ok(proxy.seen.length >= 2, "broken tunnels are opened again");
      const before = proxy.seen.length;
      // The client has no proxy: the daemon asks.
      const checked = await ctr(["-a", daemon.address, "images", "pull", ref], {});
      assert.match(checked.err, /unpack|tar|layer/i);
      assert.ok(proxy.seen.length > before);
    } finally {
      await daemon.stop();
    }
  });
});
