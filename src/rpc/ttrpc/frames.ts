/**
 * ttrpc framing. Ten bytes in front of every frame:
 *
 *     data length u32be | stream id u32be | type u8 | flags u8 | data
 *
 * A client uses odd stream ids that strictly rise. Streams:
 *
 *     unary          client: Request            server: Response
 *     client stream  client: Request(open) Data* Data(closed, no data)   server: Response
 *     server stream  client: Request(closed)    server: Data* Data(closed, no data)
 *     bidi           client: Request(open) Data* Data(closed, no data)   server: Data* Data(closed, no data)
 *
 * An error is a Response with a status, whatever the kind of stream. Data without bytes and without the no-data flag
 * is an empty message.
 */
import { Buffer } from "node:buffer";
import { resourceExhausted } from "../../core/errors.ts";
import { Assembler } from "../assembler.ts";

const HEADER_SIZE = 10;
/** Largest data of one frame. */
export const MAX_DATA = 4 << 20;

export const MessageType = { REQUEST: 1, RESPONSE: 2, DATA: 3 } as const;
export const MessageFlag = { REMOTE_CLOSED: 1, REMOTE_OPEN: 2, NO_DATA: 4 } as const;

/** Takes what {@link TtrpcReader} finds. */
export interface TtrpcSink {
  /** The bytes belong to the receiver. */
  frame(type: number, flags: number, streamId: number, data: Uint8Array): void;
  /** A frame over the limit was announced; its bytes are skipped. */
  oversized(type: number, flags: number, streamId: number, error: Error): void;
}

/** Cuts a byte stream into frames; one over the limit is skipped without being buffered. */
export class TtrpcReader {
  readonly #sink: TtrpcSink;
  readonly #head = new Uint8Array(HEADER_SIZE);
  readonly #body = new Assembler();
  #headFill = 0;
  #skip = 0;
  #inBody = false;
  #id = 0;
  #type = 0;
  #flags = 0;

  constructor(sink: TtrpcSink) {
    this.#sink = sink;
  }

  /** True while no part of a frame is kept. */
  get atBoundary(): boolean {
    return this.#headFill === 0 && !this.#inBody && this.#skip === 0;
  }

  push(chunk: Uint8Array): void {
    let at = 0;
    while (at < chunk.length) {
      if (this.#skip > 0) {
        const n = Math.min(this.#skip, chunk.length - at);
        this.#skip -= n;
        at += n;
      } else if (this.#inBody) {
        at += this.#body.add(chunk, at);
        if (this.#body.missing === 0) this.#deliver(this.#body.take());
      } else {
        const n = Math.min(HEADER_SIZE - this.#headFill, chunk.length - at);
        for (let i = 0; i < n; i++) this.#head[this.#headFill++] = chunk[at++] as number;
        if (this.#headFill === HEADER_SIZE) this.#begin();
      }
    }
  }

  #begin(): void {
    const view = Buffer.from(this.#head.buffer);
    const length = view.readUInt32BE(0);
    this.#headFill = 0;
    this.#id = view.readUInt32BE(4);
    this.#type = view[8] as number;
    this.#flags = view[9] as number;
    if (length > MAX_DATA) {
      this.#skip = length;
      const error = resourceExhausted(`message length ${length} exceed maximum message size of ${MAX_DATA}`);
      this.#sink.oversized(this.#type, this.#flags, this.#id, error);
    } else if (length === 0) this.#deliver(EMPTY);
    else {
      this.#inBody = true;
      this.#body.begin(length);
    }
  }

  #deliver(data: Uint8Array): void {
    this.#inBody = false;
    this.#sink.frame(this.#type, this.#flags, this.#id, data);
  }
}

const EMPTY = new Uint8Array(0);

/** The header of a frame. @throws resource-exhausted when the data is over the limit */
export function frameHeader(type: number, flags: number, streamId: number, length: number): Uint8Array {
  if (length > MAX_DATA)
    throw resourceExhausted(`message length ${length} exceed maximum message size of ${MAX_DATA}`);
  const head = Buffer.allocUnsafe(HEADER_SIZE);
  head.writeUInt32BE(length, 0);
  head.writeUInt32BE(streamId, 4);
  head[8] = type;
  head[9] = flags;
  return head;
}
