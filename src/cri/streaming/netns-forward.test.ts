/** Port-forward into a real network namespace. Needs root and nsenter. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { createNetns, deleteNetns } from "../../platform/net/netns.ts";
import { disownChild, ownChild } from "../../platform/process/reaper.ts";
import { setMainScript } from "../../platform/runtime.ts";
import { forwardIntoNetns } from "./netns-forward.ts";
import type { ForwardedConnection } from "./runtime.ts";

const root = process.getuid?.() === 0 ? {} : { skip: "needs root" };
const dir = mkdtempSync(join(tmpdir(), "gantry-netns-forward-"));
const netns = join(dir, "netns");
const bun = join(import.meta.dirname, "../../../node_modules/.bin/bun");
/** Says what it heard and how often, once the other side ended. */
const SERVER = `
const { createServer } = require("node:net");
const serve = (port, host) => new Promise((resolve) => createServer({ allowHalfOpen: true }, (socket) => {
  let n = 0;
  socket.on("data", (chunk) => { n += chunk.length; socket.write(chunk); });
  socket.on("end", () => socket.end("!" + n));
}).once("error", resolve).listen(port, host, resolve));
serve(80, "127.0.0.1").then(() => serve(81, "::1")).then((error) => console.log(error ? "no IPv6" : "ready"));
`;
let server: ChildProcess;
let ready = "";

before(async () => {
  if ("skip" in root) return;
  const script = join(dir, "main.ts");
  const helper = new URL("../../platform/helper.ts", import.meta.url).href;
  const start = "process.exit(await runHelper(process.argv.slice(3)));";
  writeFileSync(script, `import { runHelper } from ${JSON.stringify(helper)};\n${start}\n`);
  setMainScript(script);
  await createNetns(netns);
  writeFileSync(join(dir, "server.cjs"), SERVER);
  server = spawn("nsenter", [`--net=${netns}`, bun, join(dir, "server.cjs")], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const pid = server.pid ?? 0;
  ownChild(pid);
  server.once("exit", () => disownChild(pid));
  ready = await new Promise<string>((resolve) =>
    server.stdout?.once("data", (text) => resolve(String(text))),
  );
});
after(() => {
  server?.kill("SIGKILL");
  deleteNetns(netns);
  rmSync(dir, { recursive: true, force: true });
});

/** Forwards `chunks` and gives what came back. */
async function forwarded(port: number, chunks: readonly Uint8Array[]): Promise<Buffer> {
  const back: Buffer[] = [];
  async function* source(): AsyncGenerator<Uint8Array> {
    yield* chunks;
  }
  const connection: ForwardedConnection = {
    source: source(),
    sink: { write: async (chunk) => void back.push(Buffer.from(chunk)), close: async () => {} },
    signal: new AbortController().signal,
  };
  await forwardIntoNetns(netns, port, connection);
  return Buffer.concat(back);
}

describe("forward into a network namespace", root, () => {
  test("IPv4; the half-close goes through and the answer after it comes back", async () => {
    assert.equal((await forwarded(80, [Buffer.from("hello")])).toString(), "hello!5");
  });

  test("32 MiB both ways", async () => {
    const chunk = Buffer.alloc(1 << 20, "x");
    const got = await forwarded(
      80,
      Array.from({ length: 32 }, () => chunk),
    );
    assert.equal(got.length, (32 << 20) + "!33554432".length);
    assert.equal(got.subarray(32 << 20).toString(), "!33554432");
  });

  test("IPv6 where nothing listens on IPv4", async (t) => {
    if (!ready.startsWith("ready")) return t.skip("no IPv6 here");
    assert.equal((await forwarded(81, [Buffer.from("six")])).toString(), "six!3");
  });

  test("nothing listens: both reasons", async () => {
    await assert.rejects(forwarded(1, []), /localhost:1 inside namespace .*IPv4: .*127\.0\.0\.1:1.*IPv6: /);
  });

  test("a client that leaves ends it", async () => {
    const left = new AbortController();
    const { promise: heard, resolve } = Promise.withResolvers<void>();
    const work = forwardIntoNetns(netns, 80, {
      source: (async function* () {
        yield Buffer.from("x");
        await new Promise<void>((done) => left.signal.addEventListener("abort", () => done()));
      })(),
      sink: { write: async () => resolve(), close: async () => {} },
      signal: left.signal,
    });
    await heard;
    left.abort();
    await work;
  });
});
