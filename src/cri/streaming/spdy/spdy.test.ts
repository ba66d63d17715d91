/** SPDY over raw sockets: its less common forms, and clients that mean harm (S37). */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { randomBytes } from "node:crypto";
import type { Socket } from "node:net";
import { afterEach, describe, test } from "node:test";
import { deflateSync } from "node:zlib";
import {
  cat,
  closeStarted,
  control,
  data,
  EXEC,
  echo,
  frames,
  opener,
  spdy,
  started,
  word,
} from "../../../../test/fakes/streaming-client.ts";
import { createDeferred } from "../../../lib/deferred.ts";
import { DICTIONARY_ADLER, spdyDictionary } from "./dictionary.ts";

afterEach(closeStarted);

/** Resident memory grown by `work`, in MiB. */
async function grown(work: () => Promise<void>): Promise<number> {
  const before = process.memoryUsage.rss();
  await work();
  return (process.memoryUsage.rss() - before) / 2 ** 20;
}

describe("SPDY", () => {
  test("the dictionary is the standard's", () => {
    const dictionary = spdyDictionary();
    assert.equal(dictionary.length, 1423);
    let [a, b] = [1, 0];
    for (const byte of dictionary) {
      a = (a + byte) % 65_521;
      b = (b + a) % 65_521;
    }
    assert.equal(b * 65_536 + a, DICTIONARY_ADLER);
  });

  test("exec over protocol 1: no status on success, frames split anywhere, ping echoed", async () => {
    const server = await started();
    const client = spdy(server.getExec(EXEC), "channel.k8s.io");
    await client.head();
    const syn = opener();
    const all = Buffer.concat([
      control(6, word(7)),
      await syn(1, { streamtype: "error" }),
      await syn(3, { streamtype: "stdin" }),
      await syn(5, { streamtype: "stdout" }),
      data(3, "hel"),
      data(3, "lo", true),
    ]);
    for (const byte of all) client.socket.write(Uint8Array.of(byte));
    await client.end();
    const got = frames(client.received);
    assert.deepEqual(got[0]?.payload, word(7));
    assert.deepEqual(
      got.filter((frame) => frame.type === 2).map((frame) => frame.stream),
      [1, 3, 5],
    );
    const text = got.filter((frame) => frame.type === 0 && frame.stream === 5).map((frame) => frame.payload);
    assert.equal(Buffer.concat(text).toString(), "hello");
    assert.deepEqual(
      got.filter((frame) => frame.type === 0 && frame.stream === 1).map((frame) => frame.payload.length),
      [0],
    );
    assert.equal(got.at(-1)?.type, 7);
  });

  test("port-forward without request ids, and a reset drops one connection only", async () => {
    const dropped = createDeferred<void>();
    const server = await started({
      ...echo,
      async portForward(_podId, port, connection) {
        if (port === 80) return echo.portForward("p", port, connection);
        connection.signal.addEventListener("abort", () => dropped.resolve());
        await dropped.promise;
      },
    });
    const client = spdy(server.getPortForward({ podId: "p", ports: [] }), "portforward.k8s.io");
    await client.head();
    const syn = opener();
    client.send(
      await syn(1, { streamtype: "error", port: "81" }),
      await syn(3, { streamtype: "data", port: "81" }),
    );
    client.send(
      await syn(5, { streamtype: "error", port: "80" }),
      await syn(7, { streamtype: "data", port: "80" }),
    );
    client.send(control(3, Buffer.concat([word(3), word(5)])));
    await dropped.promise;
    client.send(data(7, "x", true));
    const text = await client.until((all) => {
      const payloads = frames(all).filter((frame) => frame.type === 0 && frame.stream === 7);
      return payloads.at(-1)?.fin
        ? Buffer.concat(payloads.map((frame) => frame.payload)).toString()
        : undefined;
    });
    assert.equal(text, "80:x");
  });

  test("a client that opens too few streams is dropped", async () => {
    const server = await started(echo, { limits: { streamCreationMs: 30 } });
    const client = spdy(server.getExec(EXEC));
    await client.head();
    client.send(await opener()(1, { streamtype: "error" }));
    await client.end();
  });

  test("a slow client gets all that a command said before it ended", async () => {
    const size = 16 << 20;
    const server = await started(
      {
        ...echo,
        async exec(_request, streams) {
          await streams.stdout?.write(Buffer.alloc(size, "x"));
          return 0;
        },
      },
      { limits: { lingerMs: 20, outboundBytes: 32 << 20 } },
    );
    const client = spdy(server.getExec({ ...EXEC, stdin: false }));
    await client.head();
    const syn = opener();
    client.send(await syn(1, { streamtype: "error" }), await syn(3, { streamtype: "stdout" }));
    client.socket.pause();
    await settled();
    client.socket.resume();
    await client.end();
    const got = frames(client.received).filter((frame) => frame.type === 0 && frame.stream === 3);
    assert.equal(
      got.reduce((sum, frame) => sum + frame.payload.length, 0),
      size,
    );
    assert.equal(frames(client.received).at(-1)?.type, 7);
  });

  test("an idle connection is dropped", async () => {
    const server = await started(echo, { limits: { idleMs: 40 } });
    const client = spdy(server.getPortForward({ podId: "p", ports: [] }), "portforward.k8s.io");
    await client.head();
    await client.end();
  });

  test("a client that leaves aborts the session", async () => {
    const aborted = createDeferred<boolean>();
    const server = await started({
      ...echo,
      async exec(_request, streams) {
        await cat(streams);
        aborted.resolve(streams.signal.aborted);
        await assert.rejects(async () => streams.stdout?.write(Buffer.alloc(1)));
        return 0;
      },
    });
    const client = spdy(server.getExec(EXEC));
    await client.head();
    const syn = opener();
    for (const [i, streamtype] of ["error", "stdin", "stdout"].entries())
      client.send(await syn(2 * i + 1, { streamtype }));
    await client.until((all) => (frames(all).length >= 3 ? true : undefined));
    client.socket.destroy();
    assert.equal(await aborted.promise, true);
  });

  const huge = Buffer.alloc(65_536);
  const hostile: Readonly<Record<string, () => Promise<Buffer> | Buffer>> = {
    "control frame of 16 MiB": () => control(1, Buffer.alloc(1000), 0xff_ffff),
    "header block that inflates to 8 MiB": () =>
      control(
        1,
        Buffer.concat([
          word(1),
          Buffer.alloc(6),
          deflateSync(Buffer.alloc(8 << 20), { dictionary: spdyDictionary() }),
        ]),
      ),
    "header block that is no zlib": () =>
      control(1, Buffer.concat([word(1), Buffer.alloc(6), randomBytes(64)])),
    "header length of 4 GiB": async () => {
      const block = deflateSync(Buffer.concat([word(1), word(0xffff_ffff)]), {
        dictionary: spdyDictionary(),
      });
      return control(1, Buffer.concat([word(1), Buffer.alloc(6), block]));
    },
    "even stream id": () => opener()(2, { streamtype: "error" }),
    "stream id used again": async () => {
      const syn = opener();
      return Buffer.concat([await syn(1, { streamtype: "error" }), await syn(1, { streamtype: "stdin" })]);
    },
    "data for no stream": () => data(9, huge),
    "SPDY version 2": () => Buffer.from([0x80, 2, 0, 1, 0, 0, 0, 0]),
    "short RST_STREAM": () => control(3, word(1)),
    "reply to nothing": () => control(2, word(1)),
    "ping of 16 KiB": () => control(6, Buffer.alloc(16_000)),
  };
  for (const [name, make] of Object.entries(hostile)) {
    test(`${name}: dropped`, async () => {
      const server = await started();
      const client = spdy(server.getPortForward({ podId: "p", ports: [] }), "portforward.k8s.io");
      await client.head();
      client.send(await make());
      await client.end();
      const other = spdy(server.getExec(EXEC));
      assert.match(await other.head(), / 101 /);
    });
  }

  test("10^4 streams: refused beyond the limit, then dropped; memory bounded", async () => {
    let most = 0;
    let now = 0;
    const hold = createDeferred<void>();
    const server = await started(
      {
        ...echo,
        async portForward() {
          most = Math.max(most, ++now);
          await hold.promise;
          now--;
        },
      },
      { limits: { streams: 100, refusals: 200 } },
    );
    const client = spdy(server.getPortForward({ podId: "p", ports: [] }), "portforward.k8s.io");
    await client.head();
    const syn = opener();
    const grew = await grown(async () => {
      for (let i = 0; i < 5000 && !client.closed; i++) {
        const requestid = `${i}`;
        // Opened and reset at once: the rapid reset. The runtime has not let go, so it still counts.
        client.send(await syn(4 * i + 1, { streamtype: "error", port: "80", requestid }));
        client.send(await syn(4 * i + 3, { streamtype: "data", port: "80", requestid }));
        client.send(control(3, Buffer.concat([word(4 * i + 3), word(5)])));
      }
      // The session ends when the runtime let go.
      hold.resolve();
      await client.end();
    });
    assert.equal(most, 50);
    assert.ok(grew < 64, `${grew} MiB`);
  });

  test("input that nobody reads stops at the limit", async () => {
    const done = createDeferred<void>();
    const server = await started({
      ...echo,
      async exec(_request, streams) {
        await done.promise;
        let bytes = 0;
        for await (const chunk of streams.stdin ?? []) bytes += chunk.length;
        return bytes === 64 << 20 ? 0 : 1;
      },
    });
    const client = spdy(server.getExec(EXEC));
    await client.head();
    const syn = opener();
    for (const [i, streamtype] of ["error", "stdin", "stdout"].entries())
      client.send(await syn(2 * i + 1, { streamtype }));
    let written = 0;
    let blocked = false;
    while (!blocked) {
      assert.ok(written < 1024, "64 MiB were taken in");
      const room = client.socket.write(data(3, huge));
      written++;
      if (!room) blocked = !(await Promise.race([once(client.socket, "drain"), settled()]));
    }
    done.resolve();
    for (; written < 1024; written++) {
      if (!client.socket.write(data(3, huge))) await once(client.socket, "drain");
    }
    client.send(data(3, "", true));
    await client.end();
    const status = frames(client.received).filter((frame) => frame.type === 0 && frame.stream === 1);
    assert.match(status[0]?.payload.toString() ?? "", /"Success"/);
  });
});

async function once(socket: Socket, event: string): Promise<true> {
  await new Promise<void>((resolve) => socket.once(event, () => resolve()));
  return true;
}

/** Resolves when nothing moved for a while: what is blocked stays so. */
async function settled(): Promise<false> {
  await new Promise((resolve) => setTimeout(resolve, 200));
  return false;
}
