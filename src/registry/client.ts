/** One careful request to one host: authorization, redirects by our own rules (S14, S15), retries. */
import { failedPrecondition, resourceExhausted } from "../core/errors.ts";
import { type Logger, noLog } from "../core/log.ts";
import { backoffDelay, sleep } from "../lib/retry.ts";
import { version } from "../lib/version.ts";
import type { Authorizer } from "./auth.ts";
import { errorCode, isTransient, networkError, StatusError, statusError } from "./errors.ts";
import { maskUrl } from "./mask.ts";
import type { HttpRequest, HttpResponse, Transport } from "./transport.ts";
import type { RegistryHost } from "./types.ts";

/** A request below the API root of a host. */
export interface ApiRequest {
  readonly method: HttpRequest["method"];
  /** Below the root, e.g. `/team/app/manifests/latest`; an absolute URL for upload locations. */
  readonly path: string | URL;
  readonly query?: Readonly<Record<string, string>> | undefined;
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /** Sent again on retry, so a stream is made anew each time. */
  readonly body?: (() => Uint8Array | AsyncIterable<Uint8Array>) | undefined;
  /** Token scope, e.g. `repository:team/app:pull`. */
  readonly scope: string;
  readonly signal: AbortSignal;
  /** Tries in all. Default 5. */
  readonly attempts?: number | undefined;
  /** Statuses handed back rather than thrown, besides 2xx. */
  readonly accept?: readonly number[] | undefined;
}

/** Waits, in milliseconds. */
export interface ClientLimits {
  /** Longest Retry-After that is honoured; a longer one fails at once. */
  readonly maxRetryAfterMs?: number;
  /** First wait of the backoff. */
  readonly initialDelayMs?: number;
}

const MAX_REDIRECTS = 10;
/** How often a server that does not answer is asked: each time costs the whole wait. */
const SILENT_TRIES = 2;

/** Sends requests of one session (one reference). */
export class RegistryClient {
  readonly #transport: Pick<Transport, "send">;
  readonly #auth: Authorizer;
  readonly #limits: ClientLimits;
  readonly #log: Logger;
  /** Scheme found for hosts of this machine that were given none. */
  readonly #schemes: Map<string, Promise<"http" | "https">>;

  constructor(
    transport: Pick<Transport, "send">,
    auth: Authorizer,
    schemes: Map<string, Promise<"http" | "https">>,
    limits: ClientLimits = {},
    log: Logger = noLog,
  ) {
    this.#transport = transport;
    this.#auth = auth;
    this.#schemes = schemes;
    this.#limits = limits;
    this.#log = log;
  }

  /**
   * Sends and answers with a response whose status is 2xx or one of `accept`.
   * @throws StatusError, or unavailable/failed-precondition for network and TLS failures, masked
   */
  async call(host: RegistryHost, request: ApiRequest): Promise<HttpResponse> {
    const attempts = request.attempts ?? 5;
    for (let attempt = 1; ; attempt++) {
      request.signal.throwIfAborted();
      const url = await this.#url(host, request);
      try {
        const response = await this.#authorized(host, url, request);
        if (isSuccess(response.status) || request.accept?.includes(response.status)) return response;
        throw await statusError(response, `${request.method} request to`);
      } catch (err) {
        const most =
          errorCode(err) === "UND_ERR_HEADERS_TIMEOUT" ? Math.min(attempts, SILENT_TRIES) : attempts;
        if (attempt >= most || request.signal.aborted || !isTransient(err))
          throw networkError(err, url, request.signal);
        await this.#wait(err, attempt, url, request.signal);
      }
    }
  }

