/**
 * Which hosts are asked for a reference, in which order. One answer for every client: ctr, CRI, transfer service.
 *
 * Order of sources: the first folder of `configPaths` that knows the host (hosts.toml, or Docker's certificate folder),
 * else the inline tables of the CRI configuration; then the mirrors of the environment and of `--registry-mirror` (default
 * host only); the registry itself last. Files are read at each call: changes need no restart.
 */
import { readdir, readFile } from "node:fs/promises";
import { isAbsolute, join } from "node:path";
import { invalidArgument, messageOf } from "../core/errors.ts";
import { type Logger, noLog } from "../core/log.ts";
import { apiHost, DEFAULT_HOST } from "../oci/reference.ts";
import { credentialsFrom } from "./credentials.ts";
import { type HostSettings, type HostsFile, parseHostsToml, toHost } from "./hosts-toml.ts";
import type { Capability, RegistryHost, TlsProfile } from "./types.ts";

/** TLS files of an inline `registry.configs."HOST".tls` table. */
export interface InlineTls {
  readonly ca_file?: string | undefined;
  readonly cert_file?: string | undefined;
  readonly key_file?: string | undefined;
  readonly insecure_skip_verify?: boolean | undefined;
}

/** Where hosts come from. Everything optional. */
export interface HostsConfig {
  /** Folders of host folders, tried in order. */
  readonly configPaths?: readonly string[] | undefined;
  /** CRI's `registry.mirrors`: host (or `*`) to endpoints. */
  readonly mirrors?: ReadonlyMap<string, readonly string[]> | undefined;
  /** CRI's `registry.configs`: host to TLS files and an auth table. */
  readonly configs?:
    | ReadonlyMap<
        string,
        {
          readonly tls?: InlineTls | undefined;
          readonly auth?: Readonly<Record<string, unknown>> | undefined;
        }
      >
    | undefined;
  /** CRI's `registry.auths`: URL or host to an auth table. */
  readonly auths?: ReadonlyMap<string, Readonly<Record<string, unknown>>> | undefined;
  /** Headers sent to every host of the list. */
  readonly headers?: ReadonlyMap<string, readonly string[]> | undefined;
  /** Mirrors of the default host: `CONTAINER_REGISTRY_MIRROR`, `--registry-mirror`. */
  readonly defaultMirrors?: readonly string[] | undefined;
  /** Scheme of hosts that no file names (`--plain-http`, default_scheme). */
  readonly defaultScheme?: "http" | "https" | undefined;
  /** TLS of hosts that no file names (`--skip-verify`, `--tlscacert`, ...). */
  readonly defaultTls?: TlsProfile | undefined;
  readonly log?: Logger | undefined;
}

const ALL: ReadonlySet<Capability> = new Set<Capability>(["pull", "resolve", "push"]);
const PULL: ReadonlySet<Capability> = new Set<Capability>(["pull", "resolve"]);

/** Splits a `config_path` value: folders joined by ":"; empty parts dropped. */
export function splitConfigPath(value: string): string[] {
  return value.split(":").filter((p) => p !== "");
}

/** Mirrors named by the environment variable, separated by commas or spaces. */
export function environmentMirrors(
  env: Readonly<Record<string, string | undefined>> = process.env,
): string[] {
  return (env["CONTAINER_REGISTRY_MIRROR"] ?? "").split(/[\s,]+/).filter((s) => s !== "");
}

/** Hosts for the registry `host` of a reference. @throws invalid-argument when a file is wrong */
export async function hostsFor(host: string, config: HostsConfig): Promise<RegistryHost[]> {
  const fallback = defaultHost(host, config);
  const file = await findHostsFile(host, config);
  const hosts =
    file === undefined
      ? [
          ...(await inlineMirrors(host, config)),
          ...(await environment(host, config)),
          await inlineServer(fallback, host, config),
        ]
      : [
          ...file.hosts,
          ...(await environment(host, config)),
          file.server ?? { ...withSettings(fallback, file.serverSettings), origin: file.path },
        ];
  return hosts.map((h) => finish(h, host, config));
}

