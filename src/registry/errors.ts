/** Registry failures: what was asked, what answered, and the error class a caller can act on. */
import { STATUS_CODES } from "node:http";
import {
  canceled,
  deadlineExceeded,
  type ErrorCode,
  failedPrecondition,
  GantryError,
  messageOf,
  notFound,
  unavailable,
} from "../core/errors.ts";
import { maskText, maskUrl } from "./mask.ts";
import type { HttpResponse } from "./transport.ts";

/** Most bytes of an error answer that are read. */
const MAX_ERROR_BODY = 16 * 1024;

/** An answer with an error status. */
export class StatusError extends GantryError {
  readonly status: number;
  /** Milliseconds the server asks to wait. */
  readonly retryAfterMs: number | undefined;
  /** Codes of the distribution spec, e.g. MANIFEST_UNKNOWN. */
  readonly codes: readonly string[];

  constructor(status: number, message: string, codes: readonly string[], retryAfterMs: number | undefined) {
    const hint = statusHint(status);
    super(statusClass(status), message, hint === undefined ? {} : { hint });
    this.status = status;
    this.codes = codes;
    this.retryAfterMs = retryAfterMs;
  }
}

function statusClass(status: number): ErrorCode {
  if (status === 401) return "unauthenticated";
  if (status === 403) return "permission-denied";
  if (status === 404) return "not-found";
  if (status === 416) return "out-of-range";
  if (status === 429) return "resource-exhausted";
  if (status >= 500 || status === 408) return "unavailable";
  return "unknown";
}

function statusHint(status: number): string | undefined {
  if (status === 401 || status === 403)
    return "check the name, or log in: --user NAME:PASSWORD, docker's config.json or an auth table in hosts.toml";
  if (status === 404) return "check the name and the tag";
  if (status === 429) return "the registry limits requests: wait, log in, or configure a mirror";
  return undefined;
}

/** Reads an error answer into an error; the body's text is masked and bounded. */
export async function statusError(response: HttpResponse, what: string): Promise<StatusError> {
  const { text, codes } = await errorBody(response);
  const said = text === "" ? "" : `: ${text}`;
  return new StatusError(
    response.status,
    `unexpected status from ${what} ${maskUrl(response.url)}: ${response.status} ${STATUS_CODES[response.status] ?? ""}${said}`.trimEnd(),
    codes,
    retryAfter(response.header("retry-after")),
  );
}

async function errorBody(response: HttpResponse): Promise<{ text: string; codes: string[] }> {
  const parts: Uint8Array[] = [];
  let size = 0;
  const timer = setTimeout(() => response.drop(), 5000);
  try {
    for await (const part of response.body) {
      parts.push(part);
      size += part.byteLength;
      if (size > MAX_ERROR_BODY) break;
    }
  } catch {
    // The status says enough.
  } finally {
    clearTimeout(timer);
    response.drop();
  }
  const raw = Buffer.concat(parts).toString("utf8");
  try {
    const doc = JSON.parse(raw) as { errors?: unknown };
    const errors = Array.isArray(doc.errors) ? (doc.errors as { code?: unknown; message?: unknown }[]) : [];
    const codes = errors.map((e) => String(e?.code ?? "")).filter((c) => c !== "");
    const text = errors.map((e) => `${String(e?.code ?? "")} ${String(e?.message ?? "")}`.trim()).join("; ");
    return { text: maskText(text), codes };
  } catch {
    return { text: raw.startsWith("<") ? "" : maskText(raw.trim(), 120), codes: [] };
  }
}

/** Milliseconds of a Retry-After value: seconds or a date; undefined when absent or odd. */
export function retryAfter(value: string | undefined, now: number = Date.now()): number | undefined {
  if (value === undefined) return undefined;
  if (/^\d{1,9}$/.test(value.trim())) return Number(value.trim()) * 1000;
  const at = Date.parse(value);
  return Number.isNaN(at) ? undefined : Math.max(0, at - now);
}

/** An error of the network or of our own checks as a typed, masked error. */
export function networkError(err: unknown, url: URL, signal: AbortSignal): GantryError {
  if (err instanceof GantryError) return err;
  if (signal.aborted) {
    const reason: unknown = signal.reason;
    if (reason instanceof GantryError) return reason;
    const timeout = reason instanceof Error && reason.name === "TimeoutError";
    return timeout ? deadlineExceeded("") : canceled("");
  }
  const code = errorCode(err);
  const hint = networkHint(code, messageOf(err), url);
  const text = `${maskUrl(url)}: ${describe(code, err)}`;
  const make = isTlsFailure(code, messageOf(err)) ? failedPrecondition : unavailable;
  return hint === undefined ? make(text) : make(text, { hint });
}

