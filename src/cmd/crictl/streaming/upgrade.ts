/** The HTTP request that becomes a byte stream. By hand: both runtimes' HTTP clients hide the socket of an upgrade. */
import { Buffer } from "node:buffer";
import { readFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import type { ConnectionOptions } from "node:tls";
import { type GantryError, invalidArgument, messageOf, unavailable } from "../../../core/errors.ts";
import { createDeferred } from "../../../lib/deferred.ts";

/** How a streaming server is trusted. */
export interface StreamingTls {
  /** Paths of PEM files; none at all: the server is not checked, as crictl does. */
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
  /** Name that the certificate must have. */
  readonly servername: string;
}

/** An upgraded connection. */
export interface Upgraded {
  readonly socket: Socket;
  /** What came after the response's head. */
  readonly head: Uint8Array;
  /** Response headers by lower-case name. */
  readonly headers: ReadonlyMap<string, string>;
}

/** Where streams go when the engine gives a path only. */
const DEFAULT_HOST = "127.0.0.1:10250";
const CONNECT_MS = 10_000;
const MAX_HEAD = 64 << 10;
const MAX_BODY = 16 << 10;

/** The server did not switch protocols. */
export class UpgradeRefused extends Error {
  override readonly name = "UpgradeRefused";
  readonly status: number;
  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** A whole URL of what the engine gave. @throws invalid-argument */
export function streamingUrl(text: string): URL {
  try {
    return new URL(text.startsWith("/") ? `http://${DEFAULT_HOST}${text}` : text);
  } catch (err) {
    throw invalidArgument(`streaming url "${text}": ${messageOf(err)}`, { cause: err });
  }
}

/**
 * Sends the request and waits for 101.
 * @throws UpgradeRefused, unavailable
 */
export async function upgrade(
  url: URL,
  method: string,
  headers: readonly (readonly [string, string])[],
  tls: StreamingTls,
): Promise<Upgraded> {
  const socket = await open(url, tls);
  try {
    const lines = [`${method} ${url.pathname}${url.search} HTTP/1.1`, `Host: ${url.host}`];
    for (const [name, value] of headers) lines.push(`${name}: ${value}`);
    if (method === "POST") lines.push("Content-Length: 0");
    socket.write(`${lines.join("\r\n")}\r\n\r\n`);
    const { head, rest } = await readHead(socket);
    const [first = "", ...fields] = head.split("\r\n");
    const status = Number(/^HTTP\/1\.[01] (\d{3})/.exec(first)?.[1] ?? 0);
    const found = new Map<string, string>();
    for (const field of fields) {
      const at = field.indexOf(":");
      if (at > 0) found.set(field.slice(0, at).toLowerCase(), field.slice(at + 1).trim());
    }
    if (status !== 101) throw new UpgradeRefused(status, await refusal(socket, rest, first, found));
    return { socket, head: rest, headers: found };
  } catch (err) {
    socket.destroy();
    throw err;
  }
}

async function open(url: URL, tls: StreamingTls): Promise<Socket> {
  const host = url.hostname.replace(/^\[|\]$/g, "");
  const secure = url.protocol === "https:" || url.protocol === "wss:";
  const port = Number(url.port || (secure ? 443 : 80));
  const connected = createDeferred<void>();
  const started = secure
    ? (await import("node:tls")).connect({ host, port, ...tlsOptions(tls) })
    : connect({ host, port });
  started.once(secure ? "secureConnect" : "connect", () => connected.resolve());
  started.once("error", (err) => connected.reject(err));
  const timer = setTimeout(() => connected.reject(new Error("timed out")), CONNECT_MS);
  try {
    await connected.promise;
    // a later failure is seen as the end of the stream
    started.on("error", () => {});
    started.setNoDelay(true);
    return started;
  } catch (err) {
    started.on("error", () => {});
    started.destroy();
    throw unreachable(url, err);
  } finally {
    clearTimeout(timer);
  }
}

function unreachable(url: URL, err: unknown): GantryError {
  const local = /^(?:127\.|localhost$|\[::1\]$)/.test(url.hostname);
  return unavailable(`connect to the streaming server ${url.host}: ${messageOf(err)}`, {
    cause: err,
    hint: local
      ? "the engine streams on its own loopback address: run this on the same machine, in the same network namespace"
      : "is the address reachable from here? (TLS: see --tls-ca, --tls-sni)",
  });
}

function tlsOptions(tls: StreamingTls): ConnectionOptions {
  const read = (path: string): Buffer => {
    try {
      return readFileSync(path);
    } catch (err) {
      throw invalidArgument(`read "${path}": ${messageOf(err)}`, { cause: err });
    }
  };
  return {
    servername: tls.servername,
    rejectUnauthorized: tls.ca !== "" || tls.cert !== "" || tls.key !== "",
    ...(tls.ca === "" ? {} : { ca: read(tls.ca) }),
    ...(tls.cert === "" ? {} : { cert: read(tls.cert) }),
    ...(tls.key === "" ? {} : { key: read(tls.key) }),
  };
}

async function readHead(socket: Socket): Promise<{ head: string; rest: Uint8Array }> {
  const done = createDeferred<{ head: string; rest: Uint8Array }>();
  let all: Buffer = Buffer.alloc(0);
  const onData = (chunk: Buffer): void => {
    all = Buffer.concat([all, chunk]);
    const end = all.indexOf("\r\n\r\n");
    if (end >= 0) done.resolve({ head: all.toString("latin1", 0, end), rest: all.subarray(end + 4) });
    else if (all.length > MAX_HEAD) done.reject(unavailable("streaming server: its answer does not end"));
  };
  const onEnd = (): void =>
    done.reject(unavailable("streaming server: closed the connection before it answered"));
  socket.on("data", onData).once("end", onEnd).once("close", onEnd);
  try {
    return await done.promise;
  } finally {
    socket.pause();
    socket.off("data", onData).off("end", onEnd).off("close", onEnd);
  }
}

/** What the server says about it: its body is text. */
async function refusal(
  socket: Socket,
  rest: Uint8Array,
  statusLine: string,
  headers: ReadonlyMap<string, string>,
): Promise<string> {
  const length = Math.min(Number(headers.get("content-length") ?? MAX_BODY), MAX_BODY);
  let body: Buffer = Buffer.from(rest);
  const done = createDeferred<void>();
  const timer = setTimeout(() => done.resolve(), 2_000);
  const check = (): void => {
    if (body.length >= length) done.resolve();
  };
  socket.on("data", (chunk: Buffer) => {
    body = Buffer.concat([body, chunk]);
    check();
  });
  socket.once("end", () => done.resolve()).once("close", () => done.resolve());
  socket.resume();
  check();
  await done.promise;
  clearTimeout(timer);
  const text = body.toString("utf8", 0, length).trim();
  return `streaming server: ${statusLine.replace(/^HTTP\/1\.[01] /, "")}${text === "" ? "" : `: ${text}`}`;
}
