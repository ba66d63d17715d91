/**
 * Kubernetes' own clients (client-go: remotecommand over SPDY, WebSocket and with fallback, port-forward over SPDY and over a
 * WebSocket tunnel) against our streaming server: input and its end, 64 MiB each way by hash, exit code 42, a missing program,
 * terminal sizes, attach, URLs that serve once. In Bun, in Deno, and in a compiled executable over TLS. Needs Go and, the first
 * time, the Go module proxy; without them the tests are skipped and say so.
 */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";

const here = import.meta.dirname;
const bin = join(here, "../../../node_modules/.bin");
const dir = mkdtempSync(join(tmpdir(), "gantry-streaming-go-"));
const program = join(dir, "streaming-go");
const script = join(here, "check.ts");
let missing: string | undefined;

before(() => {
  const built = spawnSync("go", ["build", "-o", program, "."], { cwd: here, encoding: "utf8" });
  if (built.status !== 0) missing = `go build: ${built.error?.message ?? built.stderr}`;
});
after(() => rmSync(dir, { recursive: true }));

/** Runs the checklist by a command. */
async function checked(command: string, args: readonly string[]): Promise<void> {
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "inherit"] });
  let output = "";
  child.stdout.on("data", (text) => {
    output += String(text);
  });
  await new Promise((resolve) => child.once("close", resolve));
  assert.match(output, /\nall ok\n$/, output);
  assert.doesNotMatch(output, /FAIL/);
}

describe("Kubernetes' Go clients and our streaming server", () => {
  test("in Bun", { timeout: 170_000 }, async (t) => {
    if (missing !== undefined) return t.skip(missing);
    await checked(join(bin, "bun"), [script, program]);
  });

  test("in Deno", { timeout: 170_000 }, async (t) => {
    if (missing !== undefined) return t.skip(missing);
    await checked(join(bin, "deno"), ["run", "--no-check", "-A", script, program]);
  });

  test("in a compiled executable, over TLS", { timeout: 170_000 }, async (t) => {
    if (missing !== undefined) return t.skip(missing);
    const compiled = join(dir, "check");
    const built = spawnSync(join(bin, "bun"), [
      "build",
      "--compile",
      "--minify",
      "--outfile",
      compiled,
      script,
    ]);
    assert.equal(built.status, 0, String(built.stderr));
    const [cert, key] = [join(dir, "cert.pem"), join(dir, "key.pem")];
    const name = [
      "-subj",
      "/CN=localhost",
      "-days",
      "2",
      "-nodes",
      "-newkey",
      "ec",
      "-pkeyopt",
      "ec_paramgen_curve:P-256",
    ];
    const made = spawnSync("openssl", ["req", "-x509", ...name, "-keyout", key, "-out", cert]);
    if (made.status !== 0) return t.skip("openssl is missing");
    await checked(compiled, [program, cert, key]);
  });
});
