/** WebSocket over raw sockets: channel protocols, and clients that mean harm (S37). */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { afterEach, describe, test } from "node:test";
import {
  closeStarted,
  EXEC,
  message,
  messages,
  started,
  webSocket,
} from "../../../../test/fakes/streaming-client.ts";

afterEach(closeStarted);

describe("WebSocket", () => {
  test("the handshake's example of the RFC", async () => {
    const server = await started();
    const head = await webSocket(server.getExec(EXEC)).head();
    assert.match(head, /Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK\+xOo=/);
    assert.doesNotMatch(head, /Sec-WebSocket-Protocol/);
  });

  test("protocol 5: fragments, ping, closing the input, exit code, close frame", async () => {
    const server = await started();
    const client = webSocket(server.getExec({ ...EXEC, command: ["cat", "42"] }), "v5.channel.k8s.io");
    await client.head();
    const parts = [
      message(2, Buffer.from("\0ab"), false),
      message(9, Buffer.from("!")),
      message(0, Buffer.from("cd"), false),
      message(0, Buffer.alloc(0)),
      message(2, Buffer.from([0])),
      message(2, Buffer.from([4, ...Buffer.from('{"Width":80,"Height":24}\n')])),
      message(2, Buffer.from([255, 0])),
    ];
    for (const byte of Buffer.concat(parts)) client.socket.write(Uint8Array.of(byte));
    await client.end();
    const got = messages(client.received);
    assert.deepEqual(got[0], Buffer.from([1]));
    assert.equal(got.at(-1), "close 1000");
    const channel = (n: number): string =>
      Buffer.concat(
        got.filter((m) => typeof m !== "string" && m[0] === n).map((m) => Buffer.from(m.slice(1))),
      ).toString();
    assert.equal(channel(1), "abcd");
    assert.ok(got.some((m) => m.toString() === "!"));
    const status = JSON.parse(channel(3)) as { reason: string; details: unknown };
    assert.equal(status.reason, "NonZeroExitCode");
    assert.deepEqual(status.details, { causes: [{ reason: "ExitCode", message: "42" }] });
  });

  test("base64 messages, also in fragments; the client's close ends the input", async () => {
    const server = await started();
    const client = webSocket(server.getAttach(EXEC), "v4.base64.channel.k8s.io");
    await client.head();
    client.send(message(1, Buffer.from(`0${Buffer.from("hello ").toString("base64")}`)));
    const text = Buffer.from(`0${Buffer.from("world").toString("base64")}`);
    client.send(message(1, text.subarray(0, 3), false), message(0, text.subarray(3)));
    const heard = await client.until((all) => {
      const said = messages(all).map((m) => Buffer.from(m.toString().slice(1), "base64").toString());
      return said.join("") === "hello world" ? said.length : undefined;
    });
    assert.ok(heard !== undefined && heard >= 3);
    client.send(message(8, Buffer.from([3, 232])));
    await client.end();
    // Nothing follows our close frame.
    assert.equal(messages(client.received).at(-1), "close 1000");
  });

  test("port-forward: the port on both channels of each, then data", async () => {
    const server = await started();
    const client = webSocket(server.getPortForward({ podId: "p", ports: [80, 8080] }), "v4.channel.k8s.io");
    await client.head();
    client.send(message(2, Buffer.from("\x02b")), message(2, Buffer.from("\0a")));
    const all = await client.until((received) => {
      const got = messages(received).map((m) => m.toString("hex"));
      return got.length >= 8 ? got : undefined;
    });
    const hex = (channel: number, text: string): string =>
      Buffer.from([channel, ...Buffer.from(text)]).toString("hex");
    assert.deepEqual(all?.slice(0, 4), ["005000", "015000", "02901f", "03901f"]);
    assert.deepEqual(all?.slice(4).sort(), [hex(0, "80:"), hex(0, "a"), hex(2, "8080:"), hex(2, "b")].sort());
  });

  const hostile: Readonly<Record<string, [frame: Uint8Array, close: number]>> = {
    "frame of 2^63 bytes": [Buffer.from([0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]), 1009],
    "frame of 2^64 - 1 bytes": [Buffer.from([0x82, 0xff, ...Buffer.alloc(8, 255), 1, 2, 3, 4]), 1009],
    "frame of 1 GiB": [Buffer.from([0x82, 0xff, 0, 0, 0, 0, 0x40, 0, 0, 0, 1, 2, 3, 4]), 1009],
    "frame that is not masked": [Buffer.from([0x82, 1, 0]), 1002],
    "reserved bit": [Buffer.from([0xc2, 0x81, 0, 0, 0, 0, 0]), 1002],
    "unknown opcode": [Buffer.from([0x83, 0x80, 0, 0, 0, 0]), 1002],
    "ping of 200 bytes": [message(9, Buffer.alloc(200)), 1002],
    "continuation of nothing": [message(0, Buffer.from("x")), 1002],
    "message inside a message": [
      Buffer.concat([message(2, Buffer.from("\0a"), false), message(2, Buffer.from("\0a"))]),
      1002,
    ],
  };
  for (const [name, [frame, close]] of Object.entries(hostile)) {
    test(`${name}: closed with ${close}`, async () => {
      const server = await started();
      const client = webSocket(server.getExec(EXEC), "v5.channel.k8s.io");
      await client.head();
      client.send(frame);
      await client.end();
      assert.equal(messages(client.received).at(-1), `close ${close}`);
    });
  }

  for (const text of ["{}", '{"Width":-1,"Height":1}', '{"Width":1e99,"Height":1}', "}", "x".repeat(2000)]) {
    test(`terminal size ${text.slice(0, 30)}: dropped`, async () => {
      const server = await started();
      const client = webSocket(server.getExec({ ...EXEC, tty: true }), "v5.channel.k8s.io");
      await client.head();
      client.send(message(2, Buffer.from(`\x04${text}`)));
      await client.end();
    });
  }
});
