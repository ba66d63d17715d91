/** Damaged and random bytes at the streaming server's protocols: it neither ends, hangs nor grows (F18, S37). */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { afterEach, test } from "node:test";
import {
  type Client,
  closeStarted,
  control,
  data,
  EXEC,
  message,
  opener,
  spdy,
  started,
  webSocket,
  word,
} from "../../../test/fakes/streaming-client.ts";

const ROUNDS = 300;

afterEach(closeStarted);

/** Numbers below n, the same in every run. */
function numbers(seed: number): (n: number) => number {
  let state = seed;
  return (n) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * n);
  };
}

/** Changes, cuts or repeats some bytes. */
function damaged(bytes: Buffer, next: (n: number) => number): Buffer {
  const copy = Buffer.from(bytes);
  for (let i = next(6); i >= 0; i--) copy[next(copy.length)] = next(256);
  if (next(3) === 0) return copy.subarray(0, next(copy.length));
  if (next(3) === 0) return Buffer.concat([copy, copy.subarray(next(copy.length))]);
  return copy;
}

async function bombard(connected: () => Promise<Client>, good: Buffer): Promise<void> {
  const next = numbers(42);
  const before = process.memoryUsage.rss();
  for (let i = 0; i < ROUNDS; i++) {
    const client = await connected();
    client.send(damaged(good, next));
    client.socket.end();
    await client.end();
  }
  const grew = (process.memoryUsage.rss() - before) / 2 ** 20;
  assert.ok(grew < 64, `${grew} MiB`);
}

test("SPDY port-forward", async () => {
  const server = await started();
  const syn = opener();
  const pair = { port: "80", requestid: "0" };
  const good = Buffer.concat([
    await syn(1, { streamtype: "error", ...pair }),
    await syn(3, { streamtype: "data", ...pair }),
    data(3, "hello"),
    control(6, word(1)),
    control(3, Buffer.concat([word(3), word(5)])),
    data(3, "", true),
  ]);
  await bombard(async () => {
    const client = spdy(server.getPortForward({ podId: "p", ports: [] }), "portforward.k8s.io");
    await client.head();
    return client;
  }, good);
  assert.match(await spdy(server.getExec(EXEC)).head(), / 101 /);
});

test("SPDY exec", async () => {
  const server = await started();
  const syn = opener();
  const opened: Buffer[] = [];
  for (const [i, streamtype] of ["error", "stdin", "stdout", "resize"].entries()) {
    opened.push(await syn(2 * i + 1, { streamtype }));
  }
  const good = Buffer.concat([
    ...opened,
    data(7, '{"Width":80,"Height":24}'),
    data(3, "hello"),
    data(3, "", true),
  ]);
  await bombard(async () => {
    const client = spdy(server.getExec({ ...EXEC, tty: true }));
    await client.head();
    return client;
  }, good);
  assert.match(await spdy(server.getExec(EXEC)).head(), / 101 /);
});

for (const protocol of ["v5.channel.k8s.io", "v4.base64.channel.k8s.io"]) {
  test(`WebSocket ${protocol}`, async () => {
    const server = await started();
    const mask = Buffer.from([1, 2, 3, 4]);
    const base64 = protocol.includes("base64");
    const payload = base64 ? Buffer.from("0aGVsbG8=") : Buffer.from("\0hello");
    const good = Buffer.concat([
      message(base64 ? 1 : 2, payload, true, mask),
      message(9, Buffer.from("p"), true, mask),
      message(2, Buffer.from('\x04{"Width":80,"Height":24}'), true, mask),
      message(2, Buffer.from([255, 0]), true, mask),
      message(8, Buffer.from([3, 232]), true, mask),
    ]);
    await bombard(async () => {
      const client = webSocket(server.getExec(EXEC), protocol);
      await client.head();
      return client;
    }, good);
    assert.match(await spdy(server.getExec(EXEC)).head(), / 101 /);
  });
}
