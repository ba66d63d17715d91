/** Raw clients of the streaming server for its unit tests: SPDY and WebSocket frames by hand, also wrong ones. */
import { Buffer } from "node:buffer";
import { randomBytes } from "node:crypto";
import { connect, type Socket } from "node:net";
import { constants, createDeflate } from "node:zlib";
import type { ExecRequest, StdioStreams, StreamingRuntime } from "../../src/cri/streaming/runtime.ts";
import {
  createStreamingServer,
  type StreamingServer,
  type StreamingServerOptions,
} from "../../src/cri/streaming/server.ts";
import { spdyDictionary } from "../../src/cri/streaming/spdy/dictionary.ts";
import { createDeferred } from "../../src/lib/deferred.ts";

export const EXEC: ExecRequest = {
  containerId: "c1",
  command: ["cat"],
  tty: false,
  stdin: true,
  stdout: true,
  stderr: false,
};

/** exec and attach echo their input; the exit code is the first argument. Forwards answer with their port. */
export const echo: StreamingRuntime = {
  async exec(request, streams) {
    await cat(streams);
    return Number(request.command[1] ?? 0);
  },
  attach: (_request, streams) => cat(streams),
  async portForward(_podId, port, { source, sink }) {
    await sink.write(Buffer.from(`${port}:`));
    for await (const chunk of source) await sink.write(chunk);
  },
};

export async function cat(streams: StdioStreams): Promise<void> {
  for await (const chunk of streams.stdin ?? []) await streams.stdout?.write(chunk);
}

const open: StreamingServer[] = [];
/** Closes the servers that {@link started} made: for `afterEach`. */
export async function closeStarted(): Promise<void> {
  for (const server of open.splice(0)) await server.close();
}

export async function started(
  runtime: StreamingRuntime = echo,
  options: StreamingServerOptions = {},
): Promise<StreamingServer> {
  const server = createStreamingServer(runtime, options);
  open.push(server);
  await server.listen();
  return server;
}

/** A connection of which everything is read. */
export class Client {
  readonly socket: Socket;
  received = Buffer.alloc(0);
  closed = false;
  #wake = createDeferred<void>();

  constructor(url: URL) {
    this.socket = connect(Number(url.port), url.hostname);
    this.socket.on("data", (chunk: Uint8Array) => {
      this.received = Buffer.concat([this.received, chunk]);
      this.#next();
    });
    this.socket.on("error", () => {});
    this.socket.on("end", () => this.#over());
    this.socket.on("close", () => this.#over());
  }

  send(...parts: readonly (string | Uint8Array)[]): void {
    for (const part of parts) this.socket.write(typeof part === "string" ? Buffer.from(part) : part);
  }

  /** Waits until `found` gives something for what was received, or the end. */
  async until<T>(found: (received: Buffer) => T | undefined): Promise<T | undefined> {
    for (;;) {
      const value = found(this.received);
      if (value !== undefined || this.closed) return value;
      await this.#wake.promise;
    }
  }

  /** The answer's head; what follows stays in `received`. */
  async head(): Promise<string> {
    const end = await this.until((all) => {
      const at = all.indexOf("\r\n\r\n");
      return at < 0 ? undefined : at + 4;
    });
    const text = this.received.toString("latin1", 0, end);
    this.received = this.received.subarray(end);
    return text;
  }

  async end(): Promise<void> {
    await this.until(() => undefined);
  }

  #next(): void {
    this.#wake.resolve();
    this.#wake = createDeferred<void>();
  }

  #over(): void {
    this.closed = true;
    this.#next();
  }
}

/** Sends an upgrade request; `lines` are headers. */
export function request(url: string, method: string, ...lines: readonly string[]): Client {
  const parsed = new URL(url);
  const client = new Client(parsed);
  client.send(
    [`${method} ${parsed.pathname} HTTP/1.1`, `Host: ${parsed.host}`, ...lines, "", ""].join("\r\n"),
  );
  return client;
}

export const spdy = (url: string, protocol = "v4.channel.k8s.io"): Client =>
  request(url, "POST", "Connection: Upgrade", "Upgrade: SPDY/3.1", `X-Stream-Protocol-Version: ${protocol}`);

