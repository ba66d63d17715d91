/** Asks the hosts of a reference one by one and tells what each answered: what `ctr registry check` and `login` show. */
import type { GantryError } from "../core/errors.ts";
import { MANIFEST_ACCEPT } from "../oci/media-types.ts";
import { apiHost } from "../oci/reference.ts";
import { networkError, StatusError } from "./errors.ts";
import { maskText } from "./mask.ts";
import { hostName, mirrorQuery, pullScope, type Session } from "./resolver.ts";
import type { Credentials, RegistryHost, TlsProfile } from "./types.ts";

/** What one host said. Every text is fit to be shown: no secrets. */
export interface HostCheck {
  /** URL of the API root. */
  readonly host: string;
  readonly mirror: boolean;
  readonly capabilities: readonly string[];
  /** What put this host into the list: a file, a table, a flag. */
  readonly from: string;
  readonly tls: string;
  readonly credentials: string;
  readonly ok: boolean;
  readonly answer: string;
  readonly hint: string | undefined;
  /** Milliseconds until the answer. */
  readonly ms: number;
}

/** Asks every host for the manifest, or for the API root when the reference names no object. Never throws. */
export async function checkHosts(session: Session, signal: AbortSignal): Promise<HostCheck[]> {
  const out: HostCheck[] = [];
  for (const host of session.hosts) out.push(await checkHost(session, host, signal));
  return out;
}

async function checkHost(session: Session, host: RegistryHost, signal: AbortSignal): Promise<HostCheck> {
  const { ref, client } = session;
  const root = ref.object === "";
  const started = performance.now();
  const facts = {
    mirror: host.mirror,
    capabilities: [...host.capabilities],
    from: host.origin ?? "",
    credentials: await describeCredentials(session, host, signal),
  };
  const ms = (): number => Math.round(performance.now() - started);
  try {
    const response = await client.call(host, {
      method: root ? "GET" : "HEAD",
      path: root ? "/" : `/${ref.repository}/manifests/${ref.digest ?? ref.tag ?? ""}`,
      query: mirrorQuery(host, ref),
      headers: root ? {} : { accept: MANIFEST_ACCEPT.join(", ") },
      scope: root ? "" : pullScope(ref),
      signal,
      attempts: 1,
    });
    response.drop();
    const scheme = response.url.protocol === "http:" ? "http" : "https";
    const digest = maskText(response.header("docker-content-digest") ?? "");
    return {
      ...facts,
      host: `${scheme}://${host.host}${host.path}`,
      tls: describeTls(scheme, host.tls),
      ok: true,
      answer: `${response.status}${digest === "" ? "" : ` ${digest}`}`,
      hint: undefined,
      ms: ms(),
    };
  } catch (err) {
    const error: GantryError = networkError(err, new URL(`${hostName(host)}/`), signal);
    return {
      ...facts,
      host: `${hostName(host)}${host.path}`,
      tls: describeTls(host.scheme, host.tls),
      ok: false,
      answer: error instanceof StatusError ? `${error.status}: ${error.message}` : error.message,
      hint: error.hint,
      ms: ms(),
    };
  }
}

function describeTls(scheme: "http" | "https", tls: TlsProfile): string {
  if (scheme === "http") return "none (plain HTTP)";
  const own = tls.ca?.length ?? 0;
  const client = tls.client?.length ?? 0;
  return [
    tls.skipVerify === true ? "certificate not verified" : "verified by the system's authorities",
    ...(own > 0 && tls.skipVerify !== true ? [`and ${own} of its own`] : []),
    ...(client > 0 ? ["with a client certificate"] : []),
  ].join(", ");
}

async function describeCredentials(
  session: Session,
  host: RegistryHost,
  signal: AbortSignal,
): Promise<string> {
  try {
    const request = { reference: session.text, challenges: [], signal };
    const found = (await session.credentials(host.host, request)) ?? host.credentials;
    return found === undefined ? "none" : `${kindOf(found)} from ${found.from ?? "the command line"}`;
  } catch (err) {
    return `none: ${networkError(err, new URL(`${hostName(host)}/`), signal).message}`;
  }
}

function kindOf(c: Credentials): string {
  if (c.kind === "basic") return `user "${maskText(c.username, 64)}"`;
  if (c.kind === "refresh") return "identity token";
  return c.kind === "bearer" ? "registry token" : "authorization header";
}

/**
 * Asks the API root of the registry that a reference names, not of its mirrors.
 * @throws unauthenticated, unavailable, failed-precondition (TLS), not-found (no registry there)
 */
export async function ping(session: Session, signal: AbortSignal): Promise<void> {
  const { ref, hosts, client } = session;
  const own = hosts.find((h) => h.host === apiHost(ref.host)) ?? hosts.at(-1);
  if (own === undefined) return;
  const response = await client.call(own, { method: "GET", path: "/", scope: "", signal, attempts: 2 });
  response.drop();
}
