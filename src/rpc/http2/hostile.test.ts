/** A server of ours against peers that break the rules: each gets the right error code, the others notice nothing. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, beforeEach, describe, test } from "node:test";
import { grpcMessage, RawH2, raw, requestBlock, setting, u32s } from "../../../test/fakes/raw-h2.ts";
import { bindPeer, Peer, type PeerClient, type PeerLog } from "../../../test/peers/rpc-go/peer-service.ts";
import { createClient } from "../client.ts";
import { createGrpcServer, type GrpcServer } from "../grpc/server.ts";
import { createGrpcTransport } from "../grpc/transport.ts";
import { H2Code } from "./errors.ts";
import { PREFACE } from "./frames.ts";
import { hpackEncode } from "./hpack-encoder.ts";

const DATA = 0;
const HEADERS = 1;
const CONTINUATION = 9;
const ECHO = "/gantry.test.v1.Peer/Echo";
const CHAT = "/gantry.test.v1.Peer/Chat";
const READ = "/gantry.test.v1.Peer/Read";
const WAIT = "/gantry.test.v1.Peer/Wait";
const EMPTY_CALL = grpcMessage(Buffer.alloc(0));

describe("hostile HTTP/2 clients", () => {
  const dir = mkdtempSync(join(tmpdir(), "gantry-h2-"));
  const path = join(dir, "sock");
  const log: PeerLog = { aborted: [], produced: 0, taken: 0 };
  let server: GrpcServer;
  let peer: RawH2;

  before(async () => {
    server = createGrpcServer({
      services: [bindPeer(log, new Promise(() => {}))],
      limits: { maxConcurrentStreams: 100 },
    });
    await server.listen({ path });
  });
  beforeEach(async () => {
    peer?.socket.destroy();
    peer = await RawH2.connect(path);
  });
  after(async () => {
    peer.socket.destroy();
    await server.close();
    rmSync(dir, { recursive: true });
  });

  const open = (
    id: number,
    callPath = ECHO,
    change: Record<string, string | undefined> = {},
    flags = 4,
  ): Buffer => raw(HEADERS, flags, id, requestBlock(callPath, change));

  const connectionErrors: [string, number, () => Uint8Array][] = [
    ["a frame over the limit", H2Code.FRAME_SIZE_ERROR, () => raw(DATA, 0, 1, Buffer.alloc(0), 16385)],
    ["DATA on stream 0", H2Code.PROTOCOL_ERROR, () => raw(DATA, 0, 0)],
    ["DATA on an idle stream", H2Code.PROTOCOL_ERROR, () => raw(DATA, 0, 7)],
    ["HEADERS on stream 0", H2Code.PROTOCOL_ERROR, () => raw(HEADERS, 4, 0, requestBlock(ECHO))],
    ["an even stream", H2Code.PROTOCOL_ERROR, () => raw(HEADERS, 4, 2, requestBlock(ECHO))],
    [
      "padding longer than the frame",
      H2Code.PROTOCOL_ERROR,
      () => raw(HEADERS, 4 | 8, 1, Buffer.from([9, 1])),
    ],
    ["a padded frame without its length", H2Code.FRAME_SIZE_ERROR, () => raw(DATA, 8, 1)],
    [
      "HEADERS shorter than its priority",
      H2Code.FRAME_SIZE_ERROR,
      () => raw(HEADERS, 4 | 32, 1, Buffer.alloc(3)),
    ],
    [
      "a stream that depends on itself",
      H2Code.PROTOCOL_ERROR,
      () => raw(HEADERS, 4 | 32, 1, Buffer.from([0, 0, 0, 1, 0])),
    ],
    ["an impossible header index", H2Code.COMPRESSION_ERROR, () => raw(HEADERS, 4, 1, Buffer.from([0xbe]))],
    ["header index 0", H2Code.COMPRESSION_ERROR, () => raw(HEADERS, 4, 1, Buffer.from([0x80]))],
    [
      "a header string that is cut off",
      H2Code.COMPRESSION_ERROR,
      () => raw(HEADERS, 4, 1, Buffer.from([0, 10, 97])),
    ],
    ["an endless header integer", H2Code.COMPRESSION_ERROR, () => raw(HEADERS, 4, 1, Buffer.alloc(20, 0xff))],
    [
      "a header table over 4096",
      H2Code.COMPRESSION_ERROR,
      () => raw(HEADERS, 4, 1, Buffer.from([0x3f, 0xe2, 0x1f])),
    ],
    [
      "a bad Huffman code",
      H2Code.COMPRESSION_ERROR,
      () => raw(HEADERS, 4, 1, Buffer.from([0, 0x84, 255, 255, 255, 255])),
    ],
    [
      "another frame inside a header block",
      H2Code.PROTOCOL_ERROR,
      () => Buffer.concat([open(1, ECHO, {}, 0), raw(6, 0, 0, Buffer.alloc(8))]),
    ],
    [
      "CONTINUATION of another stream",
      H2Code.PROTOCOL_ERROR,
      () => Buffer.concat([open(1, ECHO, {}, 0), raw(CONTINUATION, 4, 3)]),
    ],
    ["CONTINUATION without HEADERS", H2Code.PROTOCOL_ERROR, () => raw(CONTINUATION, 4, 1)],
    ["PRIORITY on stream 0", H2Code.PROTOCOL_ERROR, () => raw(2, 0, 0, Buffer.alloc(5))],
    ["RST_STREAM on an idle stream", H2Code.PROTOCOL_ERROR, () => raw(3, 0, 9, u32s(8))],
    ["RST_STREAM of a wrong size", H2Code.FRAME_SIZE_ERROR, () => raw(3, 0, 1, Buffer.alloc(3))],
    ["SETTINGS of a wrong size", H2Code.FRAME_SIZE_ERROR, () => raw(4, 0, 0, Buffer.alloc(5))],
    ["SETTINGS on a stream", H2Code.PROTOCOL_ERROR, () => raw(4, 0, 1)],
    ["a SETTINGS ack with content", H2Code.FRAME_SIZE_ERROR, () => raw(4, 1, 0, setting(1, 0))],
    ["an initial window over 2^31-1", H2Code.FLOW_CONTROL_ERROR, () => raw(4, 0, 0, setting(4, 0x80000000))],
    ["a frame size limit that is too small", H2Code.PROTOCOL_ERROR, () => raw(4, 0, 0, setting(5, 16383))],
    ["push that is neither on nor off", H2Code.PROTOCOL_ERROR, () => raw(4, 0, 0, setting(2, 2))],
    ["PUSH_PROMISE", H2Code.PROTOCOL_ERROR, () => raw(5, 4, 1, Buffer.alloc(4))],
    ["PING of a wrong size", H2Code.FRAME_SIZE_ERROR, () => raw(6, 0, 0, Buffer.alloc(7))],
    ["PING on a stream", H2Code.PROTOCOL_ERROR, () => raw(6, 0, 1, Buffer.alloc(8))],
    ["GOAWAY on a stream", H2Code.PROTOCOL_ERROR, () => raw(7, 0, 1, Buffer.alloc(8))],
    ["WINDOW_UPDATE of 0", H2Code.PROTOCOL_ERROR, () => raw(8, 0, 0, u32s(0))],
    ["WINDOW_UPDATE of a wrong size", H2Code.FRAME_SIZE_ERROR, () => raw(8, 0, 0, Buffer.alloc(3))],
    ["WINDOW_UPDATE on an idle stream", H2Code.PROTOCOL_ERROR, () => raw(8, 0, 11, u32s(1))],
    ["a connection window over 2^31-1", H2Code.FLOW_CONTROL_ERROR, () => raw(8, 0, 0, u32s(0x7fffffff))],
    [
      "a PING flood",
      H2Code.ENHANCE_YOUR_CALM,
      () => Buffer.concat(Array.from({ length: 3000 }, () => raw(6, 0, 0, Buffer.alloc(8)))),
    ],
    [
      "a SETTINGS flood",
      H2Code.ENHANCE_YOUR_CALM,
      () => Buffer.concat(Array.from({ length: 1000 }, () => raw(4, 0, 0))),
    ],
    [
      "an empty DATA flood",
      H2Code.ENHANCE_YOUR_CALM,
      () => Buffer.concat([open(1, CHAT), ...Array.from({ length: 5000 }, () => raw(DATA, 0, 1))]),
    ],
    [
      "a PRIORITY flood",
      H2Code.ENHANCE_YOUR_CALM,
      () => Buffer.concat(Array.from({ length: 5000 }, () => raw(2, 0, 1, Buffer.from([0, 0, 0, 3, 0])))),
    ],
    [
      "a CONTINUATION flood",
      H2Code.ENHANCE_YOUR_CALM,
      () =>
        Buffer.concat([raw(HEADERS, 0, 1), ...Array.from({ length: 5000 }, () => raw(CONTINUATION, 0, 1))]),
    ],
    [
      "a header block of megabytes",
      H2Code.ENHANCE_YOUR_CALM,
      () =>
        Buffer.concat([
          raw(HEADERS, 0, 1),
          ...Array.from({ length: 100 }, () => raw(CONTINUATION, 0, 1, Buffer.alloc(16384))),
        ]),
    ],
    [
      "rapid reset",
      H2Code.ENHANCE_YOUR_CALM,
      () =>
        Buffer.concat(
          Array.from({ length: 5000 }, (_, i) =>
            Buffer.concat([open(2 * i + 1, CHAT), raw(3, 0, 2 * i + 1, u32s(8))]),
          ),
        ),
    ],
    [
      "streams far over the limit",
      H2Code.ENHANCE_YOUR_CALM,
      () => Buffer.concat(Array.from({ length: 5000 }, (_, i) => open(2 * i + 1, CHAT))),
    ],
    [
      "DATA on streams it reset",
      H2Code.ENHANCE_YOUR_CALM,
      () =>
        Buffer.concat([
          open(1, CHAT),
          raw(3, 0, 1, u32s(8)),
          ...Array.from({ length: 5000 }, () => raw(DATA, 0, 1)),
        ]),
    ],
  ];
  for (const [name, code, bytes] of connectionErrors) {
    test(`${name} ends the connection`, async () => {
      peer.send(bytes());
      assert.equal(await peer.goaway(), code);
      await peer.closed();
    });
  }

  test("a first frame other than SETTINGS, and no HTTP/2 at all", async () => {
    for (const bytes of [
      Buffer.concat([PREFACE, raw(6, 0, 0, Buffer.alloc(8))]),
      Buffer.from("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
      Buffer.concat([PREFACE.subarray(0, 20), Buffer.from("XXXX")]),
    ]) {
      const other = await RawH2.connect(path, false);
      other.send(bytes);
      assert.equal(await other.goaway(), H2Code.PROTOCOL_ERROR);
      await other.closed();
    }
  });

  test("a connection that says nothing is closed", async () => {
    const strict = createGrpcServer({ services: [] }, { handshakeMs: 20 });
    await strict.listen({ path: `${path}-strict` });
    const silent = await RawH2.connect(`${path}-strict`, false);
    silent.send(PREFACE.subarray(0, 10));
    await silent.closed();
    await strict.close();
  });

  test("stream errors leave the connection alive", async () => {
    const cases: [number, number, Uint8Array][] = [
      [
        H2Code.STREAM_CLOSED,
        1,
        Buffer.concat([open(1, WAIT, {}, 5 & ~1), raw(DATA, 1, 1, EMPTY_CALL), raw(DATA, 0, 1, EMPTY_CALL)]),
      ],
      [H2Code.PROTOCOL_ERROR, 3, Buffer.concat([open(3, CHAT), open(3, CHAT)])],
      [H2Code.PROTOCOL_ERROR, 5, Buffer.concat([open(5, CHAT), raw(8, 0, 5, u32s(0))])],
      [H2Code.FLOW_CONTROL_ERROR, 7, Buffer.concat([open(7, CHAT), raw(8, 0, 7, u32s(0x7fffffff))])],
      [H2Code.FRAME_SIZE_ERROR, 9, Buffer.concat([open(9, CHAT), raw(2, 0, 9, Buffer.alloc(4))])],
      [H2Code.PROTOCOL_ERROR, 11, open(11, ECHO, { "X-Upper": "1" })],
      [H2Code.PROTOCOL_ERROR, 13, open(13, ECHO, { connection: "close" })],
      [H2Code.PROTOCOL_ERROR, 15, open(15, ECHO, { ":path": undefined })],
      [H2Code.PROTOCOL_ERROR, 17, open(17, ECHO, { ":bogus": "1" })],
    ];
    for (const [code, id, bytes] of cases) {
      peer.send(bytes);
      assert.equal(await peer.reset(id), code, `stream ${id}`);
    }
    peer.send(open(101), raw(DATA, 1, 101, EMPTY_CALL));
    assert.equal(await peer.trailer(101), "0");
  });

  test("more DATA than the stream window resets the stream", async () => {
    // Chat's handler never reads: nothing is acknowledged after 1 MiB.
    const messages = Buffer.alloc(0x4000 - 9);
    peer.send(open(1, CHAT));
    for (let i = 0; i < 70; i++) peer.send(raw(DATA, 0, 1, grpcMessage(messages.subarray(5, 16384 - 9))));
    assert.equal(await peer.reset(1), H2Code.FLOW_CONTROL_ERROR);
    await peer.sync();
  });

  test("too many streams are refused one by one", async () => {
    for (let i = 0; i < 101; i++) peer.send(open(2 * i + 1, CHAT));
    assert.equal(await peer.reset(201), H2Code.REFUSED_STREAM);
    peer.send(raw(3, 0, 1, u32s(8)), open(203), raw(DATA, 1, 203, EMPTY_CALL));
    assert.equal(await peer.trailer(203), "0");
  });

  test("requests that are not gRPC", async () => {
    const answers: [Record<string, string>, string, string][] = [
      [{ "content-type": "application/json" }, ":status", "415"],
      [{ "content-type": "application/grpc-web" }, ":status", "415"],
      [{ ":method": "GET" }, ":status", "405"],
      [{ "grpc-encoding": "gzip" }, "grpc-status", "12"],
      [{ "grpc-timeout": "1x" }, "grpc-status", "3"],
      [{ ":path": "/no.Service/Method" }, "grpc-status", "12"],
      [{ ":path": "nonsense" }, "grpc-status", "12"],
    ];
    let id = 1;
    for (const [change, name, want] of answers) {
      peer.send(open(id, ECHO, change), raw(DATA, 1, id, EMPTY_CALL));
      assert.equal(await peer.trailer(id, name), want, JSON.stringify(change));
      id += 2;
    }
  });

  test("an announced message over the limit is refused before its bytes are sent", async () => {
    peer.send(open(1), raw(DATA, 0, 1, grpcMessage(Buffer.from([1]), 0, (16 << 20) + 1)));
    assert.equal(await peer.trailer(1), "8");
    assert.equal(await peer.reset(1), H2Code.NO_ERROR);
    peer.send(open(3), raw(DATA, 0, 3, grpcMessage(Buffer.from([1]), 0, 0xffffffff)));
    assert.equal(await peer.trailer(3), "8");
    peer.send(open(5), raw(DATA, 1, 5, grpcMessage(Buffer.from([1]), 1)));
    assert.equal(await peer.trailer(5), "13");
  });

  test("unary calls without a message, with two, or cut off", async () => {
    peer.send(open(1, ECHO, {}, 5));
    assert.equal(await peer.trailer(1), "13");
    peer.send(open(3), raw(DATA, 1, 3, Buffer.concat([EMPTY_CALL, EMPTY_CALL])));
    assert.equal(await peer.trailer(3), "13");
    peer.send(open(5), raw(DATA, 1, 5, grpcMessage(Buffer.from([1, 2]), 0, 10)));
    assert.equal(await peer.trailer(5), "13");
    peer.send(open(7), raw(DATA, 1, 7, grpcMessage(Buffer.from([0x0a, 0x7f, 1]))));
    assert.equal(await peer.trailer(7), "13");
  });

  test("a header list over the limit fails its call only", async () => {
    const big = hpackEncode([["x-big", "y".repeat(12_000)]]);
    // One large entry in the dynamic table, named many times: small on the wire, huge when decoded.
    const entry = Buffer.concat([Buffer.from([0x40, 1, 0x78, 0x7f, 0xa1, 0x1e]), Buffer.alloc(4000, 0x79)]);
    const bomb = Buffer.concat([requestBlock(ECHO), entry, Buffer.alloc(2000, 0xbe)]);
    peer.send(raw(HEADERS, 4, 1, bomb), raw(DATA, 1, 1, EMPTY_CALL));
    assert.equal(await peer.trailer(1), "8");
    peer.send(raw(HEADERS, 4, 3, Buffer.concat([requestBlock(ECHO), big])), raw(DATA, 1, 3, EMPTY_CALL));
    assert.equal(await peer.trailer(3), "0");
  });

  test("padding, priority, unknown frames and single bytes are fine", async () => {
    const block = requestBlock(ECHO);
    const all = Buffer.concat([
      raw(0xfa, 7, 3, Buffer.from("whatever")),
      raw(HEADERS, 4 | 8 | 32, 1, Buffer.concat([Buffer.from([3, 0, 0, 0, 0, 200]), block, Buffer.alloc(3)])),
      raw(DATA, 8 | 1, 1, Buffer.concat([Buffer.from([4]), EMPTY_CALL, Buffer.alloc(4)])),
    ]);
    for (const byte of all) {
      peer.send(Uint8Array.of(byte));
      await new Promise(setImmediate);
    }
    assert.equal(await peer.trailer(1), "0");
  });

  test("window changes in mid-stream, below zero and back", async () => {
    const want = 300_000;
    const bytes = (frame: { type: number; payload: Buffer }): number =>
      frame.type === DATA ? frame.payload.length : 0;
    const received = (): number => {
      const sum = peer.frames.reduce((n, frame) => n + bytes(frame), 0);
      return sum;
    };
    const request = grpcMessage(Buffer.concat([Buffer.from([8]), varint(want)]));
    let total = 0;
    const step = async (send: Uint8Array, grow: number): Promise<void> => {
      peer.send(send);
      while (grow > 0) {
        const frame = await peer.next((f) => f.type === DATA);
        assert.ok(frame !== undefined);
        grow -= frame.payload.length;
        total += frame.payload.length;
      }
      assert.equal(grow, 0);
      await peer.sync();
      assert.equal(received(), 0);
    };
    peer.send(raw(4, 0, 0, setting(4, 10)));
    await step(Buffer.concat([open(1, READ), raw(DATA, 1, 1, request)]), 10);
    await step(raw(4, 0, 0, setting(4, 1000)), 990);
    await step(raw(4, 0, 0, setting(4, 0)), 0);
    await step(raw(8, 0, 1, u32s(1000)), 0);
    await step(raw(8, 0, 1, u32s(500)), 500);
    await step(raw(4, 0, 0, setting(4, 70_000)), 65535 - 1500);
    // Now the connection window is used up.
    await step(raw(8, 0, 0, u32s(4465 + 1500)), 4465 + 1500);
    peer.send(raw(8, 0, 0, u32s(1 << 20)), raw(4, 0, 0, setting(4, 0x7fffffff)));
    while (total < want + 5 + 4) {
      const frame = await peer.next((f) => f.type === DATA);
      assert.ok(frame !== undefined);
      total += frame.payload.length;
    }
    assert.equal(await peer.trailer(1), "0");
    assert.equal(total, want + 5 + 4);
  });

  test("a client that never reads costs a bounded amount", async () => {
    log.produced = 0;
    peer.socket.pause();
    peer.send(raw(8, 0, 0, u32s(0x7fff0000 - 65535)), raw(4, 0, 0, setting(4, 0x7fffffff)));
    const request = grpcMessage(Buffer.concat([Buffer.from([8]), varint(2 ** 31)]));
    peer.send(open(1, READ), raw(DATA, 1, 1, request));
    // Another client is served meanwhile; when it is done the first has long been stopped.
    const other = await RawH2.connect(path);
    for (let i = 0; i < 50; i++) {
      other.send(open(2 * i + 1), raw(DATA, 1, 2 * i + 1, EMPTY_CALL));
      assert.equal(await other.trailer(2 * i + 1), "0");
    }
    assert.ok(log.produced <= 8 << 20, String(log.produced));
    other.socket.destroy();
  });

  test("answers that are never read end the connection", async () => {
    const done = new Promise<void>((resolve) => peer.socket.once("close", () => resolve()));
    peer.socket.pause();
    let id = 1;
    const push = (err?: Error | null): void => {
      if (err != null || peer.socket.destroyed) return;
      const parts: Uint8Array[] = [];
      for (let i = 0; i < 90; i++, id += 2) parts.push(open(id, "/no.Such/Method", {}, 5));
      peer.socket.write(Buffer.concat(parts), push);
    };
    push();
    // A paused socket may not see the end; reading shows it.
    while (server.load.connections > 0 && !peer.socket.destroyed) await new Promise(setImmediate);
    peer.socket.resume();
    await done;
  });

  test("a thousand idle connections do not disturb a call", async () => {
    const idle: RawH2[] = [];
    // In batches: the runtime's listen backlog is 512.
    while (idle.length < 1000)
      idle.push(...(await Promise.all(Array.from({ length: 50 }, () => RawH2.connect(path)))));
    await Promise.all(idle.map((one) => one.sync()));
    peer.send(open(1), raw(DATA, 1, 1, EMPTY_CALL));
    assert.equal(await peer.trailer(1), "0");
    assert.ok(server.load.connections >= 1000);
    for (const { socket } of idle) socket.destroy();
  });

  test("random bytes never stop the server", async () => {
    let seed = 42;
    const random = (): number => {
      seed = (seed * 1103515245 + 12345) & 0x7fffffff;
      return seed >>> 8;
    };
    for (let i = 0; i < 300; i++) {
      const one = await RawH2.connect(path);
      const parts: Uint8Array[] = [];
      for (let j = 0; j < 10; j++) {
        const payload = Buffer.from(Array.from({ length: random() % 64 }, () => random() & 255));
        parts.push(raw(random() % 11, random() & 255, random() % 8, payload));
      }
      one.send(...parts);
      one.socket.end();
      await one.closed();
    }
    await using transport = createGrpcTransport({ path });
    const client = createClient(Peer, transport) as unknown as PeerClient;
    assert.equal((await client.echo({ value: Uint8Array.of(1) })).value.length, 1);
  });
});

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  while (rest > 127) {
    bytes.push((rest % 128) | 128);
    rest = Math.floor(rest / 128);
  }
  bytes.push(rest);
  return Buffer.from(bytes);
}
