/** Our client against our server, and against raw bytes. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, test } from "node:test";
import { closeStarted, EXEC, echo, started } from "../../../../test/fakes/streaming-client.ts";
import type { StreamingRuntime } from "../../../cri/streaming/runtime.ts";
import { concatBytes, utf8Decode, utf8Encode } from "../../../lib/bytes.ts";
import { openForwarder } from "./forward.ts";
import { openStreams, transportName } from "./open.ts";
import { parseOutcome, readOutcome } from "./outcome.ts";
import { DetachKeys } from "./session.ts";
import { streamingUrl } from "./upgrade.ts";

const TLS = { ca: "", cert: "", key: "", servername: "localhost" };
const KINDS = { stdin: true, stdout: true, stderr: false, tty: false };
const servers: Server[] = [];
afterEach(async () => {
  await closeStarted();
  for (const server of servers.splice(0)) server.close();
});

async function all(source: AsyncIterable<Uint8Array> | undefined): Promise<string> {
  const parts: Uint8Array[] = [];
  for await (const part of source ?? []) parts.push(part.slice());
  return utf8Decode(concatBytes(parts));
}

for (const transport of ["spdy", "websocket"] as const) {
  test(`exec over ${transport}: what is sent comes back, input ends, the exit code is told`, async () => {
    const server = await started();
    const url = server.getExec({ ...EXEC, command: ["cat", "5"] });
    const streams = await openStreams(url, transport, KINDS, TLS);
    const text = "0123456789".repeat(30_000);
    const back = all(streams.stdout);
    await streams.stdin?.write(utf8Encode(text));
    await streams.stdin?.close();
    assert.equal(await back, text);
    assert.deepEqual(await readOutcome(streams.error, streams.version), {
      code: 5,
      message: "command terminated with exit code 5",
    });
    await streams.end();
  });

  test(`terminal sizes over ${transport}`, async () => {
    const sizes: string[] = [];
    const runtime: StreamingRuntime = {
      ...echo,
      async exec(_request, streams) {
        for await (const { columns, rows } of streams.resize) {
          sizes.push(`${columns}x${rows}`);
          if (columns === 120) break;
        }
        return 0;
      },
    };
    const server = await started(runtime);
    const url = server.getExec({ ...EXEC, tty: true });
    const streams = await openStreams(url, transport, { ...KINDS, tty: true }, TLS);
    await streams.resize({ columns: 80, rows: 24 });
    await streams.resize({ columns: 120, rows: 40 });
    assert.deepEqual(await readOutcome(streams.error, streams.version), { code: 0, message: "" });
    assert.equal(sizes.at(-1), "120x40");
    await streams.end();
  });

  test(`port-forward over ${transport}: several at once`, async () => {
    const server = await started();
    const forwarder = await openForwarder(
      async (port) => server.getPortForward({ podId: "p1", ports: [port ?? 80] }),
      transport,
      TLS,
    );
    const answers = [80, 81, 82].map(async (port) => {
      const connection = await forwarder.open(port);
      await connection.sink.write(utf8Encode("ping"));
      await connection.sink.close();
      const answer = await all(connection.source);
      assert.equal(await connection.error, "");
      return answer;
    });
    assert.deepEqual(await Promise.all(answers), ["80:ping", "81:ping", "82:ping"]);
    await forwarder.end();
  });

  test(`a used URL is refused over ${transport}, with what the server says`, async () => {
    const server = await started();
    const url = server.getExec(EXEC);
    const first = await openStreams(url, transport, KINDS, TLS);
    first.destroy();
    await assert.rejects(
      openStreams(url, transport, KINDS, TLS),
      /unable to upgrade connection: streaming server: 404/,
    );
  });

  test(`an engine that dies in the middle of ${transport} ends all streams`, async () => {
    const server = await started({
      ...echo,
      exec: (_request, { signal }) =>
        new Promise<number>((resolve) => signal.addEventListener("abort", () => resolve(0))),
    });
    const streams = await openStreams(server.getExec(EXEC), transport, KINDS, TLS);
    const reading = all(streams.stdout);
    await server.close();
    assert.equal(await reading, "");
    assert.equal((await readOutcome(streams.error, streams.version)).code, undefined);
    await streams.end();
  });
}

const dir = mkdtempSync(join(tmpdir(), "gantry-tls-"));
after(() => rmSync(dir, { recursive: true, force: true }));

/** A certificate for localhost that vouches for itself. */
function certificate(name: string): { cert: string; key: string } {
  const [cert, key] = [join(dir, `${name}.pem`), join(dir, `${name}.key`)];
  const args =
    "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost".split(
      " ",
    );
  const names = ["-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", cert];
  execFileSync("openssl", [...args, ...names], { stdio: "ignore" });
  return { cert, key };
}

