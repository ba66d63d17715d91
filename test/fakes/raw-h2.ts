/** A raw HTTP/2 peer for hostile tests: writes any bytes, parses what comes back, keeps no rules. */
import { Buffer } from "node:buffer";
import { connect, type Socket } from "node:net";
import { createDeferred, type Deferred } from "../../src/lib/deferred.ts";
import { PREFACE } from "../../src/rpc/http2/frames.ts";
import { type HeaderField, HpackDecoder } from "../../src/rpc/http2/hpack-decoder.ts";
import { hpackEncode } from "../../src/rpc/http2/hpack-encoder.ts";

export interface RawFrame {
  readonly type: number;
  readonly flags: number;
  readonly id: number;
  readonly payload: Buffer;
  /** Of HEADERS. */
  readonly fields: readonly HeaderField[];
}

/** One frame as bytes; the length field can be forged. */
export function raw(
  type: number,
  flags: number,
  id: number,
  payload: Uint8Array = Buffer.alloc(0),
  length = payload.length,
): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(id, 5);
  return Buffer.concat([head, payload]);
}

/** 32-bit numbers as bytes. */
export function u32s(...values: number[]): Buffer {
  const b = Buffer.alloc(4 * values.length);
  values.forEach((value, i) => {
    b.writeUInt32BE(value, 4 * i);
  });
  return b;
}

/** One SETTINGS entry. */
export function setting(id: number, value: number): Buffer {
  const b = Buffer.alloc(6);
  b.writeUInt16BE(id, 0);
  b.writeUInt32BE(value, 2);
  return b;
}

/** Header block of a gRPC request, with changes (undefined removes). */
export function requestBlock(path: string, change: Record<string, string | undefined> = {}): Buffer {
  const fields: Record<string, string | undefined> = {
    ":method": "POST",
    ":scheme": "http",
    ":path": path,
    ":authority": "localhost",
    "content-type": "application/grpc",
    te: "trailers",
    ...change,
  };
  return hpackEncode(Object.entries(fields).filter((e): e is [string, string] => e[1] !== undefined));
}

/** A gRPC message around bytes. */
export function grpcMessage(bytes: Uint8Array, flag = 0, length = bytes.length): Buffer {
  const head = Buffer.alloc(5);
  head[0] = flag;
  head.writeUInt32BE(length, 1);
  return Buffer.concat([head, bytes]);
}

/** A raw connection. */
export class RawH2 {
  readonly socket: Socket;
  readonly frames: RawFrame[] = [];
  readonly #decoder = new HpackDecoder(1 << 20);
  #buffer: Buffer = Buffer.alloc(0);
  #skip = 0;
  #closed = false;
  #waiter: Deferred<void> | undefined;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on("data", (chunk: Buffer) => {
      this.#buffer = Buffer.concat([this.#buffer, chunk]);
      this.#parse();
    });
    socket.on("error", () => {});
    socket.on("close", () => {
      this.#closed = true;
      this.#waiter?.resolve();
    });
  }

  /** Connects; with `hello` sends preface and empty SETTINGS. */
  static async connect(path: string, hello = true): Promise<RawH2> {
    const socket = connect({ path });
    await new Promise<void>((resolve, reject) => {
      socket.once("connect", () => resolve());
      socket.once("error", reject);
    });
    const peer = new RawH2(socket);
    if (hello) peer.send(PREFACE, raw(4, 0, 0));
    return peer;
  }

  send(...parts: Uint8Array[]): void {
    if (!this.socket.destroyed) this.socket.write(Buffer.concat(parts));
  }

  /** Drops the first bytes: a client's preface. */
  skip(bytes: number): void {
    this.#skip = bytes;
  }

  #parse(): void {
    const dropped = Math.min(this.#skip, this.#buffer.length);
    this.#skip -= dropped;
    this.#buffer = this.#buffer.subarray(dropped);
    while (this.#buffer.length >= 9) {
      const length = this.#buffer.readUIntBE(0, 3);
      if (this.#buffer.length < 9 + length) break;
      const type = this.#buffer[3] as number;
      const payload = Buffer.from(this.#buffer.subarray(9, 9 + length));
      this.frames.push({
        type,
        flags: this.#buffer[4] as number,
        id: this.#buffer.readUInt32BE(5),
        payload,
        fields: type === 1 ? this.#decoder.decode(payload) : [],
      });
      this.#buffer = this.#buffer.subarray(9 + length);
    }
    this.#waiter?.resolve();
  }

  /** The first frame that fits, now or later; removes what came before. Undefined when the connection ended first. */
  async next(fits: (frame: RawFrame) => boolean): Promise<RawFrame | undefined> {
    for (;;) {
      for (let frame = this.frames.shift(); frame !== undefined; frame = this.frames.shift())
        if (fits(frame)) return frame;
      if (this.#closed) return undefined;
      this.#waiter = createDeferred<void>();
      await this.#waiter.promise;
    }
  }

  /** Code of the server's GOAWAY. */
  async goaway(): Promise<number | undefined> {
    return (await this.next((f) => f.type === 7))?.payload.readUInt32BE(4);
  }

  /** Code of RST_STREAM for a stream. */
  async reset(id: number): Promise<number | undefined> {
    return (await this.next((f) => f.type === 3 && f.id === id))?.payload.readUInt32BE(0);
  }

  /** A header field of the trailers (or of a trailers-only answer) of a stream. */
  async trailer(id: number, name = "grpc-status"): Promise<string | undefined> {
    const frame = await this.next((f) => f.type === 1 && f.id === id && (f.flags & 1) !== 0);
    return frame?.fields.find((field) => field.name === name)?.value;
  }

  /** Resolves when everything sent before was processed: a PING came back. */
  async sync(): Promise<void> {
    this.send(raw(6, 0, 0, Buffer.from("sync-syn")));
    await this.next((f) => f.type === 6 && (f.flags & 1) === 1);
  }

  async closed(): Promise<void> {
    await this.next(() => false);
  }
}
