/**
 * Plugins: the parts a daemon is built from.
 *
 * A kind is a token: containerd's type string (users see it in config keys, folder names, `ctr plugins ls`) plus the
 * TypeScript interface of its instances, so `init` gets typed dependencies and nothing is cast. A definition is a plain
 * export; `cmd/daemon/builtins.ts` is the one list of them.
 */
import type { Call } from "../call.ts";
import type { Logger } from "../log.ts";
import type { MetricRegistry } from "../metrics/metrics.ts";
import type { Platform } from "../oci.ts";

/** A kind of plugin whose instances are `T`. */
export interface PluginKind<T> {
  /** containerd's type, e.g. `io.containerd.snapshotter.v1`. */
  readonly type: string;
  /** Never set: carries the instance type. */
  readonly instance?: T;
}

/** Declares a kind. */
export function defineKind<T>(type: string): PluginKind<T> {
  return { type };
}

/** What a definition needs: one plugin of a kind, one with a given id, or all of a kind. */
export type Requirement<T> =
  | { readonly kind: PluginKind<T>; readonly id?: string; readonly mode: "one" }
  | { readonly kind: PluginKind<T>; readonly mode: "optional"; readonly id?: string }
  | { readonly kind: PluginKind<T>; readonly mode: "all" };

/** Exactly one plugin of the kind (with `id`, that one); boot fails the plugin when it is missing. */
export function one<T>(kind: PluginKind<T>, id?: string): { kind: PluginKind<T>; mode: "one"; id?: string } {
  return id === undefined ? { kind, mode: "one" } : { kind, mode: "one", id };
}
/** The plugin when it started, else undefined. */
export function optional<T>(
  kind: PluginKind<T>,
  id?: string,
): { kind: PluginKind<T>; mode: "optional"; id?: string } {
  return id === undefined ? { kind, mode: "optional" } : { kind, mode: "optional", id };
}
/** Every plugin of the kind that started, by id. */
export function all<T>(kind: PluginKind<T>): { kind: PluginKind<T>; mode: "all" } {
  return { kind, mode: "all" };
}

// biome-ignore lint/suspicious/noExplicitAny: the one place where kinds of different instance types meet
export type AnyRequirement = Requirement<any>;

/** The typed dependency record of a requirement record. */
export type Deps<R extends Readonly<Record<string, AnyRequirement>>> = {
  readonly [K in keyof R]: R[K] extends { kind: PluginKind<infer T>; mode: infer M }
    ? M extends "all"
      ? ReadonlyMap<string, T>
      : M extends "optional"
        ? T | undefined
        : T
    : never;
};

/** What the boot gives to every plugin. `C` is the plugin's parsed config. */
export interface PluginHost<C = unknown> {
  /** `<root>/<type>.<id>`, made on first use by the plugin itself. */
  readonly root: string;
  /** `<state>/<type>.<id>`. */
  readonly state: string;
  /** The daemon's own folders and addresses. */
  readonly daemon: DaemonFacts;
  readonly log: Logger;
  /** Where the plugin makes its metrics. */
  readonly metrics: MetricRegistry;
  /** Ends when the daemon stops. */
  readonly call: Call;
  /** Sets what introspection shows. */
  describe(facts: {
    exports?: Readonly<Record<string, string>>;
    capabilities?: readonly string[];
    platforms?: readonly Platform[];
  }): void;
  /** Called when every plugin has started, before the daemon is ready; rejections are logged as failures of the plugin. */
  onReady(task: () => Promise<void>): void;
  /** Called when every onReady task is done: opens sockets. A rejection stops the daemon. */
  onServe(task: () => Promise<void>): void;
  /** Called in reverse order of start when the daemon stops. */
  onStop(task: () => Promise<void>): void;
  /**
   * Takes changes of the table's `live` keys without a restart. `apply` gets the whole new config, after it was checked,
   * and must not fail; changes of other keys are reported as needing a restart.
   */
  onReload(apply: (config: C) => void | Promise<void>): void;
}

/** Facts of the daemon. */
export interface DaemonFacts {
  readonly version: string;
  readonly revision: string;
  readonly root: string;
  readonly state: string;
  readonly temp: string;
  /** gRPC socket. */
  readonly address: string;
  /** ttrpc socket. */
  readonly ttrpcAddress: string;
  /** Path of the configuration file, "" when none. */
  readonly configPath: string;
  /** Timeouts of the config file by name, in milliseconds. */
  timeout(name: string, fallbackMs: number): number;
  /** Tables of the config file that belong to no plugin: stream_processors, proxy_plugins, cgroup, oom_score, ... */
  readonly settings: Readonly<Record<string, unknown>>;
}

/** A plugin. `C` is its config after parsing; `T` its instance. */
export interface PluginDefinition<T, C, R extends Readonly<Record<string, AnyRequirement>>> {
  readonly kind: PluginKind<T>;
  readonly id: string;
  readonly requires: R;
  /** Defaults, which are also what `config default` writes; parse() gets them merged with the file's table. */
  readonly config: PluginConfig<C>;
  /** `fatal` stops the daemon; `optional` is logged and shown. */
  readonly onFailure: "fatal" | "optional";
  init(host: PluginHost<C>, deps: Deps<R>, config: C): Promise<T> | T;
}

/** Config of a plugin. */
export interface PluginConfig<C> {
  /** Every key with its default (TOML values). */
  readonly defaults: Readonly<Record<string, unknown>>;
  /** Top keys of the table that `onReload` takes while the daemon runs. */
  readonly live?: readonly string[];
  /** Checks the merged table. @throws invalid-argument naming the key */
  parse(table: Readonly<Record<string, unknown>>): C | Promise<C>;
}

/** For plugins without config. */
export const noConfig: PluginConfig<undefined> = { defaults: {}, parse: () => undefined };

// biome-ignore lint/suspicious/noExplicitAny: a list of definitions of different types
export type AnyPluginDefinition = PluginDefinition<any, any, any>;

/** Identity function that infers the types of a definition. */
export function definePlugin<T, C, const R extends Readonly<Record<string, AnyRequirement>>>(
  definition: PluginDefinition<T, C, R>,
): PluginDefinition<T, C, R> {
  return definition;
}

/** Thrown by `init` to say that the plugin does not apply here (no kernel support, disabled): shown as `skip`. */
export class SkipPlugin extends Error {
  constructor(reason: string) {
    super(reason);
    this.name = "SkipPlugin";
  }
}
