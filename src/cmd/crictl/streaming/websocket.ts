/** RFC 6455 as client: messages in and out over an upgraded connection. */
import { Buffer } from "node:buffer";
import { createHash, randomBytes } from "node:crypto";
import { type GantryError, unavailable } from "../../../core/errors.ts";
import type { ByteTransport } from "../../../cri/streaming/transport.ts";
import { SocketTransport } from "../../../cri/streaming/transport.ts";
import * as ws from "../../../cri/streaming/websocket/frames.ts";
import { concatBytes } from "../../../lib/bytes.ts";
import { type StreamingTls, UpgradeRefused, upgrade } from "./upgrade.ts";

/** Limits of our end of a connection. */
export const LIMITS = { outboundBytes: 256 << 10, idleMs: 2 ** 30, lingerMs: 500 } as const;
const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const MAX_MESSAGE = 32 << 20;

/** An open WebSocket and the protocol that the server chose. */
export interface WebSocketClient {
  readonly protocol: string;
  readonly transport: ByteTransport;
  /** Messages, whole, until the server closes. Call once. */
  messages(): AsyncGenerator<Uint8Array, void, undefined>;
  /** Sends a binary message. */
  send(...parts: readonly Uint8Array[]): Promise<void>;
  /** Says goodbye and closes. */
  end(): Promise<void>;
}

/** @throws UpgradeRefused, unavailable */
export async function openWebSocket(
  url: URL,
  protocols: readonly string[],
  tls: StreamingTls,
): Promise<WebSocketClient> {
  const key = randomBytes(16).toString("base64");
  const { socket, head, headers } = await upgrade(
    url,
    "GET",
    [
      ["Connection", "Upgrade"],
      ["Upgrade", "websocket"],
      ["Sec-WebSocket-Version", "13"],
      ["Sec-WebSocket-Key", key],
      ["Sec-WebSocket-Protocol", protocols.join(", ")],
      // servers of Go's older library insist on one
      ["Origin", url.origin],
    ],
    tls,
  );
  const want = createHash("sha1")
    .update(key + GUID)
    .digest("base64");
  if (headers.get("sec-websocket-accept") !== want) {
    socket.destroy();
    throw new UpgradeRefused(101, "streaming server: its answer does not fit our WebSocket key");
  }
  const transport = new SocketTransport(socket, head, LIMITS);
  return {
    protocol: headers.get("sec-websocket-protocol") ?? "",
    transport,
    messages: () => messages(transport),
    send: (...parts) => transport.write(frame(ws.BINARY, concatBytes(parts))),
    async end() {
      await transport.reply(frame(ws.CLOSE, Uint8Array.of(1000 >> 8, 1000 & 255))).catch(() => {});
      await transport.end();
    },
  };
}

/** A client's frame: masked. The payload is changed. */
function frame(opcode: number, payload: Uint8Array): Uint8Array {
  const extra = payload.length < 126 ? 0 : payload.length < 65_536 ? 2 : 8;
  const head = Buffer.alloc(2 + extra + 4);
  head.writeUInt8(0x80 | opcode, 0);
  head.writeUInt8(0x80 | (extra === 0 ? payload.length : extra === 2 ? 126 : 127), 1);
  if (extra === 2) head.writeUInt16BE(payload.length, 2);
  if (extra === 8) head.writeBigUInt64BE(BigInt(payload.length), 2);
  const mask = randomBytes(4);
  head.set(mask, 2 + extra);
  ws.unmask(payload, mask, 0);
  return concatBytes([head, payload]);
}

async function* messages(transport: ByteTransport): AsyncGenerator<Uint8Array, void, undefined> {
  let bytes: Uint8Array = new Uint8Array(0);
  let parts: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of transport.read()) {
    bytes = bytes.length === 0 ? chunk : concatBytes([bytes, chunk]);
    for (;;) {
      const found = nextFrame(bytes);
      if (found === undefined) break;
      const { opcode, fin, payload } = found;
      bytes = bytes.subarray(found.length);
      if (opcode === ws.CLOSE) {
        await transport.reply(frame(ws.CLOSE, payload.slice(0, 2))).catch(() => {});
        return;
      }
      if (opcode === ws.PING) await transport.reply(frame(ws.PONG, payload.slice())).catch(() => {});
      if (opcode > ws.BINARY) continue;
      parts.push(payload);
      size += payload.length;
      if (size > MAX_MESSAGE) throw tooBig();
      if (!fin) continue;
      yield concatBytes(parts);
      parts = [];
      size = 0;
    }
  }
}

function nextFrame(
  bytes: Uint8Array,
): { opcode: number; fin: boolean; payload: Uint8Array; length: number } | undefined {
  const second = bytes[1];
  if (second === undefined) return undefined;
  const header = ws.headerLength(second);
  if (bytes.length < header) return undefined;
  const start = ws.parseFrameStart(bytes.subarray(0, header));
  if (start.length > MAX_MESSAGE) throw tooBig();
  if (bytes.length < header + start.length) return undefined;
  const payload = bytes.slice(header, header + start.length);
  if (start.mask !== undefined) ws.unmask(payload, start.mask, 0);
  return { opcode: start.opcode, fin: start.fin, payload, length: header + start.length };
}

const tooBig = (): GantryError =>
  unavailable(`streaming server: a message of more than ${MAX_MESSAGE} bytes`);
