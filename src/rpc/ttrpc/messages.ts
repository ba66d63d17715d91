/**
 * `ttrpc.Request` and `ttrpc.Response` by hand: five and two fields, so the payload's parts are sent uncopied and the
 * shim needs no generated code for them.
 */
import { BinaryReader, BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import type { Encoded } from "../codec.ts";
import { decodeStatus, encodeStatus, type WireStatus } from "../status.ts";
import type { Headers } from "../types.ts";

/** A call as it arrives. */
export interface TtrpcRequest {
  readonly service: string;
  readonly method: string;
  readonly payload: Uint8Array;
  /** Nanoseconds; 0 when there is no deadline. */
  readonly timeoutNano: bigint;
  readonly metadata: Headers;
}

/** An answer as it arrives. */
export interface TtrpcResponse {
  readonly status: WireStatus | undefined;
  readonly payload: Uint8Array;
}

const BYTES = WireType.LengthDelimited;
const EMPTY = new Uint8Array(0);

/** A call as it leaves. */
export interface TtrpcRequestInit extends Omit<TtrpcRequest, "payload"> {
  readonly payload: Encoded;
}

/** Encodes a request around its payload. */
export function encodeRequest(request: TtrpcRequestInit): Encoded {
  const { service, method, timeoutNano, metadata, payload } = request;
  const w = new BinaryWriter();
  w.tag(1, BYTES).string(service);
  w.tag(2, BYTES).string(method);
  if (timeoutNano > 0n) w.tag(4, WireType.Varint).int64(timeoutNano);
  for (const [key, values] of metadata)
    for (const value of values) {
      w.tag(5, BYTES).fork();
      w.tag(1, BYTES).string(key.toLowerCase());
      w.tag(2, BYTES).string(value);
      w.join();
    }
  if (payload.length > 0) w.tag(3, BYTES).uint32(payload.length);
  return prefixed(w.finish(), payload);
}

/** @throws Error when the bytes are not a request */
export function decodeRequest(bytes: Uint8Array): TtrpcRequest {
  const r = new BinaryReader(bytes);
  let service = "";
  let method = "";
  let payload: Uint8Array = EMPTY;
  let timeoutNano = 0n;
  const metadata = new Map<string, string[]>();
  while (r.pos < r.len) {
    const [field, wire] = r.tag();
    if (field === 1 && wire === BYTES) service = r.string();
    else if (field === 2 && wire === BYTES) method = r.string();
    else if (field === 3 && wire === BYTES) payload = r.bytes();
    else if (field === 4 && wire === WireType.Varint) timeoutNano = BigInt(r.int64());
    else if (field === 5 && wire === BYTES) addPair(metadata, r.bytes());
    else r.skip(wire, field);
  }
  return { service, method, payload, timeoutNano, metadata };
}

function addPair(metadata: Map<string, string[]>, bytes: Uint8Array): void {
  const r = new BinaryReader(bytes);
  let key = "";
  let value = "";
  while (r.pos < r.len) {
    const [field, wire] = r.tag();
    if (field === 1 && wire === BYTES) key = r.string();
    else if (field === 2 && wire === BYTES) value = r.string();
    else r.skip(wire, field);
  }
  key = key.toLowerCase();
  const known = metadata.get(key);
  if (known === undefined) metadata.set(key, [value]);
  else known.push(value);
}

/** Encodes a response with a payload. */
export function encodeResponse(payload: Encoded): Encoded {
  const w = new BinaryWriter();
  if (payload.length > 0) w.tag(2, BYTES).uint32(payload.length);
  return prefixed(w.finish(), payload);
}

/** Encodes a response with an error. */
export function encodeErrorResponse(status: WireStatus): Encoded {
  const bytes = new BinaryWriter().tag(1, BYTES).bytes(encodeStatus(status)).finish();
  return { parts: [bytes], length: bytes.length };
}

/** @throws Error when the bytes are not a response */
export function decodeResponse(bytes: Uint8Array): TtrpcResponse {
  const r = new BinaryReader(bytes);
  let status: WireStatus | undefined;
  let payload: Uint8Array = EMPTY;
  while (r.pos < r.len) {
    const [field, wire] = r.tag();
    if (field === 1 && wire === BYTES) status = decodeStatus(r.bytes());
    else if (field === 2 && wire === BYTES) payload = r.bytes();
    else r.skip(wire, field);
  }
  return { status, payload };
}

function prefixed(head: Uint8Array, payload: Encoded): Encoded {
  return { parts: [head, ...payload.parts], length: head.length + payload.length };
}
