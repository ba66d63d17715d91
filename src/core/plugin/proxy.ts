/** A plugin that another process serves over gRPC: one table `[proxy_plugins.NAME]` of the configuration file. */
import type { Platform } from "../oci.ts";

/** The parsed table. */
export interface ProxyPlugin {
  /** Plugin id: what `--snapshotter NAME` selects. */
  readonly name: string;
  /** Absolute path of the unix socket the plugin listens on. */
  readonly address: string;
  /** What the plugin serves; the host's own platform when the table has none. */
  readonly platform: Platform;
  /** Shown by introspection. */
  readonly exports: Readonly<Record<string, string>>;
  readonly capabilities: readonly string[];
}
