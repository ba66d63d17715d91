/**
 * SPDY/3.1 as client. Header blocks are written as stored blocks of the connection's zlib stream, and those of replies say
 * nothing that is needed: no compressor either way. No flow control, as everywhere in Kubernetes; backpressure is TCP's.
 */
import { Buffer } from "node:buffer";
import { canceled, type GantryError, unavailable } from "../../../core/errors.ts";
import { Budget, Inbox } from "../../../cri/streaming/inbox.ts";
import type { ByteSink } from "../../../cri/streaming/runtime.ts";
import { DICTIONARY_ADLER } from "../../../cri/streaming/spdy/dictionary.ts";
import * as f from "../../../cri/streaming/spdy/frames.ts";
import type { ByteTransport } from "../../../cri/streaming/transport.ts";
import { concatBytes } from "../../../lib/bytes.ts";
import { createDeferred, type Deferred } from "../../../lib/deferred.ts";

/** Data frames we send. Bytes. */
const MAX_DATA = 32 << 10;
/** Bytes received and not read before the connection is not read any more. */
const BUDGET = 1 << 20;
/** Longest control frame accepted. */
const MAX_CONTROL = 1 << 20;

/** A stream that we opened. */
export class ClientStream implements ByteSink {
  readonly id: number;
  /** What the server sends. */
  readonly inbox: Inbox;
  /** Resolves when the server accepted it. */
  readonly accepted: Deferred<void> = createDeferred<void>();
  readonly #transport: ByteTransport;
  #open = true;

  constructor(id: number, inbox: Inbox, transport: ByteTransport) {
    this.id = id;
    this.inbox = inbox;
    this.#transport = transport;
    this.accepted.promise.catch(() => {});
  }

