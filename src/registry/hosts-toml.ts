/** `hosts.toml` of one registry (containerd's docs/hosts.md): parsing only, files are read through a callback. */
import { parse as parseToml } from "smol-toml";
import { invalidArgument, messageOf } from "../core/errors.ts";
import { parseDuration } from "../lib/human.ts";
import { credentialsFrom } from "./credentials.ts";
import type { Capability, Credentials, RegistryHost, TlsProfile } from "./types.ts";

type Table = Readonly<Record<string, unknown>>;

/** Reads a file named in the configuration; relative names are relative to the folder of `hosts.toml`. */
export type ReadFile = (path: string) => Promise<string>;

const ALL: readonly Capability[] = ["pull", "resolve", "push"];
const KEYS = new Set(
  "capabilities ca client skip_verify header override_path dial_timeout auth server host".split(" "),
);

/** A parsed file: hosts in their order, then the server unless it says none. */
export interface HostsFile {
  readonly hosts: readonly RegistryHost[];
  /** Undefined when the file names no server: the caller's default stands. Its TLS and headers are in `serverSettings`. */
  readonly server: RegistryHost | undefined;
  readonly serverSettings: HostSettings;
  /** Where it was read. */
  readonly path: string;
  /** Keys that mean nothing, for a warning. */
  readonly unknown: readonly string[];
}

/** What a table says about a host besides its URL. */
export interface HostSettings {
  readonly capabilities: ReadonlySet<Capability>;
  readonly headers: ReadonlyMap<string, readonly string[]>;
  readonly tls: TlsProfile;
  readonly credentials: Credentials | undefined;
  readonly overridePath: boolean;
}

/**
 * Parses `text`.
 * @param file name for errors
 * @throws invalid-argument naming file and key
 */
export async function parseHostsToml(text: string, file: string, read: ReadFile): Promise<HostsFile> {
  let doc: Table;
  try {
    doc = parseToml(text);
  } catch (err) {
    throw invalidArgument(`parse "${file}": ${messageOf(err).split("\n", 1)[0]}`, { cause: err });
  }
  const unknown = Object.keys(doc).filter((k) => !KEYS.has(k));
  const hosts: RegistryHost[] = [];
  for (const [url, value] of Object.entries(table(doc["host"], file, "host"))) {
    const entry = table(value, file, `host."${url}"`);
    unknown.push(
      ...Object.keys(entry)
        .filter((k) => !KEYS.has(k))
        .map((k) => `host."${url}".${k}`),
    );
    hosts.push(toHost(url, await settings(entry, file, `host."${url}".`, read), true, file));
  }
  const serverSettings = await settings(doc, file, "", read);
  const server = doc["server"];
  if (server !== undefined && typeof server !== "string") throw wrong(file, "server", "a string");
  return {
    hosts,
    server: server === undefined || server === "" ? undefined : toHost(server, serverSettings, false, file),
    serverSettings,
    unknown,
    path: file,
  };
}

async function settings(t: Table, file: string, at: string, read: ReadFile): Promise<HostSettings> {
  const bool = (key: string): boolean => {
    const value = t[key];
    if (value !== undefined && typeof value !== "boolean") throw wrong(file, at + key, "true or false");
    return value === true;
  };
  const auth = t["auth"] === undefined ? undefined : table(t["auth"], file, `${at}auth`);
  const ca: string[] = [];
  for (const name of strings(t["ca"], file, `${at}ca`)) ca.push(await read(name));
  return {
    capabilities: capabilities(t["capabilities"], file, `${at}capabilities`),
    headers: headers(t["header"], file, `${at}header`),
    overridePath: bool("override_path"),
    credentials: auth === undefined ? undefined : fromFile(credentialsFrom(auth), file),
    tls: {
      skipVerify: bool("skip_verify"),
      ca,
      client: await clients(t["client"], file, `${at}client`, read),
      dialTimeoutMs: dialTimeout(t["dial_timeout"], file, `${at}dial_timeout`),
    },
  };
}

function fromFile(found: Credentials | undefined, file: string): Credentials | undefined {
  return found === undefined ? undefined : { ...found, from: file };
}

function dialTimeout(value: unknown, file: string, key: string): number | undefined {
  if (value === undefined) return undefined;
  if (typeof value !== "string") throw wrong(file, key, 'a duration such as "5s"');
  try {
    return Number(parseDuration(value) / 1_000_000n);
  } catch {
    throw wrong(file, key, 'a duration such as "5s"');
  }
}

function capabilities(value: unknown, file: string, key: string): ReadonlySet<Capability> {
  if (value === undefined) return new Set(ALL);
  const out = new Set<Capability>();
  for (const word of strings(value, file, key)) {
    const known = ALL.find((c) => c === word);
    if (known === undefined) throw wrong(file, key, `pull, resolve or push, not "${word}"`);
    out.add(known);
  }
  return out;
}

function headers(value: unknown, file: string, key: string): ReadonlyMap<string, readonly string[]> {
  const out = new Map<string, readonly string[]>();
  for (const [name, v] of Object.entries(table(value, file, key)))
    out.set(name.toLowerCase(), strings(v, file, `${key}.${name}`));
  return out;
}

/** `client` is one file with both, a list of such files, or a list of [cert, key] pairs. */
async function clients(
  value: unknown,
  file: string,
  key: string,
  read: ReadFile,
): Promise<{ cert: string; key: string }[]> {
  if (value === undefined) return [];
  const out: { cert: string; key: string }[] = [];
  for (const item of Array.isArray(value) ? (value as unknown[]) : [value]) {
    const names = strings(item, file, key);
    const cert = names[0];
    if (cert === undefined || names.length > 2) throw wrong(file, key, "a file or [cert, key] pairs");
    const keyName = names[1] === undefined || names[1] === "" ? cert : names[1];
    out.push({ cert: await read(cert), key: await read(keyName) });
  }
  return out;
}

/** Makes a host of a URL. `/v2` is appended unless the path is to be taken as it is. @throws invalid-argument */
export function toHost(text: string, s: HostSettings, mirror: boolean, file: string): RegistryHost {
  const withScheme = text.includes("://") ? text : `https://${text}`;
  let url: URL;
  try {
    url = new URL(withScheme);
  } catch {
    throw wrong(file, `host "${text}"`, "a URL");
  }
  if (url.protocol !== "https:" && url.protocol !== "http:")
    throw wrong(file, `host "${text}"`, "an http or https URL");
  const path = url.pathname.replace(/\/+$/, "");
  return {
    scheme: url.protocol === "http:" ? "http" : "https",
    host: url.host,
    path: s.overridePath || path.endsWith("/v2") ? path : `${path}/v2`,
    capabilities: s.capabilities,
    headers: s.headers,
    tls: s.tls,
    mirror,
    guessScheme: false,
    origin: file,
    credentials: s.credentials,
  };
}

function table(value: unknown, file: string, key: string): Table {
  if (value === undefined) return {};
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw wrong(file, key, "a table");
  return value as Table;
}

function strings(value: unknown, file: string, key: string): string[] {
  if (value === undefined) return [];
  const list: unknown[] = Array.isArray(value) ? value : [value];
  if (!list.every((v): v is string => typeof v === "string")) throw wrong(file, key, "a string or strings");
  return list;
}

function wrong(file: string, key: string, want: string): Error {
  return invalidArgument(`parse "${file}": ${key}: want ${want}`);
}
