import { Buffer } from "node:buffer";
import { canceled, type GantryError, invalidArgument, resourceExhausted } from "../../../core/errors.ts";
import { Budget, Inbox } from "../inbox.ts";
import type { StreamingLimits } from "../limits.ts";
import type { ByteSink, ByteSource } from "../runtime.ts";
import type { ByteTransport } from "../transport.ts";
import * as f from "./frames.ts";
import { createReplyBlocks, HeaderInflater, type SpdyHeaders } from "./headers.ts";

/** Data frames we send; smaller ones let streams take turns. Bytes. */
const MAX_DATA = 64 << 10;

/** One stream opened by the client: a source, a sink, and the headers it was opened with. */
export class SpdyStream implements ByteSink {
  readonly id: number;
  readonly headers: SpdyHeaders;
  readonly inbox: Inbox;
  readonly #transport: ByteTransport;
  readonly #reset = new AbortController();
  #open = true;

  constructor(id: number, headers: SpdyHeaders, inbox: Inbox, transport: ByteTransport) {
    this.id = id;
    this.headers = headers;
    this.inbox = inbox;
    this.#transport = transport;
  }

  /** What the client sends on this stream. */
  get source(): ByteSource {
    return this.inbox;
  }

  /** Aborted when the client reset the stream (the connection may go on) or is gone. */
  get signal(): AbortSignal {
    return this.#reset.signal;
  }

