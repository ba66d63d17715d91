/** Turns a reference into the descriptor of its manifest. */
import { createHash } from "node:crypto";
import { failedPrecondition, invalidArgument, notImplemented } from "../core/errors.ts";
import { type Digest, parseDigest } from "../core/ids/digest.ts";
import type { Descriptor } from "../core/oci.ts";
import { MAX_MANIFEST } from "../oci/documents.ts";
import {
  baseMediaType,
  DOCKER_SCHEMA1,
  isIndexType,
  isManifestType,
  MANIFEST_ACCEPT,
} from "../oci/media-types.ts";
import type { Reference } from "../oci/reference.ts";
import type { RegistryClient } from "./client.ts";
import { type Attempt, combine, networkError, StatusError } from "./errors.ts";
import { type StallLimits, watchStall } from "./stall.ts";
import type { HttpResponse } from "./transport.ts";
import type { CredentialSource, RegistryHost } from "./types.ts";

/** What a session knows about the registry side. */
export interface Session {
  readonly ref: Reference;
  readonly text: string;
  readonly hosts: readonly RegistryHost[];
  readonly client: RegistryClient;
  /** Where the client's credentials come from. */
  readonly credentials: CredentialSource;
  readonly stall?: StallLimits | undefined;
}

/** `ns=` for a mirror. */
export function mirrorQuery(host: RegistryHost, ref: Reference): Readonly<Record<string, string>> {
  return host.mirror ? { ns: ref.host } : {};
}

/** Scope of a pull token. */
export function pullScope(ref: Reference): string {
  return `repository:${ref.repository}:pull`;
}

/** How a host is named in errors. */
export function hostName(host: RegistryHost): string {
  return `${host.scheme}://${host.host}`;
}

/**
 * Asks host after host.
 * @throws the combined error that says what each host answered; not-found when the name is nowhere
 */
export async function resolve(session: Session, signal: AbortSignal): Promise<Descriptor> {
  const { ref, text } = session;
  if (ref.object === "")
    throw invalidArgument(`failed to resolve reference "${text}": object required: want ${text}:TAG`);
  const attempts: Attempt[] = [];
  for (const host of session.hosts) {
    if (!host.capabilities.has("resolve")) continue;
    try {
      return await resolveAt(session, host, signal);
    } catch (err) {
      const error = networkError(err, new URL(`${hostName(host)}/`), signal);
      if (signal.aborted) throw error;
      attempts.push({ where: hostName(host), error });
    }
  }
  throw combine(`failed to resolve reference "${text}"`, attempts);
}

async function resolveAt(session: Session, host: RegistryHost, signal: AbortSignal): Promise<Descriptor> {
  const { ref, client } = session;
  const path = `/${ref.repository}/manifests/${ref.digest ?? ref.tag ?? ""}`;
  const request = {
    path,
    query: mirrorQuery(host, ref),
    headers: { accept: MANIFEST_ACCEPT.join(", ") },
    scope: pullScope(ref),
    signal,
  };
  // HEAD counts less against the limits of public registries.
  const head = await client.call(host, { ...request, method: "HEAD", accept: [405, 501] });
  head.drop();
  const found = head.status < 300 ? fromHeaders(head, ref) : undefined;
  if (found !== undefined) return found;
  const response = await client.call(host, { ...request, method: "GET" });
  const type = typeOf(response);
  const { digest, size } = await measure(response, session);
  return checked({ mediaType: type, digest, size: BigInt(size) }, ref);
}

function typeOf(response: HttpResponse): string {
  return baseMediaType(response.header("content-type") ?? "");
}

function fromHeaders(response: HttpResponse, ref: Reference): Descriptor | undefined {
  const digest = response.header("docker-content-digest");
  const length = response.header("content-length");
  const mediaType = typeOf(response);
  const known = isIndexType(mediaType) || isManifestType(mediaType) || mediaType === DOCKER_SCHEMA1;
  if (digest === undefined || length === undefined || !/^\d{1,15}$/.test(length) || length === "0" || !known)
    return undefined;
  if (response.header("content-encoding") !== undefined) return undefined;
  return checked({ mediaType, digest: parseDigest(digest), size: BigInt(length) }, ref);
}

function checked(desc: Descriptor, ref: Reference): Descriptor {
  if (
    desc.mediaType === DOCKER_SCHEMA1 ||
    desc.mediaType === "application/vnd.docker.distribution.manifest.v1+json"
  )
    throw notImplemented(
      "image manifest of schema 1: no longer supported, push the image again with a current tool",
    );
  if (!isIndexType(desc.mediaType) && !isManifestType(desc.mediaType))
    throw failedPrecondition(`media type "${desc.mediaType}" is not an image manifest`, {
      hint: "is this address a registry? a proxy or login page may have answered",
    });
  if (desc.size > BigInt(MAX_MANIFEST))
    throw failedPrecondition(`manifest of ${desc.size} bytes: larger than ${MAX_MANIFEST}`);
  if (ref.digest !== undefined && ref.digest !== desc.digest)
    throw failedPrecondition(`asked for ${ref.digest}, the registry answered ${desc.digest}`);
  return desc;
}

async function measure(
  response: HttpResponse,
  { ref, stall }: Session,
): Promise<{ digest: Digest; size: number }> {
  const algorithm = ref.digest?.split(":", 1)[0] ?? "sha256";
  const hash = createHash(algorithm);
  let size = 0;
  let ended = false;
  try {
    for await (const part of watchStall(response.body, `fetch manifest from ${response.url.host}`, stall)) {
      size += part.byteLength;
      if (size > MAX_MANIFEST) throw failedPrecondition(`manifest: larger than ${MAX_MANIFEST} bytes`);
      hash.update(part);
    }
    ended = true;
  } finally {
    if (!ended) response.drop();
  }
  return { digest: parseDigest(`${algorithm}:${hash.digest("hex")}`), size };
}

/** True when the error says "not there", rather than "broken". */
export function isMissing(err: unknown): boolean {
  return err instanceof StatusError && err.status === 404;
}