/** True for names and addresses of this machine. */
export function isLocalhost(host: string): boolean {
  const name = host.replace(/:\d+$/, "").replace(/^\[|\]$/g, "");
  return name === "localhost" || name === "::1" || /^127\.\d+\.\d+\.\d+$/.test(name);
}

function defaultHost(host: string, config: HostsConfig): RegistryHost {
  const api = apiHost(host);
  const local = isLocalhost(api);
  const scheme = config.defaultScheme ?? (local && api.endsWith(":80") ? "http" : "https");
  return {
    scheme,
    host: api,
    path: "/v2",
    capabilities: ALL,
    headers: new Map(),
    // The anchor's rule: a registry on this machine needs no valid certificate.
    tls: config.defaultTls ?? (local ? { skipVerify: true } : {}),
    mirror: false,
    guessScheme: config.defaultScheme === undefined && local,
    origin: "the reference itself: no configuration names this host",
  };
}

function withSettings(host: RegistryHost, s: HostSettings): RegistryHost {
  const ownTls = s.tls.skipVerify || (s.tls.ca?.length ?? 0) > 0 || (s.tls.client?.length ?? 0) > 0;
  return {
    ...host,
    capabilities: s.capabilities,
    headers: s.headers,
    tls: ownTls ? s.tls : { ...host.tls, dialTimeoutMs: s.tls.dialTimeoutMs },
    credentials: s.credentials,
  };
}

function finish(h: RegistryHost, host: string, config: HostsConfig): RegistryHost {
  const auth = config.configs?.get(h.host)?.auth ?? authsEntry(h.host, config);
  const inline = auth === undefined ? undefined : credentialsFrom(auth);
  const credentials =
    h.credentials ??
    (inline && { ...inline, from: "registry.configs or auths of the daemon's configuration" });
  return {
    ...h,
    mirror: h.mirror && h.host !== host && h.host !== apiHost(host),
    headers: new Map([...(config.headers ?? []), ...h.headers]),
    ...(credentials === undefined ? {} : { credentials }),
  };
}

function authsEntry(host: string, config: HostsConfig): Readonly<Record<string, unknown>> | undefined {
  for (const [key, auth] of config.auths ?? []) {
    if (key === host) return auth;
    if (URL.canParse(key) && new URL(key).host === host) return auth;
  }
  return undefined;
}

/** Their TLS is what the configuration says of their own names: docker's certificate folder, or `registry.configs`. */
async function environment(host: string, config: HostsConfig): Promise<RegistryHost[]> {
  if (host !== DEFAULT_HOST) return [];
  return Promise.all(
    (config.defaultMirrors ?? []).map(async (url) => {
      const mirror = toHost(url, { ...PLAIN, capabilities: PULL }, true, "registry mirror");
      const own = mirror.scheme === "https" ? await ownTls(mirror.host, config) : undefined;
      return {
        ...mirror,
        ...(own === undefined ? {} : { tls: own }),
        origin: "--registry-mirror or CONTAINER_REGISTRY_MIRROR",
      };
    }),
  );
}

async function ownTls(host: string, config: HostsConfig): Promise<TlsProfile | undefined> {
  const file = await findHostsFile(host, config, false);
  return file?.server?.tls ?? file?.serverSettings.tls ?? (await inlineTls(host, config));
}

const PLAIN: HostSettings = {
  capabilities: ALL,
  headers: new Map(),
  tls: {},
  credentials: undefined,
  overridePath: false,
};

async function inlineMirrors(host: string, config: HostsConfig): Promise<RegistryHost[]> {
  const endpoints = config.mirrors?.get(host) ?? config.mirrors?.get("*") ?? [];
  return Promise.all(
    endpoints.map(async (url) => {
      const parsed = toHost(url, { ...PLAIN, capabilities: PULL }, true, "registry.mirrors");
      const tls = (await inlineTls(parsed.host, config)) ?? config.defaultTls ?? {};
      return { ...parsed, tls, origin: "registry.mirrors of the daemon's configuration" };
    }),
  );
}