  async write(chunk: Uint8Array): Promise<void> {
    for (let at = 0; at < chunk.length; at += MAX_DATA) {
      if (!this.#open) throw canceled(`write to stream ${this.id}: closed`);
      await this.#transport.write(f.dataFrame(this.id, chunk.subarray(at, at + MAX_DATA), false));
    }
  }

  async close(): Promise<void> {
    if (!this.#open) return;
    this.#open = false;
    await this.#transport.write(f.dataFrame(this.id, new Uint8Array(0), true)).catch(() => {});
  }

  /** The client wants no more of this stream. */
  wasReset(): void {
    this.inbox.discard();
    this.left();
  }

  /** The client is gone; what it sent may still be read. */
  left(): void {
    this.#open = false;
    this.inbox.end();
    this.#reset.abort();
  }
}

/** What the owner of a connection does with a new stream. */
export interface SpdyHandler {
  /** @returns false to refuse the stream */
  opened(stream: SpdyStream): boolean;
}

/**
 * The server's side of one SPDY/3.1 connection. There is no flow control: Go's clients send no WINDOW_UPDATE. Backpressure is
 * TCP's: when the streams hold more than the connection's budget, nothing more is read.
 *
 *     client  SYN_STREAM --> SYN_REPLY   server opens nothing
 *             DATA      <-->  DATA       FIN ends one direction
 *             RST_STREAM -->             both directions of a stream are over
 *             PING       --> PING        echoed
 *             SETTINGS, WINDOW_UPDATE, GOAWAY, SYN_REPLY: not acted on
 */
export class SpdyConnection {
  readonly #transport: ByteTransport;
  readonly #handler: SpdyHandler;
  readonly #limits: StreamingLimits;
  readonly #budget: Budget;
  readonly #inflater: HeaderInflater;
  readonly #replyBlock = createReplyBlocks();
  readonly #streams = new Map<number, SpdyStream>();
  #lastId = 0;
  #refused = 0;

  constructor(transport: ByteTransport, handler: SpdyHandler, limits: StreamingLimits) {
    this.#transport = transport;
    this.#handler = handler;
    this.#limits = limits;
    this.#budget = new Budget(limits.inboundBytes);
    this.#inflater = new HeaderInflater(limits.headerBytes);
    // The reader may be waiting for room, and would never see the end.
    transport.signal.addEventListener("abort", () => this.#left(), { once: true });
  }

  /** Streams held: open ones, and reset ones that their owner has not let go of. */
  get streams(): number {
    return this.#streams.size;
  }

  /**
   * Reads frames until the client closes.
   * @throws GantryError when the client breaks the protocol or a limit; the caller drops the connection
   */
  async run(): Promise<void> {
    try {
      await this.#read();
    } finally {
      this.#inflater.close();
      this.#left();
    }
  }

  /** The owner is done with a stream; what still arrives for it is dropped. */
  forget(stream: SpdyStream): void {
    stream.inbox.discard();
    this.#streams.delete(stream.id);
  }

  /** Resets a stream that is of no use. */
  async refuse(stream: SpdyStream, status: number = f.REFUSED_STREAM): Promise<void> {
    this.forget(stream);
    await this.#reset(stream.id, status);
  }

  /** Sends GOAWAY and what is queued, and closes. */
  async end(): Promise<void> {
    for (const stream of this.#streams.values()) stream.inbox.discard();
    await this.#transport.reply(f.controlFrame(f.GOAWAY, 0, f.word(this.#lastId), f.word(0))).catch(() => {});
    await this.#transport.end();
  }

  #left(): void {
    for (const stream of this.#streams.values()) stream.left();
  }

  async #read(): Promise<void> {
    const header = new Uint8Array(f.HEADER_BYTES);
    let headerBytes = 0;
    let frame: f.FrameHeader | undefined;
    let left = 0;
    let control: Uint8Array[] = [];
    for await (const chunk of this.#transport.read()) {
      for (let at = 0; at < chunk.length; ) {
        if (frame === undefined) {
          const part = chunk.subarray(at, at + f.HEADER_BYTES - headerBytes);
          header.set(part, headerBytes);
          headerBytes += part.length;
          at += part.length;
          if (headerBytes < f.HEADER_BYTES) break;
          headerBytes = 0;
          frame = f.parseFrameHeader(header);
          left = frame.length;
          control = [];
          this.#check(frame);
        } else {
          const part = chunk.subarray(at, at + left);
          at += part.length;
          left -= part.length;
          if (frame.kind === "control") control.push(part.slice());
          else {
            this.#streams.get(frame.stream)?.inbox.push(part);
            await this.#budget.room();
          }
        }
        if (left > 0) continue;
        if (frame.kind === "control") await this.#control(frame.type, frame.flags, Buffer.concat(control));
        else if ((frame.flags & f.FLAG_FIN) !== 0) this.#streams.get(frame.stream)?.inbox.end();
        frame = undefined;
      }
    }
  }

  /** Refuses a frame before its payload is read. */
  #check(frame: f.FrameHeader): void {
    if (frame.kind === "data") {
      if (frame.stream > this.#lastId)
        throw broken(`data for stream ${frame.stream}, which was never opened`);
    } else if (!f.isSupportedVersion(frame.version)) throw broken(`version ${frame.version}`);
    else if (frame.length > this.#limits.controlFrameBytes) {
      throw resourceExhausted(
        `read spdy frame: ${frame.length} bytes, at most ${this.#limits.controlFrameBytes}`,
      );
    }
  }

  async #control(type: number, flags: number, payload: Uint8Array): Promise<void> {
    switch (type) {
      case f.SYN_STREAM:
        if (payload.length < 10) throw broken("SYN_STREAM cut short");
        return this.#open(f.readId(payload) & 0x7fff_ffff, flags, payload.subarray(10));
      case f.HEADERS:
        if (payload.length < 4) throw broken("HEADERS cut short");
        // Not used, but part of the one compressed stream.
        await this.#inflater.read(payload.subarray(4));
        return;
      case f.RST_STREAM:
        if (payload.length < 8) throw broken("RST_STREAM cut short");
        this.#streams.get(f.readId(payload) & 0x7fff_ffff)?.wasReset();
        return;
      case f.PING:
        if (payload.length !== 4) throw broken("PING of a wrong length");
        return this.#transport.reply(f.controlFrame(f.PING, 0, payload));
      case f.SYN_REPLY:
        throw broken("reply to a stream that was never opened");
      default:
        return;
    }
  }

  async #open(id: number, flags: number, block: Uint8Array): Promise<void> {
    if (id % 2 === 0 || id <= this.#lastId) throw broken(`stream id ${id} after ${this.#lastId}`);
    this.#lastId = id;
    // Inflated even when refused: the next block builds on it.
    const headers = await this.#inflater.read(block);
    const stream = new SpdyStream(id, headers, new Inbox(this.#budget), this.#transport);
    if ((flags & f.FLAG_FIN) !== 0) stream.inbox.end();
    if (this.#streams.size >= this.#limits.streams) return this.#reset(id, f.REFUSED_STREAM);
    this.#streams.set(id, stream);
    await this.#transport.reply(f.controlFrame(f.SYN_REPLY, 0, f.word(id), this.#replyBlock()));
    if (!this.#handler.opened(stream)) await this.refuse(stream);
  }

  async #reset(id: number, status: number): Promise<void> {
    this.#refused++;
    if (this.#refused > this.#limits.refusals) {
      throw resourceExhausted(`open spdy stream ${id}: ${this.#limits.refusals} were refused already`);
    }
    await this.#transport.reply(f.controlFrame(f.RST_STREAM, 0, f.word(id), f.word(status)));
  }
}

function broken(what: string): GantryError {
  return invalidArgument(`read spdy frame: ${what}`);
}
