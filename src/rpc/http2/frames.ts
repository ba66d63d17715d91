/** HTTP/2 framing (RFC 9113, section 4 and 6): constants, an incremental reader, small frame writers. */
import { Buffer } from "node:buffer";
import { H2Code, H2ConnectionError } from "./errors.ts";

/** What a client sends first. */
export const PREFACE: Uint8Array = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "latin1");
export const FRAME_HEADER_SIZE = 9;
/** Largest frame we accept, and the smallest limit a peer may set. */
export const DEFAULT_MAX_FRAME = 16384;
export const MAX_WINDOW = 0x7fffffff;
export const DEFAULT_WINDOW = 65535;

export const FrameType = {
  DATA: 0,
  HEADERS: 1,
  PRIORITY: 2,
  RST_STREAM: 3,
  SETTINGS: 4,
  PUSH_PROMISE: 5,
  PING: 6,
  GOAWAY: 7,
  WINDOW_UPDATE: 8,
  CONTINUATION: 9,
} as const;

export const Flag = { END_STREAM: 1, ACK: 1, END_HEADERS: 4, PADDED: 8, PRIORITY: 0x20 } as const;

export const Setting = {
  HEADER_TABLE_SIZE: 1,
  ENABLE_PUSH: 2,
  MAX_CONCURRENT_STREAMS: 3,
  INITIAL_WINDOW_SIZE: 4,
  MAX_FRAME_SIZE: 5,
  MAX_HEADER_LIST_SIZE: 6,
} as const;

/** Takes what {@link FrameReader} finds. Both may throw H2ConnectionError or H2StreamError. */
export interface FrameSink {
  /** A whole frame other than unpadded DATA. The payload is only valid during the call. */
  frame(type: number, flags: number, streamId: number, payload: Uint8Array): void;
  /** A piece of an unpadded DATA frame as it arrives; `last` on the final piece. The piece may be kept. */
  data(flags: number, streamId: number, piece: Uint8Array, last: boolean): void;
}

/**
 * Cuts a byte stream into frames. Payload of DATA is handed on as it arrives, so no frame is buffered; any other
 * frame is at most {@link DEFAULT_MAX_FRAME} bytes.
 */
export class FrameReader {
  readonly #sink: FrameSink;
  readonly #head = new Uint8Array(FRAME_HEADER_SIZE);
  #headFill = 0;
  /** Bytes of the current frame that are missing; -1 between frames. */
  #missing = -1;
  #type = 0;
  #flags = 0;
  #id = 0;
  #payload: Uint8Array | undefined;
  #payloadFill = 0;

  constructor(sink: FrameSink) {
    this.#sink = sink;
  }

