/** What RFC 9113, 6 says of each frame by itself, whatever the state of its connection: sizes, streams, padding. */
import { H2Code, H2ConnectionError, H2StreamError } from "./errors.ts";
import { Flag, u32 } from "./frames.ts";

/** Highest stream id; ids and increments have 31 bits. */
export const LAST_ID = 0x7fffffff;

/** A frame that breaks the protocol. */
export function protocol(what: string): H2ConnectionError {
  return new H2ConnectionError(H2Code.PROTOCOL_ERROR, `read frame: ${what}`);
}

function frameSize(what: string): H2ConnectionError {
  return new H2ConnectionError(H2Code.FRAME_SIZE_ERROR, `read frame: ${what} has a wrong size`);
}

/** The payload without its padding. */
export function unpad(payload: Uint8Array, flags: number): Uint8Array {
  if ((flags & Flag.PADDED) === 0) return payload;
  const padding = payload[0];
  if (padding === undefined) throw frameSize("padded frame");
  if (padding >= payload.length) throw protocol("padding is longer than the frame");
  return payload.subarray(1, payload.length - padding);
}

/** The piece of the header block in a HEADERS frame. */
export function headersBody(flags: number, id: number, payload: Uint8Array): Uint8Array {
  if (id === 0) throw protocol("HEADERS on stream 0");
  const body = unpad(payload, flags);
  if ((flags & Flag.PRIORITY) === 0) return body;
  if (body.length < 5) throw frameSize("HEADERS");
  if ((u32(body, 0) & LAST_ID) === id) throw protocol("stream depends on itself");
  return body.subarray(5);
}

/** PRIORITY says nothing any more, but must be well formed. */
export function checkPriority(id: number, payload: Uint8Array): void {
  if (id === 0) throw protocol("PRIORITY on stream 0");
  if (payload.length !== 5) throw new H2StreamError(id, H2Code.FRAME_SIZE_ERROR, "read frame: PRIORITY size");
  if ((u32(payload, 0) & LAST_ID) === id)
    throw new H2StreamError(id, H2Code.PROTOCOL_ERROR, "read frame: stream depends on itself");
}

/** The code of an RST_STREAM. */
export function resetCode(id: number, payload: Uint8Array): number {
  if (id === 0) throw protocol("RST_STREAM on stream 0");
  if (payload.length !== 4) throw frameSize("RST_STREAM");
  return u32(payload, 0);
}

/** SETTINGS come in sixes, their acknowledgement is empty. */
export function checkSettings(flags: number, id: number, payload: Uint8Array): void {
  if (id !== 0) throw protocol("SETTINGS on a stream");
  if ((flags & Flag.ACK) === 0) {
    if (payload.length % 6 !== 0) throw frameSize("SETTINGS");
  } else if (payload.length !== 0) throw frameSize("SETTINGS ack");
}

/** PING has eight bytes. */
export function checkPing(id: number, payload: Uint8Array): void {
  if (id !== 0) throw protocol("PING on a stream");
  if (payload.length !== 8) throw frameSize("PING");
}

/** What a GOAWAY says. */
export function parseGoaway(
  id: number,
  payload: Uint8Array,
): { readonly last: number; readonly code: number } {
  if (id !== 0) throw protocol("GOAWAY on a stream");
  if (payload.length < 8) throw frameSize("GOAWAY");
  return { last: u32(payload, 0) & LAST_ID, code: u32(payload, 4) };
}

/** What a WINDOW_UPDATE adds; 0 is an error of the stream or the connection. */
export function windowIncrement(payload: Uint8Array): number {
  if (payload.length !== 4) throw frameSize("WINDOW_UPDATE");
  return u32(payload, 0) & LAST_ID;
}
