/** Credentials from Docker's `config.json`, from credential helpers and from configuration tables. */
import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { unavailable } from "../core/errors.ts";
import { DEFAULT_HOST } from "../oci/reference.ts";
import { maskText } from "./mask.ts";
import type { CredentialSource, Credentials } from "./types.ts";

/** Key of the default host in Docker's files. */
const DEFAULT_KEY = "https://index.docker.io/v1/";
/** Longest wait for a credential helper. */
const HELPER_TIMEOUT_MS = 30_000;

type Table = Readonly<Record<string, unknown>>;
const text = (t: Table, ...keys: string[]): string => {
  for (const key of keys) {
    const value = t[key];
    if (typeof value === "string" && value !== "") return value;
  }
  return "";
};

/**
 * Credentials of a table with `username`/`password`, `auth` (base64 of `user:password`), `identitytoken` or
 * `registrytoken`: Docker's config.json, CRI's `registry.configs.*.auth` and the `auth` table of hosts.toml look alike.
 */
export function credentialsFrom(t: Table): Credentials | undefined {
  const registry = text(t, "registrytoken", "registry_token");
  if (registry !== "") return { kind: "bearer", token: registry };
  const identity = text(t, "identitytoken", "identity_token");
  if (identity !== "") return { kind: "refresh", token: identity };
  const username = text(t, "username");
  if (username !== "") return { kind: "basic", username, password: text(t, "password") };
  const auth = text(t, "auth");
  if (auth === "") return undefined;
  const decoded = Buffer.from(auth, "base64").toString("utf8").replace(/\0+$/, "");
  const colon = decoded.indexOf(":");
  if (colon <= 0) return undefined;
  return { kind: "basic", username: decoded.slice(0, colon), password: decoded.slice(colon + 1) };
}

/** Runs a program without a shell, `input` on its stdin. @throws anything when it cannot be started */
export type RunHelper = (
  program: string,
  args: readonly string[],
  input: string,
  limits: { readonly timeoutMs: number; readonly signal: AbortSignal },
) => Promise<{ readonly code: number; readonly stdout: string }>;

/**
 * Runs `docker-credential-NAME VERB`. Its output is a secret: it never reaches an error.
 * @throws unavailable when there is no such helper
 */
export async function callHelper(
  run: RunHelper | undefined,
  name: string,
  verb: "get" | "store" | "erase",
  input: string,
  signal: AbortSignal,
): Promise<{ readonly code: number; readonly stdout: string }> {
  if (!/^[A-Za-z0-9._-]+$/.test(name))
    throw unavailable(`credential helper "${maskText(name)}": invalid name`);
  if (run === undefined) throw unavailable(`credential helper "${name}": helpers are not offered here`);
  try {
    return await run(`docker-credential-${name}`, [verb], input, { timeoutMs: HELPER_TIMEOUT_MS, signal });
  } catch {
    signal.throwIfAborted();
    throw unavailable(`credential helper "${name}": docker-credential-${name} cannot be run`, {
      hint: "install it, or take its entry out of credHelpers or credsStore in docker's config.json",
    });
  }
}

async function askHelper(
  run: RunHelper | undefined,
  name: string,
  server: string,
  signal: AbortSignal,
): Promise<Credentials | undefined> {
  const { code, stdout } = await callHelper(run, name, "get", `${server}\n`, signal);
  if (code !== 0) return undefined;
  let doc: unknown;
  try {
    doc = JSON.parse(stdout);
  } catch {
    throw unavailable(`credential helper "${name}": answer is not JSON`);
  }
  if (typeof doc !== "object" || doc === null) return undefined;
  const username = text(doc as Table, "Username");
  const password = text(doc as Table, "Secret");
  if (password === "") return undefined;
  const from = `credential helper ${name}`;
  return username === "<token>" || username === ""
    ? { kind: "refresh", token: password, from }
    : { kind: "basic", username, password, from };
}

/** Where Docker keeps its client configuration: `$DOCKER_CONFIG/config.json` or `~/.docker/config.json`. */
export function dockerConfigPath(env: Readonly<Record<string, string | undefined>> = process.env): string {
  return join(env["DOCKER_CONFIG"] || join(env["HOME"] || homedir(), ".docker"), "config.json");
}

/** Names a host may have in Docker's file, the one Docker itself writes first. */
export function dockerKeys(host: string): string[] {
  const plain = [host, `https://${host}`, `http://${host}`, `https://${host}/v1/`, `https://${host}/v2/`];
  const isDefault = host === DEFAULT_HOST || host === "registry-1.docker.io" || host === "index.docker.io";
  return isDefault ? [DEFAULT_KEY, DEFAULT_HOST, ...plain] : plain;
}

/** Credentials from a Docker config file, read at each use so that a login needs no restart. A missing file has none. */
export function dockerConfigSource(
  path: string = dockerConfigPath(),
  run: RunHelper | undefined = undefined,
): CredentialSource {
  return async (host, { signal }) => {
    let doc: Table;
    try {
      doc = JSON.parse(await readFile(path, "utf8")) as Table;
    } catch (err) {
      if (err instanceof Error && "code" in err && (err.code === "ENOENT" || err.code === "EACCES"))
        return undefined;
      throw unavailable(`read "${path}": not a Docker client configuration`);
    }
    const keys = dockerKeys(host);
    const helpers = (doc["credHelpers"] ?? {}) as Table;
    for (const key of keys) {
      const helper = helpers[key];
      if (typeof helper === "string") return askHelper(run, helper, key, signal);
    }
    const store = doc["credsStore"];
    if (typeof store === "string" && store !== "") {
      const found = await askHelper(run, store, keys[0] ?? host, signal);
      if (found !== undefined) return found;
    }
    const auths = (doc["auths"] ?? {}) as Table;
    for (const key of keys) {
      const entry = auths[key];
      if (typeof entry === "object" && entry !== null) {
        const found = credentialsFrom(entry as Table);
        if (found !== undefined) return { ...found, from: `docker's ${path}` };
      }
    }
    return undefined;
  };
}

/** Asks several sources in order; the first answer counts. */
export function firstOf(sources: readonly CredentialSource[]): CredentialSource {
  return async (host, request) => {
    for (const source of sources) {
      const found = await source(host, request);
      if (found !== undefined) return found;
    }
    return undefined;
  };
}

/** The same credentials for one host only, or for any host when `host` is undefined. */
export function fixedSource(credentials: Credentials, host?: string): CredentialSource {
  return async (asked) => (host === undefined || host === asked ? credentials : undefined);
}
