/** The NRI plugin `io.containerd.nri.v1.nri`. */
import { mkdirSync } from "node:fs";
import { dirname } from "node:path";
import { invalidArgument } from "../../core/errors.ts";
import { NRI } from "../../core/nri/nri.ts";
import { definePlugin, SkipPlugin } from "../../core/plugin/plugin.ts";
import { parseDuration } from "../../lib/human.ts";
import type { NriConfig } from "./manager.ts";

export default definePlugin({
  kind: NRI,
  id: "nri",
  requires: {},
  config: {
    defaults: {
      disable: false,
      socket_path: "/var/run/nri/nri.sock",
      plugin_path: "/opt/nri/plugins",
      plugin_config_path: "/etc/nri/conf.d",
      plugin_registration_timeout: "5s",
      plugin_request_timeout: "2s",
      disable_connections: false,
      default_validator: {
        enable: false,
        reject_oci_hook_adjustment: false,
        reject_runtime_default_seccomp_adjustment: false,
        reject_unconfined_seccomp_adjustment: false,
        reject_custom_seccomp_adjustment: false,
        reject_namespace_adjustment: false,
        reject_sysctl_adjustment: false,
        required_plugins: [],
        tolerate_missing_plugins_annotation: "",
      },
    },
    parse: parseNriConfig,
  },
  onFailure: "optional",
  async init(host, _deps, config) {
    if (config.disable) throw new SkipPlugin("NRI is disabled in the configuration");
    const { NriManager } = await import("./manager.ts");
    const manager = new NriManager(config, host.daemon.version, host.log, async () => {
      const { openStreamListener } = await import("../../rpc/listen.ts");
      mkdirSync(dirname(config.socketPath), { recursive: true, mode: 0o700 });
      const listener = await openStreamListener({ path: config.socketPath, mode: 0o600 }, (socket) =>
        manager.connect(socket),
      );
      host.onStop(() => listener.close());
    });
    host.onStop(() => manager.close());
    host.describe({ exports: { socket: config.socketPath } });
    return manager;
  },
});

/** @throws invalid-argument naming the key */
export function parseNriConfig(table: Readonly<Record<string, unknown>>): NriConfig {
  const v = (table["default_validator"] ?? {}) as Readonly<Record<string, unknown>>;
  return {
    disable: flag(table, "disable"),
    socketPath: text(table, "socket_path"),
    pluginPath: text(table, "plugin_path"),
    pluginConfigPath: text(table, "plugin_config_path"),
    registrationMs: duration(table, "plugin_registration_timeout"),
    requestMs: duration(table, "plugin_request_timeout"),
    disableConnections: flag(table, "disable_connections"),
    validator: {
      enable: flag(v, "enable"),
      rejectOciHooks: flag(v, "reject_oci_hook_adjustment"),
      rejectRuntimeDefaultSeccomp: flag(v, "reject_runtime_default_seccomp_adjustment"),
      rejectUnconfinedSeccomp: flag(v, "reject_unconfined_seccomp_adjustment"),
      rejectCustomSeccomp: flag(v, "reject_custom_seccomp_adjustment"),
      rejectNamespaces: flag(v, "reject_namespace_adjustment"),
      rejectSysctl: flag(v, "reject_sysctl_adjustment"),
      requiredPlugins: texts(v, "required_plugins"),
      tolerateMissingAnnotation: text(v, "tolerate_missing_plugins_annotation"),
    },
  };
}

function flag(table: Readonly<Record<string, unknown>>, key: string): boolean {
  const value = table[key] ?? false;
  if (typeof value !== "boolean") throw invalidArgument(`${key} "${String(value)}": want true or false`);
  return value;
}

function text(table: Readonly<Record<string, unknown>>, key: string): string {
  const value = table[key] ?? "";
  if (typeof value !== "string") throw invalidArgument(`${key} "${String(value)}": want a text`);
  return value;
}

function texts(table: Readonly<Record<string, unknown>>, key: string): string[] {
  const value = table[key] ?? [];
  if (!Array.isArray(value) || value.some((each) => typeof each !== "string"))
    throw invalidArgument(`${key}: want a list of texts`);
  return value as string[];
}

function duration(table: Readonly<Record<string, unknown>>, key: string): number {
  const value = text(table, key);
  try {
    const ms = Number(parseDuration(value) / 1_000_000n);
    if (ms > 0) return ms;
  } catch {
    // said below
  }
  throw invalidArgument(`${key} "${value}": want a duration such as "2s"`);
}
