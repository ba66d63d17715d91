/** Text forms of gRPC over HTTP/2: timeouts, percent-encoded messages, metadata, status trailers. */
import { Buffer } from "node:buffer";
import { invalidArgument } from "../../core/errors.ts";
import type { HeaderField } from "../http2/hpack-decoder.ts";
import { decodeStatus, encodeStatus, GrpcCode, type StatusDetail, type WireStatus } from "../status.ts";
import type { Headers } from "../types.ts";

const UNITS: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1000, m: 1, u: 1e-3, n: 1e-6 };

/**
 * Milliseconds of a `grpc-timeout` value: at most eight digits and a unit.
 * @throws invalid-argument
 */
export function parseTimeout(value: string): number {
  const match = /^(\d{1,8})([HMSmun])$/.exec(value);
  if (match === null)
    throw invalidArgument(`parse grpc-timeout "${value}": want digits and one of H M S m u n`);
  return Number(match[1]) * (UNITS[match[2] as string] as number);
}

/** `grpc-timeout` for milliseconds, rounded up in the finest unit that fits. */
export function formatTimeout(ms: number): string {
  if (ms <= 0) return "1n";
  for (const [unit, size] of [
    ["u", 1e-3],
    ["m", 1],
    ["S", 1000],
  ] as const) {
    const n = Math.ceil(ms / size);
    if (n < 1e8) return `${n}${unit}`;
  }
  return `${Math.min(99_999_999, Math.ceil(ms / 3_600_000))}H`;
}

/** Percent-encodes a status message: UTF-8 bytes outside printable ASCII, and `%`. */
export function encodeMessageText(text: string): string {
  if (/^[ -$&-~]*$/.test(text)) return text;
  let out = "";
  for (const byte of Buffer.from(text, "utf8")) {
    out +=
      byte >= 0x20 && byte <= 0x7e && byte !== 0x25
        ? String.fromCharCode(byte)
        : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  }
  return out;
}

/** Reverses {@link encodeMessageText}; broken escapes stay as they are, as the protocol asks. */
export function decodeMessageText(text: string): string {
  if (!text.includes("%")) return text;
  const bytes: number[] = [];
  for (let i = 0; i < text.length; i++) {
    const hex = text.slice(i + 1, i + 3);
    if (text[i] === "%" && /^[0-9a-fA-F]{2}$/.test(hex)) {
      bytes.push(Number.parseInt(hex, 16));
      i += 2;
    } else bytes.push(text.charCodeAt(i) & 0xff);
  }
  return Buffer.from(bytes).toString("utf8");
}

/** Fields of a header list by name; values of one name in order, `-bin` values split at commas. */
export function collectHeaders(fields: readonly HeaderField[]): Map<string, string[]> {
  const headers = new Map<string, string[]>();
  for (const { name, value } of fields) {
    const values = name.endsWith("-bin") && value.includes(",") ? value.split(/, */) : [value];
    const known = headers.get(name);
    if (known === undefined) headers.set(name, values);
    else known.push(...values);
  }
  return headers;
}

/** Names that only the transport sets. */
const RESERVED = /^(?::.*|grpc-.*|content-type|te|connection|host|transfer-encoding|upgrade|keep-alive)$/;

/**
 * Metadata as header fields.
 * @throws invalid-argument for a reserved or malformed name, or a value that is not printable ASCII
 */
export function metadataFields(headers: Headers): [name: string, value: string][] {
  const fields: [string, string][] = [];
  for (const [key, values] of headers) {
    const name = key.toLowerCase();
    if (RESERVED.test(name) || !/^[0-9a-z_.-]+$/.test(name))
      throw invalidArgument(`set metadata "${key}": the name is not allowed`);
    for (const value of values) {
      if (!/^[ -~]*$/.test(value))
        throw invalidArgument(`set metadata "${key}": the value is not printable ASCII`);
      fields.push([name, name.endsWith("-bin") ? value.replace(/=+$/, "") : value]);
    }
  }
  return fields;
}

/** Longest message and details that are sent: header lists have limits at the peer. */
const MAX_TEXT = 8192;

/** Trailer fields of a status. */
export function statusFields(status: WireStatus): [name: string, value: string][] {
  const fields: [string, string][] = [["grpc-status", String(status.code)]];
  if (status.message !== "") fields.push(["grpc-message", encodeMessageText(shorten(status.message))]);
  if (status.details.length > 0) {
    const bytes = Buffer.from(encodeStatus(status)).toString("base64").replace(/=+$/, "");
    if (bytes.length <= MAX_TEXT) fields.push(["grpc-status-details-bin", bytes]);
  }
  if (status.hint !== undefined) fields.push(["gantry-hint", encodeMessageText(shorten(status.hint))]);
  return fields;
}

function shorten(text: string): string {
  return text.length <= MAX_TEXT / 2
    ? text
    : `${text.slice(0, MAX_TEXT / 4)} ... ${text.slice(-MAX_TEXT / 4)}`;
}

/** The status of trailers; undefined when they have none. */
export function statusFromTrailers(trailers: Headers): WireStatus | undefined {
  const raw = trailers.get("grpc-status")?.[0];
  if (raw === undefined) return undefined;
  const code = /^\d{1,9}$/.test(raw) ? Number(raw) : GrpcCode.Unknown;
  const message = decodeMessageText(trailers.get("grpc-message")?.[0] ?? "");
  const hint = trailers.get("gantry-hint")?.[0];
  return {
    code,
    message,
    details: details(trailers.get("grpc-status-details-bin")?.[0]),
    hint: hint === undefined ? undefined : decodeMessageText(hint),
  };
}

function details(value: string | undefined): readonly StatusDetail[] {
  if (value === undefined) return [];
  try {
    return decodeStatus(Buffer.from(value, "base64")).details;
  } catch {
    // Details are extra; the code and message stand without them.
    return [];
  }
}

/** True for `application/grpc`, `application/grpc+proto` and parameters after them. */
export function isGrpcContentType(value: string | undefined): boolean {
  return value !== undefined && /^application\/grpc(?:\+proto)?(?:$|;)/i.test(value);
}

/** The status that an HTTP status stands for (grpc.io, "HTTP to gRPC Status Code Mapping"). */
export function codeOfHttp(status: number): number {
  switch (status) {
    case 400:
      return GrpcCode.Internal;
    case 401:
      return GrpcCode.Unauthenticated;
    case 403:
      return GrpcCode.PermissionDenied;
    case 404:
      return GrpcCode.Unimplemented;
    case 429:
    case 502:
    case 503:
    case 504:
      return GrpcCode.Unavailable;
    default:
      return GrpcCode.Unknown;
  }
}
