/** Drain, GOAWAY, reconnect, refusals: a client of ours against servers that stop, refuse, break or speak nonsense. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, describe, test } from "node:test";
import { grpcMessage, RawH2, raw, u32s } from "../../../test/fakes/raw-h2.ts";
import { bindPeer, Peer, type PeerClient, type PeerLog } from "../../../test/peers/rpc-go/peer-service.ts";
import { Call } from "../../core/call.ts";
import { GantryError } from "../../core/errors.ts";
import { createClient } from "../client.ts";
import type { ClientTls } from "../connect.ts";
import { PREFACE } from "../http2/frames.ts";
import { hpackEncode } from "../http2/hpack-encoder.ts";
import type { Transport } from "../types.ts";
import { createGrpcServer, type GrpcServer } from "./server.ts";
import { createGrpcTransport } from "./transport.ts";

const dir = mkdtempSync(join(tmpdir(), "gantry-life-"));
let count = 0;
const newPath = (): string => join(dir, `s${count++}`);
const disposals: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const dispose of disposals.splice(0)) await dispose();
});
after(() => rmSync(dir, { recursive: true }));

async function serve(path: string, call?: Call): Promise<{ server: GrpcServer; log: PeerLog }> {
  const log: PeerLog = { aborted: [], produced: 0, taken: 0 };
  const server = createGrpcServer({ services: [bindPeer(log)], call });
  await server.listen({ path });
  disposals.push(() => server.close());
  return { server, log };
}

function connectTo(path: string): { client: PeerClient; transport: Transport } {
  const transport = createGrpcTransport({ path });
  disposals.push(() => transport.close());
  return { client: createClient(Peer, transport) as unknown as PeerClient, transport };
}

async function failure(work: Promise<unknown>): Promise<GantryError> {
  try {
    await work;
  } catch (err) {
    assert.ok(err instanceof GantryError, String(err));
    return err;
  }
  throw new assert.AssertionError({ message: "no error" });
}

const one = { value: Uint8Array.of(1) };

describe("life of a gRPC connection", () => {
  test("no daemon: the error names the socket and the next step", async () => {
    const path = newPath();
    const missing = await failure(connectTo(path).client.echo(one));
    assert.equal(missing.code, "unavailable");
    assert.equal(missing.message, `connect to "${path}": no such file or directory`);
    assert.match(missing.hint ?? "", /systemctl start containerd.*address/);
    const { server } = await serve(path);
    await server.close();
    writeFileSync(path, "");
    assert.equal((await failure(connectTo(path).client.echo(one))).code, "unavailable");
  });

  test("sent: a call made before is at the server then; without a server too it resolves", async () => {
    const path = newPath();
    const early = connectTo(path);
    const lost = failure(early.client.echo(one));
    await early.transport.sent?.();
    assert.equal((await lost).code, "unavailable");
    let asked = (): void => {};
    const arrived = new Promise<void>((resolve) => {
      asked = resolve;
    });
    const listener = createServer((socket) => socket.once("data", () => asked()));
    await new Promise<void>((resolve) => listener.listen(path, resolve));
    const { client, transport } = connectTo(path);
    const call = failure(client.echo(one));
    await transport.sent?.();
    await arrived;
    await transport.close();
    assert.equal((await call).code, "unavailable");
    await new Promise((resolve) => listener.close(resolve));
  });

  test("a client reconnects after the server was replaced", async () => {
    const path = newPath();
    const first = await serve(path);
    const { client } = connectTo(path);
    await client.echo(one);
    await first.server.close();
    const gone = await failure(client.echo(one));
    assert.equal(gone.code, "unavailable");
    await serve(path);
    assert.equal((await client.echo(one)).value.length, 1);
  });

  test("a running call ends as unavailable when the server is cut", async () => {
    const path = newPath();
    const { server } = await serve(path);
    const { client } = connectTo(path);
    const pending = failure(client.wait({ value: "" }));
    while (server.load.calls === 0) await new Promise(setImmediate);
    await server.close();
    assert.equal((await pending).code, "unavailable");
  });

  test("drain: running streams end in peace, new calls are turned away, the socket file is gone", async () => {
    const path = newPath();
    const { server } = await serve(path);
    const { client } = connectTo(path);
    const seen: string[] = [];
    let finish: (() => void) | undefined;
    async function* talk(): AsyncGenerator<{ value: Uint8Array }> {
      yield one;
      await new Promise<void>((resolve) => {
        finish = resolve;
      });
      yield { value: Uint8Array.of(1, 2) };
    }
    let drained: Promise<void> | undefined;
    for await (const { value } of client.chat(talk())) {
      seen.push(String(value.length));
      if (drained === undefined) {
        drained = server.drain(60_000);
        // Calls on their way when GOAWAY is sent are still served.
        let turned: GantryError | undefined;
        while (turned === undefined)
          turned = await client.echo(one).then(
            () => undefined,
            (err: GantryError) => err,
          );
        assert.equal(turned.code, "unavailable");
        assert.throws(() => statSync(path));
        finish?.();
      }
    }
    assert.deepEqual(seen, ["1", "2"]);
    await drained;
    assert.deepEqual(server.load, { connections: 0, calls: 0 });
  });

  test("drain cuts what outlives its grace", async () => {
    const path = newPath();
    const { server, log } = await serve(path);
    const { client } = connectTo(path);
    const pending = failure(client.wait({ value: "" }));
    while (server.load.calls === 0) await new Promise(setImmediate);
    await server.drain(10);
    assert.equal((await pending).code, "unavailable");
    assert.equal(log.aborted.length, 1);
  });

  test("the root call's end cancels running calls", async () => {
    const path = newPath();
    const stop = new AbortController();
    const { server } = await serve(path, new Call({ signal: stop.signal }));
    const { client } = connectTo(path);
    const pending = failure(client.wait({ value: "" }));
    while (server.load.calls === 0) await new Promise(setImmediate);
    stop.abort();
    assert.equal((await pending).code, "canceled");
  });

  test("socket mode, a stale socket file, a busy one, one that is a file", async () => {
    const path = newPath();
    const { server } = await serve(path);
    assert.equal(statSync(path).mode & 0o777, 0o660);
    const again = createGrpcServer({ services: [] });
    const busy = await failure(again.listen({ path }));
    assert.equal(busy.code, "already-exists");
    await server.close();
    await again.listen({ path, mode: 0o600 });
    assert.equal(statSync(path).mode & 0o777, 0o600);
    await again.close();
    writeFileSync(path, "data");
    assert.equal((await failure(again.listen({ path }))).code, "already-exists");
  });

  test("TCP", async () => {
    const { server } = await serve(newPath());
    const { port } = await server.listen({ host: "127.0.0.1", port: 0 });
    assert.ok(port !== undefined && port > 0);
    const transport = createGrpcTransport({ host: "127.0.0.1", port });
    disposals.push(() => transport.close());
    const client = createClient(Peer, transport) as unknown as PeerClient;
    assert.equal((await client.echo(one)).value.length, 1);
  });
});

test("TLS with client certificates, and clients without one", async (t) => {
  const [certFile, keyFile] = [join(dir, "cert.pem"), join(dir, "key.pem")];
  const made = spawnSync("openssl", [
    ...["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"],
    ...[
      "-keyout",
      keyFile,
      "-out",
      certFile,
      "-subj",
      "/CN=localhost",
      "-addext",
      "subjectAltName=DNS:localhost",
    ],
  ]);
  if (made.status !== 0) return t.skip("no openssl to make a certificate");
  const cert = readFileSync(certFile, "utf8");
  const key = readFileSync(keyFile, "utf8");
  const { server } = await serve(newPath());
  const { port = 0 } = await server.listen({ host: "127.0.0.1", port: 0, tls: { cert, key, ca: cert } });
  const over = (tls: ClientTls): PeerClient => {
    const transport = createGrpcTransport({
      host: "127.0.0.1",
      port,
      tls: { ...tls, servername: "localhost" },
    });
    disposals.push(() => transport.close());
    return createClient(Peer, transport) as unknown as PeerClient;
  };
  const big = { value: new Uint8Array(5 << 20) };
  assert.equal((await over({ ca: cert, cert, key }).echo(big)).value.length, 5 << 20);
  assert.equal((await failure(over({ ca: cert }).echo(one))).code, "unavailable");
  assert.equal((await failure(over({ cert, key }).echo(one))).code, "unavailable");
});

describe("a client and servers that misbehave", () => {
  const SETTINGS = raw(4, 0, 0);
  const OK_HEAD = hpackEncode([
    [":status", "200"],
    ["content-type", "application/grpc"],
  ]);

  /** A raw server: `answer` runs for every request stream. */
  async function fake(answer: (socket: Socket, id: number, connection: number) => void): Promise<string> {
    const path = newPath();
    let connections = 0;
    const open = new Set<Socket>();
    const server: Server = createServer((socket) => {
      const connection = connections++;
      open.add(socket);
      const peer = new RawH2(socket);
      socket.write(SETTINGS);
      const loop = async (): Promise<void> => {
        for (;;) {
          const frame = await peer.next((f) => f.type === 1);
          if (frame === undefined) return;
          answer(socket, frame.id, connection);
        }
      };
      void loop();
      // The reader must not see the preface as a frame.
      peer.skip(PREFACE.length);
    });
    await new Promise<void>((resolve) => server.listen({ path }, () => resolve()));
    disposals.push(() => {
      for (const socket of open) socket.destroy();
      server.close();
    });
    return path;
  }

  const success = (id: number): Buffer =>
    Buffer.concat([
      raw(1, 4, id, OK_HEAD),
      raw(0, 0, id, grpcMessage(Buffer.alloc(0))),
      raw(1, 5, id, hpackEncode([["grpc-status", "0"]])),
    ]);

  test("a refused call is sent again; after GOAWAY on a new connection", async () => {
    let refusals = 0;
    const path = await fake((socket, id, connection) => {
      if (connection === 0 && refusals++ === 0) socket.write(raw(3, 0, id, u32s(7)));
      else if (connection === 0) socket.write(raw(7, 0, 0, u32s(0, 0)));
      else socket.write(success(id));
    });
    const { client } = connectTo(path);
    assert.equal((await client.echo(one)).value.length, 0);
    assert.equal(refusals, 2);
  });

  const answers: [string, string, RegExp, (id: number) => Uint8Array][] = [
    ["a reset", "canceled", /CANCEL/, (id) => raw(3, 0, id, u32s(8))],
    [
      "a stream without trailers",
      "internal",
      /without sending trailers/,
      (id) => Buffer.concat([raw(1, 4, id, OK_HEAD), raw(0, 1, id)]),
    ],
    [
      "no message",
      "internal",
      /exactly one response/,
      (id) => raw(1, 5, id, Buffer.concat([OK_HEAD, hpackEncode([["grpc-status", "0"]])])),
    ],
    [
      "two messages",
      "internal",
      /exactly one response/,
      (id) =>
        Buffer.concat([
          raw(1, 4, id, OK_HEAD),
          raw(0, 0, id, Buffer.alloc(10)),
          raw(1, 5, id, hpackEncode([["grpc-status", "0"]])),
        ]),
    ],
    ["HTTP 503", "unavailable", /HTTP status 503/, (id) => raw(1, 5, id, hpackEncode([[":status", "503"]]))],
    [
      "a web page",
      "unknown",
      /content-type "text\/html"/,
      (id) =>
        raw(
          1,
          4,
          id,
          hpackEncode([
            [":status", "200"],
            ["content-type", "text/html"],
          ]),
        ),
    ],
    [
      "a message over the limit",
      "resource-exhausted",
      /larger than max/,
      (id) =>
        Buffer.concat([raw(1, 4, id, OK_HEAD), raw(0, 0, id, grpcMessage(Buffer.alloc(1), 0, 1 << 30))]),
    ],
    [
      "a compressed message",
      "internal",
      /compressed/,
      (id) => Buffer.concat([raw(1, 4, id, OK_HEAD), raw(0, 0, id, grpcMessage(Buffer.alloc(1), 1))]),
    ],
    [
      "an unknown code",
      "unknown",
      /what is this/,
      (id) =>
        raw(
          1,
          5,
          id,
          Buffer.concat([
            OK_HEAD,
            hpackEncode([
              ["grpc-status", "99"],
              ["grpc-message", "what is this"],
            ]),
          ]),
        ),
    ],
    [
      "broken details",
      "not-found",
      /gone/,
      (id) =>
        raw(
          1,
          5,
          id,
          Buffer.concat([
            OK_HEAD,
            hpackEncode([
              ["grpc-status", "5"],
              ["grpc-message", "gone"],
              ["grpc-status-details-bin", "////"],
            ]),
          ]),
        ),
    ],
    ["DATA before HEADERS", "internal", /PROTOCOL_ERROR/, (id) => raw(0, 0, id, Buffer.alloc(5))],
    ["a push", "unavailable", /PUSH_PROMISE/, (id) => raw(5, 4, id, u32s(2))],
    [
      "bad header coding",
      "unavailable",
      /decode header block/,
      (id) => raw(1, 4, id, Buffer.from([0xff, 0xff])),
    ],
  ];
  for (const [name, code, text, bytes] of answers) {
    test(`${name} is an error of class ${code}`, async () => {
      const path = await fake((socket, id) => void socket.write(bytes(id)));
      const err = await failure(connectTo(path).client.echo(one));
      assert.equal(err.code, code);
      assert.match(err.message, text);
    });
  }

  test("calls wait for a free stream when the server allows one", async () => {
    const path = newPath();
    const server = createGrpcServer({
      services: [bindPeer({ aborted: [], produced: 0, taken: 0 })],
      limits: { maxConcurrentStreams: 1 },
    });
    disposals.push(() => server.close());
    await server.listen({ path });
    const { client } = connectTo(path);
    await client.echo(one);
    const all = await Promise.all(Array.from({ length: 50 }, () => client.echo(one)));
    assert.equal(all.length, 50);
    const held = failure(client.wait({ value: "" }, { timeoutMs: 50 }));
    const waiting = await failure(client.echo(one, { timeoutMs: 1 }));
    assert.equal(waiting.code, "deadline-exceeded");
    await held;
  });
});
