/**
 * Image references. Two readings live side by side because clients use both: {@link parseReference} is containerd's (a
 * full reference, nothing assumed), {@link normalizeReference} is Docker's (short names get the default host and tag).
 */
import { invalidArgument } from "../core/errors.ts";
import { type Digest, parseDigest } from "../core/ids/digest.ts";

/** A reference split as containerd does: `locator[:object]`, object = `tag`, `@digest` or `tag@digest`. */
export interface Reference {
  /** Host and path, e.g. `localhost:5000/team/app`. */
  readonly locator: string;
  /** `latest`, `latest@sha256:...`, `@sha256:...`; "" when absent. */
  readonly object: string;
  /** Host with port. */
  readonly host: string;
  /** Path without the leading slash: the repository name. */
  readonly repository: string;
  readonly tag: string | undefined;
  readonly digest: Digest | undefined;
}

/** Host that short names belong to, by Docker's convention, and where its API really is. */
export const DEFAULT_HOST = "docker.io";
const DEFAULT_HOST_API = "registry-1.docker.io";
const LEGACY_DEFAULT_HOST = "index.docker.io";

const HOST = /^(?:\[[0-9a-fA-F:.]+\]|[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)(?::[0-9]{1,5})?$/;
const PART = /^[A-Za-z0-9]+(?:(?:\.|_|__|-+)[A-Za-z0-9]+)*$/;
const TAG = /^\w[\w.-]{0,127}$/;
/** Longest reference taken. */
const MAX = 1024;

/**
 * Splits a full reference. No default host, no default tag.
 * @throws invalid-argument with containerd's wording
 */
export function parseReference(text: string): Reference {
  if (text.length > MAX) throw invalidArgument(`reference of ${text.length} characters: longer than ${MAX}`);
  if (text.includes("://")) throw bad(text, "scheme not allowed");
  const slash = text.indexOf("/");
  const host = slash < 0 ? text : text.slice(0, slash);
  const rest = slash < 0 ? "" : text.slice(slash + 1);
  if (host === "") throw bad(text, "hostname required");
  if (slash < 0) throw bad(text, "hostname required: want HOST/NAME:TAG", fullNameHint(text));
  if (!HOST.test(host)) throw bad(text, "invalid hostname");
  const at = rest.search(/[:@]/);
  const repository = at < 0 ? rest : rest.slice(0, at);
  const object = at < 0 ? "" : rest.slice(rest[at] === ":" ? at + 1 : at);
  for (const part of repository.split("/"))
    if (!PART.test(part)) throw bad(text, `invalid name part "${part}"`);
  const { tag, digest } = splitObject(text, object);
  return { locator: `${host}/${repository}`, object, host, repository, tag, digest };
}

function splitObject(text: string, object: string): { tag: string | undefined; digest: Digest | undefined } {
  const at = object.indexOf("@");
  const tag = at < 0 ? object : object.slice(0, at);
  if (tag !== "" && !TAG.test(tag)) throw bad(text, `invalid tag "${tag}"`);
  const digest = at < 0 ? undefined : parseDigest(object.slice(at + 1));
  return { tag: tag === "" ? undefined : tag, digest };
}

function bad(text: string, reason: string, hint?: string): Error {
  const message = `invalid reference "${text}": ${reason}`;
  return hint === undefined ? invalidArgument(message) : invalidArgument(message, { hint });
}

function fullNameHint(text: string): string | undefined {
  try {
    return `use the full name: ${normalizeReference(text)}`;
  } catch {
    return undefined;
  }
}

/**
 * Completes a short name as Docker does: `nginx` becomes `docker.io/library/nginx:latest`. With both tag and digest the
 * tag is kept.
 * @throws invalid-argument
 */
export function normalizeReference(text: string): string {
  if (/^[a-f0-9]{64}$/.test(text)) throw bad(text, "cannot be a 64 digit hexadecimal name");
  const slash = text.indexOf("/");
  const first = slash < 0 ? "" : text.slice(0, slash);
  const hasHost =
    slash >= 0 && (first === "localhost" || /[.:]/.test(first) || first.toLowerCase() !== first);
  let host = hasHost ? first : DEFAULT_HOST;
  let rest = hasHost ? text.slice(slash + 1) : text;
  if (host === LEGACY_DEFAULT_HOST) host = DEFAULT_HOST;
  if (host === DEFAULT_HOST && !rest.split(/[:@]/, 1)[0]?.includes("/")) rest = `library/${rest}`;
  const name = rest.split(/[:@]/, 1)[0] ?? "";
  if (name !== name.toLowerCase()) throw bad(text, "repository name must be lowercase");
  const ref = parseReference(`${host}/${rest}`);
  return ref.object === "" ? `${ref.locator}:latest` : formatReference(ref);
}

/** The text of a reference, as {@link parseReference} takes it. */
export function formatReference(ref: Pick<Reference, "locator" | "object">): string {
  if (ref.object === "") return ref.locator;
  return ref.object.startsWith("@") ? `${ref.locator}${ref.object}` : `${ref.locator}:${ref.object}`;
}

/** Host whose API answers for `host`: differs only for the default host. */
export function apiHost(host: string): string {
  return host === DEFAULT_HOST || host === LEGACY_DEFAULT_HOST ? DEFAULT_HOST_API : host;
}

/** The short form that Docker archives carry: default host and `library/` dropped. Unparsable names come back as they are. */
export function familiarName(name: string): string {
  const host = `${DEFAULT_HOST}/`;
  if (!name.startsWith(host)) return name;
  const rest = name.slice(host.length);
  return rest.startsWith("library/") ? rest.slice("library/".length) : rest;
}