  /** @throws H2ConnectionError FRAME_SIZE_ERROR, and what the sink throws for connection errors */
  push(chunk: Uint8Array): void {
    let at = 0;
    while (at < chunk.length) {
      if (this.#missing < 0) {
        if (this.#headFill === 0 && chunk.length - at >= FRAME_HEADER_SIZE) {
          this.#begin(chunk, at);
          at += FRAME_HEADER_SIZE;
        } else {
          const n = Math.min(FRAME_HEADER_SIZE - this.#headFill, chunk.length - at);
          this.#head.set(chunk.subarray(at, at + n), this.#headFill);
          this.#headFill += n;
          at += n;
          if (this.#headFill < FRAME_HEADER_SIZE) return;
          this.#headFill = 0;
          this.#begin(this.#head, 0);
        }
        if (this.#missing > 0) continue;
        this.#missing = -1;
        if (this.#isStreamed()) this.#sink.data(this.#flags, this.#id, EMPTY, true);
        else this.#sink.frame(this.#type, this.#flags, this.#id, EMPTY);
        continue;
      }
      const n = Math.min(this.#missing, chunk.length - at);
      const piece = chunk.subarray(at, at + n);
      at += n;
      this.#take(piece);
    }
  }

  #take(piece: Uint8Array): void {
    this.#missing -= piece.length;
    const last = this.#missing === 0;
    if (this.#isStreamed()) {
      if (last) this.#missing = -1;
      this.#sink.data(this.#flags, this.#id, piece, last);
      return;
    }
    if (last && this.#payload === undefined) {
      this.#missing = -1;
      this.#sink.frame(this.#type, this.#flags, this.#id, piece);
      return;
    }
    this.#payload ??= new Uint8Array(piece.length + this.#missing);
    this.#payload.set(piece, this.#payloadFill);
    this.#payloadFill += piece.length;
    if (!last) return;
    const payload = this.#payload;
    this.#payload = undefined;
    this.#payloadFill = 0;
    this.#missing = -1;
    this.#sink.frame(this.#type, this.#flags, this.#id, payload);
  }

  #isStreamed(): boolean {
    return this.#type === FrameType.DATA && (this.#flags & Flag.PADDED) === 0;
  }

  #begin(b: Uint8Array, o: number): void {
    const length = ((b[o] as number) << 16) | ((b[o + 1] as number) << 8) | (b[o + 2] as number);
    this.#type = b[o + 3] as number;
    this.#flags = b[o + 4] as number;
    this.#id = u32(b, o + 5) & 0x7fffffff;
    if (length > DEFAULT_MAX_FRAME)
      throw new H2ConnectionError(
        H2Code.FRAME_SIZE_ERROR,
        `read frame: ${length} bytes exceed the limit ${DEFAULT_MAX_FRAME}`,
      );
    this.#missing = length;
  }
}

const EMPTY = new Uint8Array(0);

/** Reads an unsigned 32-bit number. */
export function u32(b: Uint8Array, o: number): number {
  return (
    (((b[o] as number) << 24) |
      ((b[o + 1] as number) << 16) |
      ((b[o + 2] as number) << 8) |
      (b[o + 3] as number)) >>>
    0
  );
}

/** Writes a frame header at `o`. */
export function putFrameHeader(
  b: Uint8Array,
  o: number,
  length: number,
  type: number,
  flags: number,
  streamId: number,
): void {
  b[o] = length >>> 16;
  b[o + 1] = length >>> 8;
  b[o + 2] = length;
  b[o + 3] = type;
  b[o + 4] = flags;
  putU32(b, o + 5, streamId);
}

/** Writes an unsigned 32-bit number at `o`. */
function putU32(b: Uint8Array, o: number, value: number): void {
  b[o] = value >>> 24;
  b[o + 1] = value >>> 16;
  b[o + 2] = value >>> 8;
  b[o + 3] = value;
}

/** A whole small frame. */
export function frame(type: number, flags: number, streamId: number, payload: Uint8Array): Uint8Array {
  const b = Buffer.allocUnsafe(FRAME_HEADER_SIZE + payload.length);
  putFrameHeader(b, 0, payload.length, type, flags, streamId);
  b.set(payload, FRAME_HEADER_SIZE);
  return b;
}

/** A frame whose payload is 32-bit numbers. */
export function numberFrame(
  type: number,
  flags: number,
  streamId: number,
  ...values: readonly number[]
): Uint8Array {
  const b = Buffer.allocUnsafe(FRAME_HEADER_SIZE + 4 * values.length);
  putFrameHeader(b, 0, 4 * values.length, type, flags, streamId);
  values.forEach((value, i) => {
    putU32(b, FRAME_HEADER_SIZE + 4 * i, value);
  });
  return b;
}

/** SETTINGS with the given values. */
export function settingsFrame(values: readonly (readonly [id: number, value: number])[]): Uint8Array {
  const payload = Buffer.alloc(6 * values.length);
  values.forEach(([id, value], i) => {
    payload.writeUInt16BE(id, 6 * i);
    payload.writeUInt32BE(value, 6 * i + 2);
  });
  return frame(FrameType.SETTINGS, 0, 0, payload);
}

/** GOAWAY; the text is for the peer's log. */
export function goawayFrame(lastId: number, code: number, text: string): Uint8Array {
  const debug = Buffer.from(text.slice(0, 256), "latin1");
  const payload = Buffer.alloc(8 + debug.length);
  payload.writeUInt32BE(lastId, 0);
  payload.writeUInt32BE(code, 4);
  payload.set(debug, 8);
  return frame(FrameType.GOAWAY, 0, 0, payload);
}

/** HEADERS with as many CONTINUATION frames as the peer's frame limit makes necessary. */
export function headersFrames(
  streamId: number,
  block: Uint8Array,
  endStream: boolean,
  maxFrame: number,
): Uint8Array {
  const end = endStream ? Flag.END_STREAM : 0;
  if (block.length <= maxFrame) return frame(FrameType.HEADERS, Flag.END_HEADERS | end, streamId, block);
  const parts: Uint8Array[] = [frame(FrameType.HEADERS, end, streamId, block.subarray(0, maxFrame))];
  for (let at = maxFrame; at < block.length; at += maxFrame) {
    const piece = block.subarray(at, at + maxFrame);
    const last = at + maxFrame >= block.length;
    parts.push(frame(FrameType.CONTINUATION, last ? Flag.END_HEADERS : 0, streamId, piece));
  }
  return Buffer.concat(parts);
}
