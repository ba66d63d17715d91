/** The registry settings of this machine's daemon, for commands that talk to registries themselves. */

import { messageOf } from "../../core/errors.ts";
import { parseTransferConfig } from "../../plugins/transfer/config.ts";
import { daemonHosts } from "../../plugins/transfer/hosts-config.ts";
import type { HostsConfig } from "../../registry/hosts.ts";
import { loadConfig } from "../daemon/config/load.ts";
import { isTable } from "../daemon/config/migrate.ts";
import { toStderr } from "../shared/output.ts";

/** Where the daemon's configuration is unless a flag says otherwise. */
export const DAEMON_CONFIG = "/etc/containerd/config.toml";

/**
 * Mirrors, TLS files and credentials as the daemon would use them.
 * @param must the file has to be there and readable; else what cannot be read counts as empty
 * @throws not-found, invalid-argument when `must`
 */
export function hostsOfDaemon(path: string = DAEMON_CONFIG, must = false): HostsConfig {
  let settings: Readonly<Record<string, unknown>> = {};
  try {
    settings = loadConfig(path, must, {}).settings;
  } catch (err) {
    if (must) throw err;
    toStderr(`ctr: ${path} is not used: ${messageOf(err)}\n`);
  }
  const plugins = isTable(settings["plugins"]) ? settings["plugins"] : {};
  const table = plugins["io.containerd.transfer.v1.local"];
  const { configPaths } = parseTransferConfig(isTable(table) ? table : {});
  return daemonHosts(settings, configPaths);
}
