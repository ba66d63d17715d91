/** The plugins of `[proxy_plugins]`: entries for the plugin list, one per table. */
import { invalidArgument } from "../../core/errors.ts";
import type { Logger } from "../../core/log.ts";
import type { Platform } from "../../core/oci.ts";
import type { AnyPluginDefinition } from "../../core/plugin/plugin.ts";
import type { ProxyPlugin } from "../../core/plugin/proxy.ts";
import type { Builtin } from "./boot.ts";
import { isTable, type Table } from "./config/migrate.ts";

type Load = (plugin: ProxyPlugin) => Promise<AnyPluginDefinition>;

const kinds: Readonly<Record<string, readonly [type: string, load: Load]>> = {
  snapshot: [
    "io.containerd.snapshotter.v1",
    async (p) => (await import("../../plugins/snapshots/proxy.ts")).proxySnapshotter(p),
  ],
  content: [
    "io.containerd.content.v1",
    async (p) => (await import("../../plugins/content/proxy.ts")).proxyContent(p),
  ],
  diff: [
    "io.containerd.differ.v1",
    async (p) => (await import("../../plugins/diff/proxy.ts")).proxyDiffer(p),
  ],
  sandbox: [
    "io.containerd.sandbox.controller.v1",
    async (p) => (await import("../../plugins/sandbox/proxy.ts")).proxySandbox(p),
  ],
};

/**
 * @param value the table `proxy_plugins`
 * @param builtins what a proxy may not replace
 * @throws invalid-argument naming the table and key
 */
export function proxyBuiltins(value: unknown, builtins: readonly Builtin[], log: Logger): Builtin[] {
  const out: Builtin[] = [];
  for (const [name, table] of Object.entries(isTable(value) ? value : {})) {
    if (!isTable(table)) throw invalidArgument(`proxy_plugins.${name}: must be a table`);
    const given = table["type"];
    const found = Object.entries(kinds).find(([short, [type]]) => given === short || given === type);
    if (found === undefined) {
      log.warn("ignore proxy plugin of an unknown type", { name, type: given });
      continue;
    }
    const [type, load] = found[1];
    const uri = `${type}.${name}`;
    if (builtins.some((b) => b.uri === uri))
      throw invalidArgument(`proxy_plugins.${name}: "${uri}" is a plugin of this program, use another name`);
    const plugin = parse(name, table);
    out.push({ uri, load: async () => ({ default: await load(plugin) }) });
  }
  return out;
}

function parse(name: string, table: Table): ProxyPlugin {
  const where = `proxy_plugins.${name}`;
  const address = String(table["address"] ?? "").replace(/^unix:\/\//, "");
  if (!address.startsWith("/"))
    throw invalidArgument(`${where}.address "${address}": must be the absolute path of a unix socket`);
  const exports = table["exports"] ?? {};
  if (!isTable(exports) || !Object.values(exports).every((v) => typeof v === "string"))
    throw invalidArgument(`${where}.exports: must be a table of texts`);
  const capabilities = table["capabilities"] ?? [];
  if (!Array.isArray(capabilities) || !capabilities.every((v) => typeof v === "string"))
    throw invalidArgument(`${where}.capabilities: must be a list of texts`);
  return {
    name,
    address,
    platform: platformOf(table["platform"], where),
    exports: exports as Record<string, string>,
    capabilities: capabilities as string[],
  };
}

function platformOf(value: unknown, where: string): Platform {
  const own = { os: "linux", architecture: process.arch === "arm64" ? "arm64" : "amd64" };
  if (value === undefined || value === "") return own;
  const [os, architecture, variant, more] = typeof value === "string" ? value.split("/") : [];
  if (os === undefined || os === "" || architecture === "" || more !== undefined)
    throw invalidArgument(`${where}.platform "${String(value)}": want OS/ARCHITECTURE[/VARIANT]`);
  if (architecture === undefined) return { ...own, os };
  return variant === undefined ? { os, architecture } : { os, architecture, variant };
}