/** Code of an error or of what caused it. */
export function errorCode(err: unknown): string {
  for (let e = err, depth = 0; e instanceof Error && depth < 5; e = e.cause, depth++) {
    if (e instanceof AggregateError && e.errors.length > 0) return errorCode(e.errors[0]);
    if ("code" in e && typeof e.code === "string" && e.code !== "UND_ERR_SOCKET") return e.code;
  }
  return err instanceof Error && "code" in err ? String(err.code) : "";
}

function describe(code: string, err: unknown): string {
  const known: Readonly<Record<string, string>> = {
    ECONNREFUSED: "connection refused",
    ENOTFOUND: "no such host",
    EAI_AGAIN: "name lookup failed",
    ECONNRESET: "connection reset",
    EHOSTUNREACH: "no route to host",
    ENETUNREACH: "network unreachable",
    ETIMEDOUT: "connection timed out",
    UND_ERR_CONNECT_TIMEOUT: "connection timed out",
    UND_ERR_HEADERS_TIMEOUT: "no answer in time",
    UND_ERR_SOCKET: "connection closed by the other side",
  };
  return known[code] ?? maskText(messageOf(err) || code);
}

/** True when TLS itself failed: certificate or protocol. */
function isTlsFailure(code: string, message: string): boolean {
  return (
    /CERT|SSL|TLS|SELF_SIGNED|UNABLE_TO_|EPROTO|ALTNAME/i.test(code) ||
    /certificate|wrong version number|tls/i.test(message)
  );
}

function networkHint(code: string, message: string, url: URL): string | undefined {
  if (code === "ECONNREFUSED") return `nothing listens on ${url.host}: is the registry running?`;
  if (code === "ENOTFOUND" || code === "EAI_AGAIN")
    return "check the host name, /etc/resolv.conf and the network";
  if (/wrong.version|packet length|EPROTO/i.test(`${code} ${message}`))
    return `${url.host} seems to speak plain HTTP: use --plain-http, or server = "http://${url.host}" in hosts.toml`;
  if (code === "UND_ERR_SOCKET" && url.protocol === "https:")
    return `${url.host} ended the connection: does it want a client certificate (client = [["cert", "key"]] in hosts.toml, or --tlscert)?`;
  if (isTlsFailure(code, message))
    return `give the authority's certificate: ca = "ca.crt" in hosts.toml of ${url.host}, or --tlscacert`;
  return undefined;
}

/** True when the same request may succeed a moment later. */
export function isTransient(err: unknown): boolean {
  if (err instanceof StatusError)
    return (
      err.status === 429 ||
      err.status === 408 ||
      (err.status >= 500 && err.status !== 501 && err.status !== 505)
    );
  if (err instanceof GantryError) return err.code === "unavailable" && err.message.includes("stalled");
  const code = errorCode(err);
  if (/^(ECONNREFUSED|ENOTFOUND|UND_ERR_ABORTED|ABORT_ERR)$/.test(code)) return false;
  if (isTlsFailure(code, "")) return false;
  return (
    /^(ECONNRESET|EPIPE|ETIMEDOUT|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH|UND_ERR_.*|HPE_.*)$/.test(code) ||
    /closed|reset|terminated|aborted|premature|socket/i.test(messageOf(err))
  );
}

/** What one host answered, for the list in an error. */
export interface Attempt {
  readonly where: string;
  readonly error: GantryError;
}

/**
 * One error for a list of hosts that all failed. Its class is that of the most telling one: a refusal or a wrong
 * certificate tells more than "not found" at a mirror.
 */
export function combine(what: string, attempts: readonly Attempt[]): GantryError {
  if (attempts.length === 0) return notFound(`${what}: no host is configured for this operation`);
  const rank: readonly ErrorCode[] = [
    "canceled",
    "deadline-exceeded",
    "invalid-argument",
    "failed-precondition",
    "resource-exhausted",
    "unavailable",
    "unauthenticated",
    "permission-denied",
    "unknown",
    "not-found",
  ];
  const order = (a: Attempt): number => {
    const at = rank.indexOf(a.error.code);
    return at < 0 ? rank.length : at;
  };
  // The registry itself stands last in the list: with equal rank it decides.
  const best = [...attempts].reverse().sort((a, b) => order(a) - order(b))[0] as Attempt;
  const list = attempts.map((a) =>
    attempts.length > 1 ? `[${a.where}] ${a.error.message}` : a.error.message,
  );
  const hint = best.error.hint;
  return new GantryError(best.error.code, `${what}: ${list.join("; ")}`, {
    cause: best.error,
    ...(hint === undefined ? {} : { hint }),
  });
}
