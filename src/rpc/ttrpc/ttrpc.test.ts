/** ttrpc frame by frame: what goes over the wire, and peers that break the rules. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { mkdtempSync, rmSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { bindPeer, Peer, type PeerClient, type PeerLog } from "../../../test/peers/rpc-go/peer-service.ts";
import { GantryError } from "../../core/errors.ts";
import { createDeferred, type Deferred } from "../../lib/deferred.ts";
import { createClient } from "../client.ts";
import type { Encoded } from "../codec.ts";
import { frameHeader, MAX_DATA, TtrpcReader } from "./frames.ts";
import { decodeRequest, decodeResponse, encodeRequest, encodeResponse } from "./messages.ts";
import { createTtrpcServer, type TtrpcServer } from "./server.ts";
import { createTtrpcTransport } from "./transport.ts";

const SERVICE = "gantry.test.v1.Peer";
const NOTHING: Encoded = { parts: [], length: 0 };
const bytesOf = (message: Encoded): Buffer => Buffer.concat(message.parts);
const frame = (type: number, flags: number, id: number, data: Uint8Array = Buffer.alloc(0)): Buffer =>
  Buffer.concat([frameHeader(type, flags, id, data.length), data]);
const request = (method: string, payload = NOTHING, timeout = 0n): Buffer =>
  bytesOf(encodeRequest({ service: SERVICE, method, timeoutNano: timeout, metadata: new Map(), payload }));

interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly id: number;
  readonly data: Uint8Array;
}

class RawTtrpc {
  readonly socket: Socket;
  readonly frames: Frame[] = [];
  #waiter: Deferred<void> | undefined;
  closed = false;

  constructor(socket: Socket) {
    this.socket = socket;
    const reader = new TtrpcReader({
      frame: (type, flags, id, data) => {
        this.frames.push({ type, flags, id, data });
        this.#waiter?.resolve();
      },
      oversized: () => {},
    });
    socket.on("data", (chunk: Buffer) => reader.push(chunk));
    socket.on("error", () => {});
    socket.on("close", () => {
      this.closed = true;
      this.#waiter?.resolve();
    });
  }

  async next(): Promise<Frame> {
    for (;;) {
      const found = this.frames.shift();
      if (found !== undefined) return found;
      if (this.closed) throw new Error("closed");
      this.#waiter = createDeferred<void>();
      await this.#waiter.promise;
    }
  }

  async status(id: number): Promise<{ code: number; message: string }> {
    const { type, id: got, data } = await this.next();
    assert.equal(type, 2);
    assert.equal(got, id);
    const { status } = decodeResponse(data);
    return { code: status?.code ?? 0, message: status?.message ?? "" };
  }
}

describe("ttrpc server", () => {
  const dir = mkdtempSync(join(tmpdir(), "gantry-ttrpc-"));
  const path = join(dir, "s");
  const log: PeerLog = { aborted: [], produced: 0, taken: 0 };
  let server: TtrpcServer;
  before(async () => {
    server = createTtrpcServer({ services: [bindPeer(log)], limits: { maxConcurrentStreams: 10 } });
    await server.listen({ path });
  });
  after(async () => {
    await server.close();
    rmSync(dir, { recursive: true });
  });
  const open = (): Promise<RawTtrpc> =>
    new Promise((resolve) => {
      const socket = connect({ path }, () => resolve(new RawTtrpc(socket)));
    });

  test("the four forms, frame by frame", async () => {
    const peer = await open();
    const payload: Encoded = { parts: [Buffer.from([0x0a, 1, 7])], length: 3 };
    peer.socket.write(frame(1, 0, 1, request("Echo", payload)));
    const unary = await peer.next();
    assert.deepEqual([unary.type, unary.flags, unary.id], [2, 0, 1]);
    assert.deepEqual([...decodeResponse(unary.data).payload], [0x0a, 1, 7]);

    // Server stream: the request closes the client's side; Data; end without data.
    peer.socket.write(frame(1, 1, 3, request("Read", { parts: [Buffer.from([8, 5])], length: 2 })));
    const data = await peer.next();
    assert.deepEqual([data.type, data.flags, data.id, data.data.length], [3, 0, 3, 7]);
    const end = await peer.next();
    assert.deepEqual([end.type, end.flags, end.id, end.data.length], [3, 1 | 4, 3, 0]);

    // Client stream, with an empty message in it (no bytes, no no-data flag).
    peer.socket.write(frame(1, 2, 5, request("Write")));
    peer.socket.write(
      Buffer.concat([frame(3, 0, 5), frame(3, 0, 5, Buffer.from([0x0a, 2, 1, 2])), frame(3, 1 | 4, 5)]),
    );
    const sum = await peer.next();
    assert.deepEqual([sum.type, sum.id, ...decodeResponse(sum.data).payload], [2, 5, 8, 2]);

    // Bidi; the last message may close its side.
    peer.socket.write(
      Buffer.concat([frame(1, 2, 7, request("Chat")), frame(3, 1, 7, Buffer.from([0x0a, 1, 9]))]),
    );
    assert.deepEqual([...(await peer.next()).data], [0x0a, 1, 9]);
    assert.equal((await peer.next()).flags, 1 | 4);
    peer.socket.destroy();
  });

  test("bytes one by one", async () => {
    const peer = await open();
    for (const byte of frame(1, 0, 1, request("Echo"))) {
      peer.socket.write(Uint8Array.of(byte));
      await new Promise(setImmediate);
    }
    assert.equal((await peer.status(1)).code, 0);
    peer.socket.destroy();
  });

  test("rules broken by a client", async () => {
    const peer = await open();
    peer.socket.write(frame(1, 0, 2, request("Echo")));
    assert.deepEqual(await peer.status(2), {
      code: 3,
      message: "StreamID must be odd for client initiated streams: invalid argument",
    });
    peer.socket.write(
      Buffer.concat([
        frame(1, 0, 5, request("Echo")),
        frame(1, 0, 5, request("Echo")),
        frame(1, 0, 3, request("Echo")),
      ]),
    );
    // The refusals overtake the answer of the handler.
    assert.deepEqual(
      [(await peer.status(5)).code, (await peer.status(3)).code, (await peer.status(5)).code].sort(),
      [0, 3, 3],
    );
    peer.socket.write(frame(1, 0, 7, Buffer.from([0xff, 0xff])));
    assert.equal((await peer.status(7)).code, 3);
    peer.socket.write(frame(1, 0, 9, request("Nope")));
    assert.equal((await peer.status(9)).code, 12);
    peer.socket.write(frame(1, 0, 11, request("Echo", { parts: [Buffer.from([0x0a, 0x7f])], length: 2 })));
    assert.equal((await peer.status(11)).code, 13);
    // Data nobody asked for, of any stream, and frames of unknown types are ignored.
    peer.socket.write(Buffer.concat([frame(3, 0, 99, Buffer.from([1])), frame(9, 9, 9)]));
    peer.socket.write(
      Buffer.concat([frame(1, 2, 13, request("Write")), frame(3, 1 | 4, 13, Buffer.from([1]))]),
    );
    assert.match((await peer.status(13)).message, /data close message cannot include data/);
    peer.socket.write(Buffer.concat([frame(1, 2, 15, request("Watch")), frame(1, 0, 17, request("Echo"))]));
    peer.socket.destroy();
  });

  test("an oversized frame is refused on its stream, its bytes are skipped", async () => {
    const peer = await open();
    const head = Buffer.alloc(10);
    head.writeUInt32BE(MAX_DATA + 1, 0);
    head.writeUInt32BE(1, 4);
    head[8] = 1;
    peer.socket.write(head);
    assert.equal((await peer.status(1)).code, 8);
    peer.socket.write(Buffer.concat([Buffer.alloc(MAX_DATA + 1), frame(1, 0, 3, request("Echo"))]));
    assert.equal((await peer.status(3)).code, 0);
    peer.socket.destroy();
  });

  test("too many streams, a deadline, a connection that ends", async () => {
    const peer = await open();
    for (let i = 0; i < 11; i++) peer.socket.write(frame(1, 0, 2 * i + 1, request("Wait")));
    assert.equal((await peer.status(21)).code, 8);
    log.aborted.length = 0;
    const all = createDeferred<void>();
    log.onAborted = () => {
      if (log.aborted.length === 10) all.resolve();
    };
    peer.socket.destroy();
    await all.promise;
    const second = await open();
    second.socket.write(frame(1, 0, 1, request("Wait", NOTHING, 20_000_000n)));
    assert.deepEqual(await second.status(1), { code: 4, message: "context deadline exceeded" });
    second.socket.destroy();
  });

  test("random frames never stop the server", async () => {
    let seed = 7;
    const random = (): number => {
      seed = (seed * 1103515245 + 12345) & 0x7fffffff;
      return seed >>> 8;
    };
    for (let i = 0; i < 100; i++) {
      const peer = await open();
      for (let j = 0; j < 10; j++) {
        const data = Buffer.from(Array.from({ length: random() % 40 }, () => random() & 255));
        peer.socket.write(frame(random() % 5, random() & 7, random() % 8, data));
      }
      await new Promise<void>((resolve) => peer.socket.end(() => resolve()));
      peer.socket.destroy();
    }
    await using transport = createTtrpcTransport({ path });
    const client = createClient(Peer, transport) as unknown as PeerClient;
    assert.equal((await client.echo({ value: Uint8Array.of(1) })).value.length, 1);
  });

  test("drain lets running calls end", async () => {
    const drained = createTtrpcServer({ services: [bindPeer({ aborted: [], produced: 0, taken: 0 })] });
    await drained.listen({ path: `${path}2` });
    const transport = createTtrpcTransport({ path: `${path}2` });
    const client = createClient(Peer, transport) as unknown as PeerClient;
    let drain: Promise<void> | undefined;
    async function* two(): AsyncGenerator<{ value: Uint8Array }> {
      yield { value: Uint8Array.of(1) };
      while (drained.load.calls === 0) await new Promise(setImmediate);
      drain = drained.drain(60_000);
      yield { value: Uint8Array.of(2) };
    }
    assert.equal((await client.write(two())).value, 2n);
    await drain;
    assert.deepEqual(drained.load, { connections: 0, calls: 0 });
    await assert.rejects(client.echo({ value: Uint8Array.of(1) }), GantryError);
    await transport.close();
  });
});

test("a ttrpc client and answers that break the rules", async () => {
  const dir = mkdtempSync(join(tmpdir(), "gantry-ttrpc-"));
  const path = join(dir, "s");
  let answer = (_id: number): Uint8Array => Buffer.alloc(0);
  const server = createServer((socket) => {
    const peer = new RawTtrpc(socket);
    const loop = async (): Promise<void> => {
      for (;;) {
        const { id } = await peer.next();
        socket.write(answer(id));
      }
    };
    loop().catch(() => {});
  });
  await new Promise<void>((resolve) => server.listen({ path }, () => resolve()));
  const transport = createTtrpcTransport({ path });
  const client = createClient(Peer, transport) as unknown as PeerClient;
  const fails = async (code: string, bytes: (id: number) => Uint8Array): Promise<void> => {
    answer = bytes;
    await assert.rejects(
      client.echo({ value: Uint8Array.of(1) }),
      (err) => err instanceof GantryError && err.code === code,
    );
  };
  await fails("internal", (id) => frame(2, 0, id, Buffer.from([0xff])));
  await fails("internal", (id) => frame(3, 1 | 4, id));
  await fails("resource-exhausted", (id) => {
    const head = Buffer.alloc(10 + MAX_DATA + 1);
    head.writeUInt32BE(MAX_DATA + 1, 0);
    head.writeUInt32BE(id, 4);
    head[8] = 2;
    return head;
  });
  // Frames of other streams do not matter.
  answer = (id) => Buffer.concat([frame(2, 0, 77), frame(2, 0, id, bytesOf(encodeResponse(NOTHING)))]);
  assert.equal((await client.echo({ value: Uint8Array.of(1) })).value.length, 0);
  await transport.close();
  server.close();
  rmSync(dir, { recursive: true });
});

test("requests and responses survive encoding", () => {
  const metadata = new Map([["A", ["1", "2"]]]);
  const bytes = bytesOf(
    encodeRequest({
      service: "s.S",
      method: "M",
      timeoutNano: 123_456_789_012_345n,
      metadata,
      payload: { parts: [Uint8Array.of(1, 2)], length: 2 },
    }),
  );
  const back = decodeRequest(bytes);
  assert.equal(back.service, "s.S");
  assert.equal(back.method, "M");
  assert.equal(back.timeoutNano, 123_456_789_012_345n);
  assert.deepEqual([...back.payload], [1, 2]);
  assert.deepEqual(back.metadata.get("a"), ["1", "2"]);
  assert.throws(() => decodeRequest(Uint8Array.of(0x0a, 0x05, 1)));
});