  async write(chunk: Uint8Array): Promise<void> {
    for (let at = 0; at < chunk.length; at += MAX_DATA) {
      if (!this.#open) throw canceled(`write to stream ${this.id}: closed`);
      await this.#transport.write(f.dataFrame(this.id, chunk.subarray(at, at + MAX_DATA), false));
    }
  }

  /** Half-closes: nothing more comes from us. */
  async close(): Promise<void> {
    if (!this.#open) return;
    this.#open = false;
    await this.#transport.write(f.dataFrame(this.id, new Uint8Array(0), true)).catch(() => {});
  }

  /** The server wants no more of it, or is gone. */
  over(why: GantryError): void {
    this.#open = false;
    this.accepted.reject(why);
    this.inbox.end();
  }
}

/** One connection. */
export class SpdyClient {
  readonly #transport: ByteTransport;
  readonly #budget = new Budget(BUDGET);
  readonly #streams = new Map<number, ClientStream>();
  readonly #header = headerBlocks();
  #nextId = 1;
  /** Settles when the server closed, or broke the protocol. */
  readonly done: Promise<void>;

  constructor(transport: ByteTransport) {
    this.#transport = transport;
    this.done = this.#read().finally(() => {
      const gone = unavailable("streaming server: closed the connection");
      for (const stream of this.#streams.values()) stream.over(gone);
    });
    this.done.catch(() => transport.destroy());
  }

  /** Aborted when the connection is gone. */
  get signal(): AbortSignal {
    return this.#transport.signal;
  }

  /** Opens a stream; await its `accepted` before data matters. */
  async open(headers: Readonly<Record<string, string>>): Promise<ClientStream> {
    const id = this.#nextId;
    this.#nextId += 2;
    const stream = new ClientStream(id, new Inbox(this.#budget), this.#transport);
    this.#streams.set(id, stream);
    const start = concatBytes([f.word(id), f.word(0), Uint8Array.of(0, 0)]);
    await this.#transport.write(f.controlFrame(f.SYN_STREAM, 0, start, this.#header(headers)));
    return stream;
  }

  /** Both directions of a stream are of no use any more. */
  async reset(stream: ClientStream): Promise<void> {
    stream.inbox.discard();
    if (!this.#streams.delete(stream.id) || this.signal.aborted) return;
    await this.#transport
      .write(f.controlFrame(f.RST_STREAM, 0, f.word(stream.id), f.word(f.CANCEL)))
      .catch(() => {});
  }

  /** Forgets a stream that ended in both directions. */
  forget(stream: ClientStream): void {
    stream.inbox.discard();
    this.#streams.delete(stream.id);
  }

  /** Closes. What the server still sends is dropped. */
  async end(): Promise<void> {
    for (const stream of this.#streams.values()) stream.inbox.discard();
    await this.#transport.end();
  }

  destroy(): void {
    this.#transport.destroy();
  }

  async #read(): Promise<void> {
    let left = 0;
    let frame: f.FrameHeader | undefined;
    let pending: Uint8Array = new Uint8Array(0);
    let control: Uint8Array[] = [];
    for await (const chunk of this.#transport.read()) {
      let bytes = pending.length === 0 ? chunk : concatBytes([pending, chunk]);
      pending = new Uint8Array(0);
      while (bytes.length > 0 || (frame !== undefined && left === 0)) {
        if (frame === undefined) {
          if (bytes.length < f.HEADER_BYTES) {
            pending = bytes;
            break;
          }
          frame = f.parseFrameHeader(bytes.subarray(0, f.HEADER_BYTES));
          bytes = bytes.subarray(f.HEADER_BYTES);
          left = frame.length;
          control = [];
          if (frame.kind === "control" && left > MAX_CONTROL)
            throw unavailable(`streaming server: a control frame of ${left} bytes`);
        }
        const part = bytes.subarray(0, left);
        bytes = bytes.subarray(part.length);
        left -= part.length;
        if (frame.kind === "control") control.push(part);
        else if (part.length > 0) {
          this.#streams.get(frame.stream)?.inbox.push(part);
          await this.#budget.room();
        }
        if (left > 0) break;
        if (frame.kind === "control") await this.#control(frame.type, frame.flags, concatBytes(control));
        else if ((frame.flags & f.FLAG_FIN) !== 0) this.#streams.get(frame.stream)?.inbox.end();
        frame = undefined;
      }
    }
  }

  async #control(type: number, flags: number, payload: Uint8Array): Promise<void> {
    const id = payload.length >= 4 ? f.readId(payload) & 0x7fff_ffff : 0;
    const stream = this.#streams.get(id);
    switch (type) {
      case f.SYN_REPLY:
        stream?.accepted.resolve();
        if ((flags & f.FLAG_FIN) !== 0) stream?.inbox.end();
        return;
      case f.RST_STREAM:
        stream?.over(unavailable("streaming server: refused or reset a stream"));
        return;
      case f.PING:
        // ours would be odd
        if (id % 2 === 0) await this.#transport.write(f.controlFrame(f.PING, 0, payload));
        return;
      default:
        return;
    }
  }
}

/** Makes header blocks: a zlib stream of stored blocks, each followed by an empty one that readers wait for. */
function headerBlocks(): (headers: Readonly<Record<string, string>>) => Uint8Array {
  let first = true;
  return (headers) => {
    const pairs = Object.entries(headers);
    const parts: Uint8Array[] = [f.word(pairs.length)];
    for (const pair of pairs)
      for (const text of pair) parts.push(f.word(Buffer.byteLength(text)), Buffer.from(text, "latin1"));
    const block = concatBytes(parts);
    const zlib = first ? [Uint8Array.of(0x78, 0xbb), f.word(DICTIONARY_ADLER)] : [];
    first = false;
    const size = Uint8Array.of(
      0,
      block.length & 255,
      block.length >> 8,
      ~block.length & 255,
      (~block.length >> 8) & 255,
    );
    return concatBytes([...zlib, size, block, Uint8Array.of(0, 0, 0, 0xff, 0xff)]);
  };
}