  async #wait(err: unknown, attempt: number, url: URL, signal: AbortSignal): Promise<void> {
    const told = err instanceof StatusError ? err.retryAfterMs : undefined;
    const max = this.#limits.maxRetryAfterMs ?? 120_000;
    if (told !== undefined && told > max)
      throw resourceExhausted(`${maskUrl(url)}: asked to wait ${Math.round(told / 1000)} s`, { cause: err });
    const slow = err instanceof StatusError && err.status === 429;
    const initialDelayMs = (this.#limits.initialDelayMs ?? 200) * (slow ? 4 : 1);
    const backoff = backoffDelay(attempt, { initialDelayMs, maxDelayMs: 30_000 });
    const delay = told === undefined ? backoff : told + Math.random() * Math.min(1000, told / 4);
    this.#log.debug("registry request is tried again", {
      url: maskUrl(url),
      attempt,
      delayMs: Math.round(delay),
    });
    await sleep(delay, signal);
  }

  async #url(host: RegistryHost, request: ApiRequest): Promise<URL> {
    if (request.path instanceof URL) return request.path;
    const scheme = await this.#scheme(host, request.signal);
    const url = new URL(`${scheme}://${host.host}${host.path}${request.path}`);
    for (const [k, v] of Object.entries(request.query ?? {})) url.searchParams.set(k, v);
    return url;
  }

  /** Finds out once whether a registry of this machine speaks plain HTTP: asked without any credentials. */
  #scheme(host: RegistryHost, signal: AbortSignal): Promise<"http" | "https"> {
    if (!host.guessScheme) return Promise.resolve(host.scheme);
    let found = this.#schemes.get(host.host);
    if (found === undefined) {
      found = this.#probe(host, signal);
      found.catch(() => this.#schemes.delete(host.host));
      this.#schemes.set(host.host, found);
    }
    return found;
  }

  async #probe(host: RegistryHost, signal: AbortSignal): Promise<"http" | "https"> {
    const url = new URL(`http://${host.host}${host.path}/`);
    try {
      const response = await this.#transport.send({ method: "GET", url, headers: {}, tls: {}, signal });
      response.drop();
      // A TLS server answers plain HTTP with 400; a registry has 200 or 401 here.
      return response.status === 400 ? "https" : "http";
    } catch (err) {
      const error = networkError(err, url, signal);
      if (signal.aborted || /connection refused|no such host/.test(error.message)) throw error;
      return "https";
    }
  }

  async #authorized(host: RegistryHost, url: URL, request: ApiRequest): Promise<HttpResponse> {
    // A guessed scheme is what the token server's scheme is measured against.
    const actual: RegistryHost = { ...host, scheme: url.protocol === "http:" ? "http" : "https" };
    const own = sameHost(url, host);
    for (let round = 0; ; round++) {
      const authorization = own
        ? await this.#auth.authorization(actual, request.scope, request.signal)
        : undefined;
      const response = await this.#follow(actual, url, request, authorization, own);
      if (response.status !== 401 || !own || round >= 2 || !sameHost(response.url, host)) return response;
      const again = await this.#auth.challenged(
        actual,
        response,
        request.scope,
        authorization,
        request.signal,
      );
      if (!again) return response;
      response.drop();
    }
  }

  async #follow(
    host: RegistryHost,
    start: URL,
    request: ApiRequest,
    authorization: string | undefined,
    own: boolean,
  ): Promise<HttpResponse> {
    let url = start;
    // Credentials and configured headers are for the origin they were configured for, nobody else, not even after
    // a redirect back.
    let trusted = own;
    for (let hop = 0; ; hop++) {
      const body = request.body?.();
      const response = await this.#transport.send({
        method: request.method,
        url,
        headers: {
          "user-agent": `containerd/gantry-${version}`,
          "accept-encoding": "identity",
          ...(trusted ? Object.fromEntries([...host.headers].map(([k, v]) => [k, [...v]])) : {}),
          ...request.headers,
          ...(trusted && authorization !== undefined ? { authorization } : {}),
        },
        ...(body === undefined ? {} : { body }),
        tls: trusted ? host.tls : { ...host.tls, client: [] },
        signal: request.signal,
      });
      const location = response.header("location");
      if (![301, 302, 303, 307, 308].includes(response.status) || location === undefined) return response;
      if (request.method !== "GET" && request.method !== "HEAD" && response.status < 307) return response;
      response.drop();
      const next = redirectTarget(url, location);
      if (hop >= MAX_REDIRECTS)
        throw failedPrecondition(`${maskUrl(start)}: more than ${MAX_REDIRECTS} redirects`);
      trusted = trusted && next.origin === url.origin;
      url = next;
    }
  }
}

/** Where a redirect leads. @throws failed-precondition for other schemes and for https to http */
export function redirectTarget(from: URL, location: string): URL {
  if (!URL.canParse(location, from.href))
    throw failedPrecondition(`${maskUrl(from)}: redirect to an invalid URL`);
  const to = new URL(location, from);
  if (to.protocol !== "https:" && to.protocol !== "http:")
    throw failedPrecondition(`${maskUrl(from)}: redirect to scheme "${to.protocol}" refused`);
  if (from.protocol === "https:" && to.protocol === "http:")
    throw failedPrecondition(`${maskUrl(from)}: redirect from https to http refused`);
  to.username = "";
  to.password = "";
  return to;
}

function sameHost(url: URL, host: RegistryHost): boolean {
  return url.host === new URL(`${url.protocol}//${host.host}`).host;
}

function isSuccess(status: number): boolean {
  return status >= 200 && status < 300;
}