export const webSocket = (url: string, protocol?: string): Client =>
  request(
    url,
    "GET",
    "Connection: keep-alive, Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ...(protocol === undefined ? [] : [`Sec-WebSocket-Protocol: ${protocol}`]),
  );

/** A SPDY control frame. */
export function control(type: number, payload: Uint8Array, length = payload.length): Buffer {
  const header = Buffer.alloc(8);
  header.writeUInt16BE(0x8003, 0);
  header.writeUInt16BE(type, 2);
  header.writeUIntBE(length, 5, 3);
  return Buffer.concat([header, payload]);
}

export function data(stream: number, text: string | Uint8Array, fin = false): Buffer {
  const payload = Buffer.from(text);
  const header = Buffer.alloc(8);
  header.writeUInt32BE(stream, 0);
  header.writeUInt8(fin ? 1 : 0, 4);
  header.writeUIntBE(payload.length, 5, 3);
  return Buffer.concat([header, payload]);
}

/** Makes SYN_STREAM frames with one compressor, as a client does. */
export function opener(): (id: number, headers: Readonly<Record<string, string>>) => Promise<Buffer> {
  const deflate = createDeflate({ dictionary: spdyDictionary() });
  let parts: Buffer[] = [];
  deflate.on("data", (part: Buffer) => parts.push(part));
  return async (id, headers) => {
    parts = [];
    const done = createDeferred<void>();
    deflate.write(headerBlock(headers));
    deflate.flush(constants.Z_SYNC_FLUSH, () => setImmediate(() => done.resolve()));
    await done.promise;
    const start = Buffer.alloc(10);
    start.writeUInt32BE(id, 0);
    return control(1, Buffer.concat([start, ...parts]));
  };
}

function headerBlock(headers: Readonly<Record<string, string>>): Buffer {
  const parts = [word(Object.keys(headers).length)];
  for (const pair of Object.entries(headers)) {
    for (const text of pair) parts.push(word(text.length), Buffer.from(text));
  }
  return Buffer.concat(parts);
}

export function word(n: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(n);
  return bytes;
}

export interface Frame {
  /** Type of a control frame; 0 is data. */
  readonly type: number;
  readonly stream: number;
  readonly fin: boolean;
  readonly payload: Buffer;
}

/** Whole frames of what was received. */
export function frames(all: Buffer): Frame[] {
  const found: Frame[] = [];
  for (let at = 0; at + 8 <= all.length; ) {
    const length = all.readUIntBE(at + 5, 3);
    const payload = all.subarray(at + 8, at + 8 + length);
    const first = all.readUInt32BE(at);
    const isData = first < 0x8000_0000;
    const stream = isData ? first : payload.length >= 4 ? payload.readUInt32BE(0) : 0;
    found.push({ type: isData ? 0 : first & 0xffff, stream, fin: all[at + 4] === 1, payload });
    at += 8 + length;
  }
  return found;
}

/** A client's WebSocket frame. */
export function message(opcode: number, payload: Uint8Array, fin = true, mask = randomBytes(4)): Buffer {
  const size = payload.length;
  const header = size < 126 ? Buffer.from([0, size]) : Buffer.from([0, 126, size >> 8, size & 255]);
  header[0] = (fin ? 0x80 : 0) | opcode;
  header[1] = (header[1] ?? 0) | 0x80;
  return Buffer.concat([header, mask, payload.map((byte, i) => byte ^ (mask[i % 4] ?? 0))]);
}

/** Payloads of the server's messages; [code] of a close frame comes as text. */
export function messages(all: Buffer): (Buffer | string)[] {
  const found: (Buffer | string)[] = [];
  for (let at = 0; at + 2 <= all.length; ) {
    let size = all.readUInt8(at + 1);
    let start = at + 2;
    if (size === 126) {
      size = all.readUInt16BE(at + 2);
      start = at + 4;
    }
    const payload = all.subarray(start, start + size);
    found.push((all[at] ?? 0) % 16 === 8 ? `close ${payload.readUInt16BE(0)}` : payload);
    at = start + size;
  }
  return found;
}
