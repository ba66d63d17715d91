/** Authorization for one registry session: challenges, token exchange, token cache. */
import { unauthenticated } from "../core/errors.ts";
import { parseJson } from "../oci/documents.ts";
import { statusError } from "./errors.ts";
import { maskText, maskUrl } from "./mask.ts";
import { type StallLimits, watchStall } from "./stall.ts";
import type { HttpRequest, HttpResponse } from "./transport.ts";
import type { CredentialSource, Credentials, RegistryHost } from "./types.ts";

/** Largest token answer, in bytes. */
const MAX_TOKEN = 1024 * 1024;
/** Life of a token that does not say (token auth spec), in ms. */
const DEFAULT_LIFE_MS = 60_000;
/** A token is renewed this long before its end, in ms. */
const MARGIN_MS = 5000;

/** One challenge of `WWW-Authenticate`. */
export interface Challenge {
  /** Lower case. */
  readonly scheme: string;
  readonly params: ReadonlyMap<string, string>;
}

/** Parses `WWW-Authenticate` values, several challenges per value allowed. Broken parts are skipped. */
export function parseChallenges(values: readonly string[]): Challenge[] {
  const out: { scheme: string; params: Map<string, string> }[] = [];
  for (const value of values.map((v) => v.slice(0, 8192))) {
    const token = /\s*,?\s*([A-Za-z0-9!#$%&'*+.^_`|~-]+)(?:\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+)))?/y;
    while (token.lastIndex < value.length) {
      const m = token.exec(value);
      if (m === null) break;
      const [, name = "", quoted, plain] = m;
      if (quoted === undefined && plain === undefined)
        out.push({ scheme: name.toLowerCase(), params: new Map() });
      else out.at(-1)?.params.set(name.toLowerCase(), quoted?.replace(/\\(.)/g, "$1") ?? plain ?? "");
    }
  }
  return out;
}

interface Token {
  readonly value: string;
  /** performance.now() milliseconds. */
  readonly until: number;
}

/** Sends a request without authorization. */
export type Send = (request: HttpRequest) => Promise<HttpResponse>;

/** Answers with Authorization values for the hosts of one session. */
export class Authorizer {
  readonly #source: CredentialSource;
  readonly #reference: string;
  readonly #send: Send;
  readonly #stall: StallLimits | undefined;
  /** Per host: what the last challenge asked for. */
  readonly #known = new Map<string, Challenge>();
  readonly #tokens = new Map<string, Promise<Token>>();
  readonly #refresh = new Map<string, string>();

  constructor(source: CredentialSource, reference: string, send: Send, stall?: StallLimits) {
    this.#source = source;
    this.#reference = reference;
    this.#send = send;
    this.#stall = stall;
  }

  /** Authorization value for a request, or undefined before the first challenge. */
  async authorization(host: RegistryHost, scope: string, signal: AbortSignal): Promise<string | undefined> {
    const challenge = this.#known.get(host.host);
    if (challenge === undefined) return undefined;
    if (challenge.scheme === "basic" || challenge.scheme === "preset")
      return challenge.params.get("authorization");
    return `Bearer ${(await this.#token(host, challenge, scope, signal)).value}`;
  }

  /**
   * Takes in a 401. True when another try makes sense.
   * @param used the Authorization value that was refused
   * @throws unauthenticated when the registry wants what cannot be given
   */
  async challenged(
    host: RegistryHost,
    response: HttpResponse,
    scope: string,
    used: string | undefined,
    signal: AbortSignal,
  ): Promise<boolean> {
    const values = response.headerValues("www-authenticate");
    const challenges = parseChallenges(values);
    const bearer = challenges.find((c) => c.scheme === "bearer");
    const credentials = await this.#credentials(host, values, signal);
    if (credentials?.kind === "header" || credentials?.kind === "bearer") {
      const value = credentials.kind === "header" ? credentials.value : `Bearer ${credentials.token}`;
      return this.#preset(host, value, used);
    }
    if (bearer !== undefined) {
      // A refused token may have ended early: forget it once, then give up.
      const again = used === undefined || this.#tokens.delete(this.#key(host, bearer, scope));
      this.#known.set(host.host, bearer);
      return again;
    }
    if (challenges.some((c) => c.scheme === "basic") && credentials?.kind === "basic") {
      const pair = Buffer.from(`${credentials.username}:${credentials.password}`).toString("base64");
      return this.#preset(host, `Basic ${pair}`, used);
    }
    return false;
  }

  #preset(host: RegistryHost, value: string, used: string | undefined): boolean {
    this.#known.set(host.host, { scheme: "preset", params: new Map([["authorization", value]]) });
    return used !== value;
  }

  async #credentials(
    host: RegistryHost,
    challenges: readonly string[],
    signal: AbortSignal,
  ): Promise<Credentials | undefined> {
    const found = await this.#source(host.host, { reference: this.#reference, challenges, signal });
    return found ?? host.credentials;
  }

  #key(host: RegistryHost, challenge: Challenge, scope: string): string {
    return [host.host, challenge.params.get("realm"), challenge.params.get("service"), scope].join("|");
  }

  async #token(host: RegistryHost, challenge: Challenge, scope: string, signal: AbortSignal): Promise<Token> {
    const key = this.#key(host, challenge, scope);
    const cached = this.#tokens.get(key);
    if (cached !== undefined) {
      const token = await cached.catch(() => undefined);
      if (token !== undefined && token.until > performance.now()) return token;
    }
    const fresh = this.#fetchToken(host, challenge, scope, signal);
    this.#tokens.set(key, fresh);
    fresh.catch(() => {
      if (this.#tokens.get(key) === fresh) this.#tokens.delete(key);
    });
    return fresh;
  }

  async #fetchToken(
    host: RegistryHost,
    challenge: Challenge,
    scope: string,
    signal: AbortSignal,
  ): Promise<Token> {
    const realm = tokenServer(challenge, host);
    const service = challenge.params.get("service") ?? "";
    const credentials = await this.#credentials(host, [], signal);
    const refreshKey = `${realm.href}|${service}`;
    const refresh = credentials?.kind === "refresh" ? credentials.token : this.#refresh.get(refreshKey);
    // Our client certificate is for the registry, not for its token server.
    const tls = realm.host === host.host ? host.tls : { ...host.tls, client: [] };
    const scopes = scope.split(" ").filter((s) => s !== "");
    const send = async (): Promise<HttpResponse> => {
      if (refresh !== undefined)
        return this.#send({ ...postForm(realm, service, scopes, refresh), tls, signal });
      const url = new URL(realm);
      if (service !== "") url.searchParams.set("service", service);
      for (const s of scopes) url.searchParams.append("scope", s);
      const headers: Record<string, string> = { accept: "application/json" };
      if (credentials?.kind === "basic") {
        url.searchParams.set("account", credentials.username);
        const pair = `${credentials.username}:${credentials.password}`;
        headers["authorization"] = `Basic ${Buffer.from(pair).toString("base64")}`;
      }
      return this.#send({ method: "GET", url, headers, tls, signal });
    };
    const response = await send();
    if (response.status !== 200) throw await statusError(response, "token server");
    return this.#readToken(response, realm, refreshKey);
  }

  async #readToken(response: HttpResponse, realm: URL, refreshKey: string): Promise<Token> {
    const doc = parseJson(await readBody(response, MAX_TOKEN, this.#stall), MAX_TOKEN, "token");
    const t = (typeof doc === "object" && doc !== null ? doc : {}) as Record<string, unknown>;
    const value = [t["access_token"], t["token"]].find((v): v is string => typeof v === "string" && v !== "");
    if (value === undefined) throw unauthenticated(`get token from ${maskUrl(realm)}: answer holds no token`);
    if (/[^\x21-\x7e]/.test(value))
      throw unauthenticated(`get token from ${maskUrl(realm)}: token holds odd characters`);
    if (typeof t["refresh_token"] === "string") this.#refresh.set(refreshKey, t["refresh_token"]);
    const life =
      typeof t["expires_in"] === "number" && t["expires_in"] > 0 ? t["expires_in"] * 1000 : DEFAULT_LIFE_MS;
    return { value, until: performance.now() + Math.max(1000, life - MARGIN_MS) };
  }
}

