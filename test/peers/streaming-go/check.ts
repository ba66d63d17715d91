/**
 * check.ts PROGRAM [CERT KEY]: runs every scenario of the Go program over every transport against our server in this process, and
 * prints one line for each: `ok NAME` or `FAIL NAME: why`. With a certificate over TLS.
 */
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { createStreamingServer } from "../../../src/cri/streaming/server.ts";
import { fakeRuntime } from "./fake-runtime.ts";

const [program = "", cert, key] = process.argv.slice(2);
const tls =
  cert !== undefined && key !== undefined
    ? { tls: { cert: readFileSync(cert), key: readFileSync(key) } }
    : {};

const server = createStreamingServer(fakeRuntime, tls);
await server.listen();
const http = createServer((request, response) => response.end((request.url ?? "").repeat(100)));
await new Promise<void>((resolve) => http.listen(0, "127.0.0.1", resolve));
const port = (http.address() as AddressInfo).port;

const BIG = "f=$(mktemp); head -c 67108864 /dev/urandom > $f; cat $f; sha256sum < $f >&2; rm $f";
const COMMANDS: Readonly<Record<string, readonly string[]>> = {
  echo: ["cat"],
  exit: ["sh", "-c", "echo out; echo err >&2; exit 42"],
  resize: ["print-size"],
  out: ["sh", "-c", BIG],
  in: ["sha256sum"],
  unread: ["echo", "done"],
  missing: ["/no/such/program"],
  reuse: ["true"],
};
/** Which scenarios send input, have a terminal, or want the error stream. */
const STDIN = ["echo", "resize", "in", "unread"];
const STDERR = ["exit", "out"];

let failed = 0;
for (const transport of ["spdy", "websocket", "fallback"]) {
  for (const [name, command] of Object.entries(COMMANDS)) {
    const wants = {
      tty: name === "resize",
      stdin: STDIN.includes(name),
      stdout: true,
      stderr: STDERR.includes(name),
    };
    await check(name, transport, server.getExec({ containerId: "c1", command, ...wants }));
  }
  const request = { containerId: "c1", tty: false, stdin: true, stdout: true, stderr: false };
  await check("attach", transport, server.getAttach(request));
  if (transport === "fallback") continue;
  await check("forward", transport, server.getPortForward({ podId: "p1", ports: [] }), String(port));
}
// The last client's end may arrive after its process was seen to end.
for (let i = 0; server.connections > 0 && i < 500; i++)
  await new Promise((resolve) => setTimeout(resolve, 10));
if (server.connections !== 0) console.log(`FAIL ${server.connections} connections left`);
await server.close();
http.closeAllConnections();
http.close();
console.log(failed === 0 && server.connections === 0 ? "all ok" : `${failed} failed`);

async function check(
  name: string,
  transport: string,
  url: string,
  ...args: readonly string[]
): Promise<void> {
  const began = performance.now();
  const child = spawn(program, [name, transport, url, ...args], { stdio: ["ignore", "ignore", "pipe"] });
  let said = "";
  child.stderr.on("data", (text) => {
    said += String(text);
  });
  const code = await new Promise((resolve) => child.once("close", resolve));
  if (code !== 0) failed++;
  const took = `${Math.round(performance.now() - began)} ms`;
  console.log(
    code === 0
      ? `ok ${name} over ${transport} (${took})`
      : `FAIL ${name} over ${transport} (${took}): ${said}`,
  );
}
