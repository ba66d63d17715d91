/** Which hosts are asked, by the daemon's configuration: one answer for the Transfer service, CRI and our `ctr`. */
import { invalidArgument } from "../../core/errors.ts";
import { environmentMirrors, type HostsConfig, splitConfigPath } from "../../registry/hosts.ts";

/**
 * @param settings the whole configuration, in the internal form
 * @param configPaths folders of the transfer plugin; CRI's `registry.config_path` comes before them
 */
export function daemonHosts(
  settings: Readonly<Record<string, unknown>>,
  configPaths: readonly string[],
): HostsConfig {
  const cri = criRegistry(settings);
  return { ...cri, configPaths: cri.configPaths ?? configPaths, defaultMirrors: defaultMirrors(settings) };
}

/** The mirrors of `--registry-mirror` and of the environment, for the default host. */
function defaultMirrors(settings: Readonly<Record<string, unknown>>): string[] {
  const flag = settings["registry_mirrors"];
  const list = typeof flag === "string" ? [flag] : Array.isArray(flag) ? flag.map(String) : [];
  return [...list, ...environmentMirrors()];
}

/** The `registry` table of the CRI image plugin, in every version's place: one configuration for every client. */
function criRegistry(settings: Readonly<Record<string, unknown>>): HostsConfig {
  const table = (value: unknown): Readonly<Record<string, unknown>> =>
    typeof value === "object" && value !== null && !Array.isArray(value)
      ? (value as Readonly<Record<string, unknown>>)
      : {};
  const plugins = table(settings["plugins"]);
  const registry = table(table(plugins["io.containerd.cri.v1.images"])["registry"]);
  const path = registry["config_path"];
  const entries = (key: string): [string, Readonly<Record<string, unknown>>][] =>
    Object.entries(table(registry[key])).map(([k, v]) => [k, table(v)]);
  const mirrors = entries("mirrors").map(([k, v]) => {
    const endpoint = v["endpoint"];
    if (endpoint !== undefined && !Array.isArray(endpoint))
      throw invalidArgument(`registry.mirrors."${k}".endpoint: want a list`);
    return [k, (endpoint ?? []).map(String)] as const;
  });
  const configs = entries("configs").map(
    ([k, v]) =>
      [k, { tls: table(v["tls"]), auth: v["auth"] === undefined ? undefined : table(v["auth"]) }] as const,
  );
  return {
    ...(typeof path === "string" && path !== "" ? { configPaths: splitConfigPath(path) } : {}),
    mirrors: new Map(mirrors),
    configs: new Map(configs),
    auths: new Map(entries("auths")),
    headers: new Map(
      Object.entries(table(registry["headers"])).map(([k, v]) => [
        k.toLowerCase(),
        (Array.isArray(v) ? v : [v]).map(String),
      ]),
    ),
  };
}
