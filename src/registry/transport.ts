/** HTTP over undici: connection pools by TLS settings and proxy. One exchange; no redirects, no retries, no credentials. */
import { readFile } from "node:fs/promises";
import type { Dispatcher } from "undici/index.js";
import { lazyAsync } from "../lib/lazy.ts";
import { proxyFor } from "./proxy.ts";
import type { TlsProfile } from "./types.ts";

/** One request. */
export interface HttpRequest {
  readonly method: "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE";
  readonly url: URL;
  readonly headers: Readonly<Record<string, string | string[]>>;
  readonly body?: Uint8Array | AsyncIterable<Uint8Array> | undefined;
  readonly signal: AbortSignal;
  readonly tls: TlsProfile;
}

/** One answer. The body must be read or dropped. */
export interface HttpResponse {
  readonly status: number;
  readonly url: URL;
  /** Header by lower-case name; several values joined by ", ". */
  header(name: string): string | undefined;
  /** Each value of a header that may come several times. */
  headerValues(name: string): readonly string[];
  /** Lower-case names of all headers. */
  headerNames(): readonly string[];
  readonly body: AsyncIterable<Uint8Array>;
  /** Frees the connection without reading the rest. */
  drop(): void;
}

/** Limits of a transport, in milliseconds. */
export interface TransportOptions {
  /** Wait for the header of an answer. */
  readonly headersTimeoutMs?: number;
  readonly dialTimeoutMs?: number;
  readonly env?: Readonly<Record<string, string | undefined>>;
}

/** Where distributions keep the system's trusted certificates. */
const SYSTEM_CA = [
  "/etc/ssl/certs/ca-certificates.crt",
  "/etc/pki/tls/certs/ca-bundle.crt",
  "/etc/ssl/ca-bundle.pem",
  "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
  "/etc/ssl/cert.pem",
];

const undici = lazyAsync(() => import("undici/index.js"));

/** Connection pools. Close it. */
export class Transport implements AsyncDisposable {
  readonly #pools = new Map<string, Promise<Dispatcher>>();
  readonly #options: TransportOptions;
  readonly #systemCa: () => Promise<string | undefined>;

  constructor(options: TransportOptions = {}) {
    this.#options = options;
    this.#systemCa = lazyAsync(() => systemCa(options.env ?? process.env));
  }

  /** Sends one request. @throws the library's error, unmasked: callers mask */
  async send(request: HttpRequest): Promise<HttpResponse> {
    const dispatcher = await this.#pool(request);
    const { request: send } = await undici();
    const headersTimeout = this.#options.headersTimeoutMs ?? 60_000;
    const answer = await within(2 * headersTimeout, request.signal, (signal) =>
      send(request.url, {
        dispatcher,
        method: request.method,
        headers: request.headers,
        body: (request.body ?? null) as Uint8Array | null,
        signal,
        headersTimeout,
        // The reader watches for stalls itself (stall.ts): it knows its own pace.
        bodyTimeout: 0,
        // The library would close the connection behind each: the manifest comes next, over the same one.
        ...(request.method === "HEAD" ? { reset: false } : {}),
      }),
    );
    const values = (name: string): string[] => {
      const value = answer.headers[name];
      return value === undefined ? [] : Array.isArray(value) ? value : [value];
    };
    return {
      status: answer.statusCode,
      url: request.url,
      header: (name) => (values(name).length === 0 ? undefined : values(name).join(", ")),
      headerValues: values,
      headerNames: () => Object.keys(answer.headers),
      body: answer.body,
      drop: () => {
        answer.body.on("error", () => {});
        answer.body.destroy();
      },
    };
  }

  #pool(request: HttpRequest): Promise<Dispatcher> {
    const proxy = proxyFor(request.url, this.#options.env ?? process.env);
    const key = JSON.stringify([proxy, request.url.protocol, request.tls]);
    let pool = this.#pools.get(key);
    if (pool === undefined) {
      pool = this.#make(request, proxy);
      this.#pools.set(key, pool);
    }
    return pool;
  }

  async #make({ url, tls }: HttpRequest, proxy: string | undefined): Promise<Dispatcher> {
    const { Agent, ProxyAgent } = await undici();
    const timeout = tls.dialTimeoutMs ?? this.#options.dialTimeoutMs ?? 30_000;
    const secure = url.protocol === "https:" ? await this.#tls(tls) : {};
    if (proxy !== undefined)
      return new ProxyAgent({ uri: proxy, requestTls: { ...secure, timeout }, proxyTunnel: false });
    return new Agent({ connect: { ...secure, timeout }, connections: 32, keepAliveTimeout: 10_000 });
  }

  async #tls(tls: TlsProfile): Promise<Record<string, unknown>> {
    const client = tls.client ?? [];
    const system = await this.#systemCa();
    const own = tls.ca ?? [];
    // With `ca` the built-in list no longer counts, so both are given.
    const ca = system === undefined ? await withBuiltIn(own) : [system, ...own];
    return {
      ...(ca.length > 0 ? { ca } : {}),
      ...(tls.skipVerify ? { rejectUnauthorized: false } : {}),
      ...(client.length > 0 ? { cert: client.map((c) => c.cert), key: client.map((c) => c.key) } : {}),
    };
  }

  /** Ends every connection. */
  async close(): Promise<void> {
    const pools = [...this.#pools.values()];
    this.#pools.clear();
    await Promise.all(pools.map(async (p) => (await p).destroy().catch(() => {})));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

/**
 * Bounds the wait for an answer's header as a whole: every informational answer (1xx) gives the other side the library's wait anew.
 * The signal stays tied to the caller's for the body.
 */
async function within<T>(
  ms: number,
  signal: AbortSignal,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(), ms);
  try {
    return await work(AbortSignal.any([signal, late.signal]));
  } catch (err) {
    if (!late.signal.aborted || signal.aborted) throw err;
    throw Object.assign(new Error("no answer in time"), { code: "UND_ERR_HEADERS_TIMEOUT" });
  } finally {
    clearTimeout(timer);
  }
}

async function withBuiltIn(own: readonly string[]): Promise<string[]> {
  if (own.length === 0) return [];
  const { rootCertificates } = await import("node:tls");
  return [...rootCertificates, ...own];
}

async function systemCa(env: Readonly<Record<string, string | undefined>>): Promise<string | undefined> {
  const named = env["SSL_CERT_FILE"];
  for (const path of named ? [named] : SYSTEM_CA) {
    const text = await readFile(path, "utf8").catch(() => "");
    if (text.includes("BEGIN CERTIFICATE")) return text;
  }
  return undefined;
}
