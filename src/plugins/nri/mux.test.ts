import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import { test } from "node:test";
import { Mux } from "./mux.ts";

/** Two ends of a connection. */
async function pair(): Promise<[Socket, Socket]> {
  const server = createServer();
  const accepted = once(server, "connection");
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const ours = connect((server.address() as AddressInfo).port, "127.0.0.1");
  const [theirs] = (await accepted) as [Socket];
  server.close();
  return [ours, theirs];
}

/** A ttrpc message with this many bytes of payload. */
function message(length: number, fill: number): Buffer {
  const header = Buffer.alloc(10);
  header.writeUInt32BE(length, 0);
  return Buffer.concat([header, Buffer.alloc(length, fill)]);
}

async function read(stream: Duplex, length: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let have = 0;
  for await (const chunk of stream) {
    chunks.push(chunk as Buffer);
    have += (chunk as Buffer).length;
    if (have >= length) break;
  }
  return Buffer.concat(chunks);
}

test("streams do not mix, however the bytes arrive", async () => {
  const [a, b] = await pair();
  const [one, two] = [new Mux(a), new Mux(b)];
  const sent = [message(3, 1), message(100_000, 2), message(0, 3), message(4086, 4), message(4087, 5)];
  const got = [read(two.open(1), 104_000), read(two.open(2), 104_000)] as const;
  for (const id of [1, 2]) {
    const stream = one.open(id);
    const all = Buffer.concat(sent);
    for (let at = 0; at < all.length; at += 1777) stream.write(all.subarray(at, at + 1777));
  }
  for (const bytes of await Promise.all(got))
    assert.ok(bytes.length > 0 && bytes.equals(Buffer.concat(sent).subarray(0, bytes.length)));
  one.close();
  two.close();
});

test("a message goes out as one frame of at most 4096 bytes and one with the rest, as Go's reader needs it", async () => {
  const [a, b] = await pair();
  const frames: [number, number][] = [];
  let buffer = Buffer.alloc(0);
  const all = new Promise<void>((resolve) => {
    b.on("data", (chunk: Buffer) => {
      buffer = Buffer.concat([buffer, chunk]);
      while (buffer.length >= 8 && buffer.length >= 8 + buffer.readUInt32BE(4)) {
        frames.push([buffer.readUInt32BE(0), buffer.readUInt32BE(4)]);
        buffer = buffer.subarray(8 + buffer.readUInt32BE(4));
      }
      if (frames.length === 5) resolve();
    });
  });
  new Mux(a)
    .open(2)
    .write(Buffer.concat([message(20, 0), message(4086, 0), message(1 << 20, 0), message(5, 0)]));
  await all;
  a.destroy();
  b.destroy();
  assert.deepEqual(frames, [
    [2, 30],
    [2, 4096],
    [2, 4096],
    [2, (1 << 20) + 10 - 4096],
    [2, 15],
  ]);
});

test("a frame that is too large ends the connection; unknown streams are dropped", async () => {
  const [a, b] = await pair();
  const mux = new Mux(a);
  const ended = new Promise((resolve) => mux.open(1).once("close", resolve));
  const unknown = Buffer.alloc(12);
  unknown.writeUInt32BE(9, 0);
  unknown.writeUInt32BE(4, 4);
  const bad = Buffer.alloc(8);
  bad.writeUInt32BE(1, 0);
  bad.writeUInt32BE(0xffffffff, 4);
  b.write(unknown);
  b.write(bad);
  await ended;
  b.destroy();
});

test("the end of the connection ends its streams", async () => {
  const [a, b] = await pair();
  const mux = new Mux(a);
  const stream = mux.open(2);
  const ended = new Promise((resolve) => stream.once("close", resolve));
  stream.resume();
  b.destroy();
  await ended;
});
