/** What the daemon is made of. */

import type { AnyValue, TimeNs } from "../any.ts";
import type { Call } from "../call.ts";
import type { Platform } from "../oci.ts";

/** A plugin as `ctr plugins ls` shows it. */
export interface PluginStatus {
  readonly type: string;
  readonly id: string;
  readonly requires: readonly string[];
  readonly platforms: readonly Platform[];
  readonly exports: ReadonlyMap<string, string>;
  readonly capabilities: readonly string[];
  readonly state: "ok" | "skip" | "error";
  /** Error when state is not ok. */
  readonly error?: unknown;
}

/** Use of something on its way out. */
export interface Deprecation {
  readonly id: string;
  readonly message: string;
  readonly lastOccurrence: TimeNs;
}

/** Facts of the running daemon. */
export interface ServerInfo {
  readonly uuid: string;
  readonly pid: number;
  readonly pidns: bigint;
  readonly deprecations: readonly Deprecation[];
}

/** Introspection service. */
export interface Introspection {
  plugins(call: Call, filters: readonly string[]): Promise<PluginStatus[]>;
  server(call: Call): Promise<ServerInfo>;
  /** Plugin and its answer to a typed question (runtime info). @throws not-found, not-implemented */
  pluginInfo(
    call: Call,
    type: string,
    id: string,
    options: AnyValue | undefined,
  ): Promise<{ plugin: PluginStatus; extra?: AnyValue | undefined }>;
}