async function inlineServer(h: RegistryHost, host: string, config: HostsConfig): Promise<RegistryHost> {
  const tls = (await inlineTls(h.host, config)) ?? (await inlineTls(host, config));
  return tls === undefined ? h : { ...h, tls, origin: "registry.configs of the daemon's configuration" };
}

async function inlineTls(host: string, config: HostsConfig): Promise<TlsProfile | undefined> {
  const tls = config.configs?.get(host)?.tls;
  if (tls === undefined) return undefined;
  const { ca_file: ca, cert_file: cert, key_file: key } = tls;
  return {
    skipVerify: tls.insecure_skip_verify === true,
    ca: ca ? [await readFile(ca, "utf8")] : [],
    client: cert && key ? [{ cert: await readFile(cert, "utf8"), key: await readFile(key, "utf8") }] : [],
  };
}

/** Folder names a host may have, in containerd's order: `host_port_`, `host:port`, `_default`. */
export function hostFolders(host: string): string[] {
  const colon = host.lastIndexOf(":");
  const names = colon > 0 && !host.endsWith("]") ? [`${host.slice(0, colon)}_${host.slice(colon + 1)}_`] : [];
  return [...names, host, "_default"];
}

async function findHostsFile(
  host: string,
  config: HostsConfig,
  orDefault = true,
): Promise<HostsFile | undefined> {
  for (const root of config.configPaths ?? []) {
    for (const name of hostFolders(host)) {
      if (name === "_default" && !orDefault) continue;
      const found = await readHostFolder(join(root, name), config.log ?? noLog);
      if (found !== undefined) return found;
    }
  }
  return undefined;
}

async function readHostFolder(dir: string, log: Logger): Promise<HostsFile | undefined> {
  const entries = await readdir(dir).catch((err: unknown) => {
    if (isMissing(err)) return undefined;
    throw invalidArgument(`read registry folder "${dir}": ${messageOf(err)}`, { cause: err });
  });
  if (entries === undefined) return undefined;
  const read = (name: string): Promise<string> => readFile(isAbsolute(name) ? name : join(dir, name), "utf8");
  if (!entries.includes("hosts.toml")) return dockerCertificates(dir, entries, read);
  const path = join(dir, "hosts.toml");
  const file = await parseHostsToml(await readFile(path, "utf8"), path, async (name) => {
    try {
      return await read(name);
    } catch (err) {
      throw invalidArgument(`parse "${path}": read "${name}": ${messageOf(err)}`, { cause: err });
    }
  });
  if (file.unknown.length > 0) log.warn("unknown keys in hosts.toml", { path, keys: file.unknown });
  return file;
}

/** Docker's certificate folder: `*.crt` are authorities, `NAME.cert` with `NAME.key` are client certificates. */
async function dockerCertificates(
  dir: string,
  entries: readonly string[],
  read: (name: string) => Promise<string>,
): Promise<HostsFile | undefined> {
  const cas = entries.filter((e) => e.endsWith(".crt"));
  const certs = entries.filter((e) => e.endsWith(".cert"));
  if (cas.length + certs.length === 0) return undefined;
  const client = await Promise.all(
    certs.map(async (name) => {
      const key = name.replace(/\.cert$/, ".key");
      if (!entries.includes(key))
        throw invalidArgument(`missing key "${key}" for client certificate "${name}"`);
      return { cert: await read(name), key: await read(key) };
    }),
  );
  const tls = { ca: await Promise.all(cas.map(read)), client };
  const path = `${dir} (docker's certificate folder)`;
  return { hosts: [], server: undefined, serverSettings: { ...PLAIN, tls }, unknown: [], path };
}

function isMissing(err: unknown): boolean {
  return err instanceof Error && "code" in err && (err.code === "ENOENT" || err.code === "ENOTDIR");
}