/** The token server of a challenge. It may stand on another host, but never on a less protected scheme. */
function tokenServer(challenge: Challenge, host: RegistryHost): URL {
  const realm = challenge.params.get("realm") ?? "";
  if (!URL.canParse(realm))
    throw unauthenticated(`token server of ${host.host}: invalid realm "${maskText(realm)}"`);
  const url = new URL(realm);
  const plainAllowed = host.scheme === "http";
  if (url.protocol !== "https:" && !(url.protocol === "http:" && plainAllowed))
    throw unauthenticated(`token server of ${host.host}: "${maskUrl(url)}" is not https`);
  url.username = "";
  url.password = "";
  return url;
}

function postForm(
  url: URL,
  service: string,
  scopes: readonly string[],
  refresh: string,
): Pick<HttpRequest, "method" | "url" | "headers" | "body"> {
  const form = new URLSearchParams({ grant_type: "refresh_token", service, client_id: "containerd-client" });
  form.set("scope", scopes.join(" "));
  form.set("refresh_token", refresh);
  return {
    method: "POST",
    url,
    headers: {
      "content-type": "application/x-www-form-urlencoded; charset=utf-8",
      accept: "application/json",
    },
    body: new TextEncoder().encode(form.toString()),
  };
}

/** Reads a bounded body. @throws unauthenticated when it is larger, unavailable when it stalls */
async function readBody(response: HttpResponse, max: number, stall?: StallLimits): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let size = 0;
  const what = `get token from ${maskUrl(response.url)}`;
  let ended = false;
  try {
    for await (const part of watchStall(response.body, what, stall)) {
      size += part.byteLength;
      if (size > max) throw unauthenticated(`${what}: answer larger than ${max} bytes`);
      parts.push(part);
    }
    ended = true;
  } finally {
    if (!ended) response.drop();
  }
  return Buffer.concat(parts);
}
