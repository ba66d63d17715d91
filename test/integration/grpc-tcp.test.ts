/** The API on TCP with TLS: clients need a certificate of the CA, and the name in it. */
import assert from "node:assert/strict";
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { serverVersion } from "../../src/client/introspection.ts";
import { Call } from "../../src/core/call.ts";
import { createGrpcTransport } from "../../src/rpc/grpc/transport.ts";
import { until } from "./client.ts";
import { BUN, MAIN } from "./program.ts";

const dir = mkdtempSync(join(tmpdir(), "gantry-tcp-"));
const file = (name: string): string => join(dir, name);
const openssl = (...args: string[]): void => {
  execFileSync("openssl", args, { stdio: "ignore", cwd: dir });
};
/** A certificate of the test's CA. */
function certificate(name: string, subject: string): void {
  openssl(
    "req",
    "-newkey",
    "ec",
    "-pkeyopt",
    "ec_paramgen_curve:P-256",
    "-nodes",
    "-subj",
    `/CN=${subject}`,
    "-keyout",
    `${name}.key`,
    "-out",
    `${name}.csr`,
  );
  writeFileSync(file(`${name}.ext`), "subjectAltName=IP:127.0.0.1,DNS:localhost\n");
  openssl(
    "x509",
    "-req",
    "-in",
    `${name}.csr`,
    "-CA",
    "ca.crt",
    "-CAkey",
    "ca.key",
    "-CAcreateserial",
    "-days",
    "2",
    "-extfile",
    `${name}.ext`,
    "-out",
    `${name}.crt`,
  );
}

describe("gRPC over TCP", { skip: process.getuid?.() !== 0 }, () => {
  let child: ChildProcess;
  let port = 0;
  const log = (): string => readFileSync(file("log"), "utf8");
  const ask = async (cert: string | undefined): Promise<string> => {
    const own =
      cert === undefined
        ? {}
        : { cert: readFileSync(file(`${cert}.crt`), "utf8"), key: readFileSync(file(`${cert}.key`), "utf8") };
    const tls = { ca: readFileSync(file("ca.crt"), "utf8"), ...own };
    await using transport = createGrpcTransport(
      { host: "127.0.0.1", port, tls },
      { connectTimeoutMs: 5_000 },
    );
    return (await serverVersion(transport, new Call({}).within(5_000))).version;
  };

  before(async () => {
    openssl(
      "req",
      "-x509",
      "-newkey",
      "ec",
      "-pkeyopt",
      "ec_paramgen_curve:P-256",
      "-nodes",
      "-days",
      "2",
      "-subj",
      "/CN=test ca",
      "-keyout",
      "ca.key",
      "-out",
      "ca.crt",
    );
    certificate("server", "server");
    certificate("operator", "operator");
    certificate("other", "other");
    writeFileSync(
      file("config.toml"),
      `version = 3
root = "${dir}/root"
state = "${dir}/state"
imports = []
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "${dir}/c.sock"
  tcp_address = "127.0.0.1:0"
  tcp_tls_ca = "${file("ca.crt")}"
  tcp_tls_cert = "${file("server.crt")}"
  tcp_tls_key = "${file("server.key")}"
  tcp_tls_common_name = "operator"
`,
    );
    const fd = openSync(file("log"), "a");
    child = spawn(BUN, [MAIN, "daemon", "-c", file("config.toml")], { stdio: ["ignore", fd, fd] });
    await until("the daemon", () => log().includes("successfully booted"));
    port = Number(/address=127\.0\.0\.1:(\d+)/.exec(log())?.[1]);
  });
  after(async () => {
    const gone = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGTERM");
    await gone;
    rmSync(dir, { recursive: true, force: true });
  });

  test("the right certificate is let in", async () => {
    assert.ok((await ask("operator")).length > 0);
  });

  test("another name, and no certificate at all, are not", async () => {
    await assert.rejects(ask("other"));
    await assert.rejects(ask(undefined));
  });
});