test("TLS: unchecked without files, checked against --tls-ca and --tls-sni", async () => {
  const own = certificate("own");
  const other = certificate("other");
  const tls = { cert: readFileSync(own.cert), key: readFileSync(own.key) };
  const server = await started(echo, { tls });
  for (const [transport, trust] of [
    ["spdy", TLS],
    ["websocket", TLS],
    ["spdy", { ...TLS, ca: own.cert }],
    ["websocket", { ...TLS, ca: own.cert, cert: own.cert, key: own.key }],
  ] as const) {
    const url = server.getExec({ ...EXEC, command: ["cat", "0"] });
    assert.match(url, /^https:/);
    const streams = await openStreams(url, transport, KINDS, trust);
    await streams.stdin?.write(utf8Encode("secret"));
    await streams.stdin?.close();
    assert.equal(await all(streams.stdout), "secret");
    await streams.end();
  }
  const refused = (trust: typeof TLS): Promise<unknown> =>
    openStreams(server.getExec(EXEC), "spdy", KINDS, trust);
  await assert.rejects(refused({ ...TLS, ca: other.cert }), /connect to the streaming server .*certificate/i);
  await assert.rejects(
    refused({ ...TLS, ca: own.cert, servername: "elsewhere" }),
    /connect to the streaming server/,
  );
  await assert.rejects(refused({ ...TLS, ca: join(dir, "none") }), /read ".*none"/);
});

/** A server that answers every request with `bytes` and closes. */
async function answering(bytes: string | Uint8Array, close = true): Promise<string> {
  const server = createServer((socket: Socket) => {
    socket.on("error", () => {});
    socket.once("data", () => {
      if (close && bytes === "") socket.end();
      else if (close) socket.end(bytes);
      else socket.write(bytes);
    });
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  return `http://127.0.0.1:${address !== null && typeof address === "object" ? address.port : 0}/exec/x`;
}

const HOSTILE: readonly (readonly [string, string, RegExp])[] = [
  ["nothing", "", /closed the connection before it answered/],
  ["no HTTP", "hello\r\n\r\n", /unable to upgrade connection/],
  [
    "an error page",
    "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 4\r\n\r\nbang",
    /500 Internal Server Error: bang/,
  ],
  ["a WebSocket without a key", "HTTP/1.1 101 Switching Protocols\r\n\r\n", /does not fit our WebSocket key/],
];
for (const [what, bytes, want] of HOSTILE)
  test(`a server that answers with ${what}`, async () => {
    await assert.rejects(openStreams(await answering(bytes), "websocket", KINDS, TLS), want);
  });

test("a SPDY server that speaks nonsense", async () => {
  const head = "HTTP/1.1 101 Switching Protocols\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\n";
  await assert.rejects(
    openStreams(await answering(`${head}\x80\x03\x00\x02\x00\xff\xff\xff`), "spdy", KINDS, TLS),
    /streaming server/,
  );
  await assert.rejects(openStreams(await answering(head), "spdy", KINDS, TLS), /closed the connection/);
});

test("random bytes of a server end in an error or an end, never in a wait", async () => {
  let state = 12345;
  const random = (): number => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return state >>> 16;
  };
  for (let round = 0; round < 40; round++) {
    const noise = Array.from({ length: random() % 400 }, () => String.fromCharCode(random() % 256)).join("");
    const head = "HTTP/1.1 101 Switching Protocols\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\n";
    // what a server would answer to our four streams, so that the noise comes after it
    const replies = [1, 3, 5]
      .map((id) => `\x80\x03\x00\x02\x00\x00\x00\x04\x00\x00\x00${String.fromCharCode(id)}`)
      .join("");
    const url = await answering(Buffer.from(head + replies + noise, "latin1"));
    try {
      const streams = await openStreams(url, "spdy", KINDS, TLS);
      await Promise.all([all(streams.stdout), readOutcome(streams.error, streams.version)]);
      await streams.end();
    } catch (err) {
      assert.match(String(err), /streaming server/, `round ${round}`);
    }
  }
});

test("nobody listens; addresses", async () => {
  await assert.rejects(
    openStreams("http://127.0.0.1:1/exec/x", "spdy", KINDS, TLS),
    /connect to the streaming server 127\.0\.0\.1:1/,
  );
  assert.equal(streamingUrl("/exec/abc").href, "http://127.0.0.1:10250/exec/abc");
  assert.throws(() => streamingUrl("%%"), /streaming url/);
  assert.deepEqual([transportName(""), transportName("websocket")], ["spdy", "websocket"]);
  assert.throws(() => transportName("http3"), /unknown transport/);
});

test("outcomes", () => {
  const exit = (code: string): string =>
    JSON.stringify({
      status: "Failure",
      reason: "NonZeroExitCode",
      details: { causes: [{ reason: "ExitCode", message: code }] },
    });
  assert.deepEqual(parseOutcome("", 3), { code: 0, message: "" });
  assert.deepEqual(parseOutcome("", 4), {
    code: undefined,
    message: "the connection was lost before it ended",
  });
  assert.deepEqual(parseOutcome('{"status":"Success"}', 4), { code: 0, message: "" });
  assert.equal(parseOutcome(exit("137"), 4).code, 137);
  assert.deepEqual(parseOutcome('{"status":"Failure","message":"no such process"}', 5), {
    code: undefined,
    message: "no such process",
  });
  assert.deepEqual(parseOutcome("plain text", 4), { code: undefined, message: "plain text" });
  assert.equal(parseOutcome("command 'x' exited with 3", 2).code, 3);
  assert.equal(parseOutcome("broken", 2).code, undefined);
});

test("ctrl-p ctrl-q, also in two pieces", () => {
  const keys = new DetachKeys();
  assert.deepEqual(keys.filter(Uint8Array.of(1, 0x10)), Uint8Array.of(1));
  assert.deepEqual(keys.filter(Uint8Array.of(2)), Uint8Array.of(0x10, 2));
  assert.deepEqual(keys.filter(Uint8Array.of(0x10, 0x10)), Uint8Array.of(0x10));
  assert.equal(keys.filter(Uint8Array.of(0x11)), undefined);
});
