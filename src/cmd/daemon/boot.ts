/**
 * Boots the plugin graph: loads definitions, sorts them by their requirements, starts them in order, disposes them in
 * reverse. A failed optional plugin is logged and reported; those that need it fail with its reason.
 */
import { join } from "node:path";
import type { Call } from "../../core/call.ts";
import { messageOf, wrap } from "../../core/errors.ts";
import type { PluginStatus } from "../../core/introspection/introspection.ts";
import type { Logger } from "../../core/log.ts";
import type { MetricRegistry } from "../../core/metrics/metrics.ts";
import type { Platform } from "../../core/oci.ts";
import {
  type AnyPluginDefinition,
  type DaemonFacts,
  type PluginHost,
  SkipPlugin,
} from "../../core/plugin/plugin.ts";

import { type LivePlugin, type ReloadReport, reloadPlugins } from "./reload-plugins.ts";

/** One entry of the plugin list: `type.id` and how to load its definition. */
export interface Builtin {
  readonly uri: string;
  readonly load: () => Promise<{ default: AnyPluginDefinition }>;
}

/** What boot needs. */
export interface BootOptions {
  readonly builtins: readonly Builtin[];
  readonly facts: DaemonFacts;
  readonly log: Logger;
  readonly call: Call;
  readonly metrics: MetricRegistry;
  /** Plugin uris that are not loaded at all. */
  readonly disabled: ReadonlySet<string>;
  /** Plugin uris that must start. */
  readonly required: ReadonlySet<string>;
  /** Config tables by plugin uri. */
  readonly tables: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  /** Instances that exist before boot, by uri (the daemon's own). */
  readonly provided?: readonly Provided[];
}

/** An instance made outside of the graph. */
export interface Provided {
  readonly type: string;
  readonly id: string;
  readonly instance: unknown;
}

/** A booted graph. */
export interface Booted {
  readonly plugins: readonly PluginStatus[];
  /** Instances of a kind by id. */
  instances(type: string): ReadonlyMap<string, unknown>;
  /**
   * Checks the new tables of all plugins, then hands changed live keys to those that take them.
   * @throws invalid-argument when a table is refused: then nothing was changed
   */
  reload(tables: BootOptions["tables"], checked?: () => void): Promise<ReloadReport>;
  stop(): Promise<void>;
}

/** Longest time one plugin may take to stop. */
const STOP_MS = 5_000;

/** Uri of a definition. */
export function uriOf(definition: { kind: { type: string }; id: string }): string {
  return `${definition.kind.type}.${definition.id}`;
}

/**
 * Orders definitions so that every plugin comes after what it requires.
 * @throws Error that prints the chain when requirements form a cycle
 */
export function sortByRequirements(definitions: readonly AnyPluginDefinition[]): AnyPluginDefinition[] {
  const byType = new Map<string, AnyPluginDefinition[]>();
  for (const d of definitions) byType.set(d.kind.type, [...(byType.get(d.kind.type) ?? []), d]);
  const order: AnyPluginDefinition[] = [];
  const state = new Map<AnyPluginDefinition, "open" | "done">();
  const visit = (d: AnyPluginDefinition, chain: readonly string[]): void => {
    const seen = state.get(d);
    if (seen === "done") return;
    if (seen === "open") throw new Error(`plugins require each other: ${[...chain, uriOf(d)].join(" -> ")}`);
    state.set(d, "open");
    for (const need of requirementsOf(d)) {
      for (const other of byType.get(need.kind.type) ?? []) {
        if (need.mode !== "all" && need.id !== undefined && need.id !== other.id) continue;
        if (other !== d) visit(other, [...chain, uriOf(d)]);
      }
    }
    state.set(d, "done");
    order.push(d);
  };
  for (const d of definitions) visit(d, []);
  return order;
}

interface Need {
  readonly kind: { readonly type: string };
  readonly mode: "one" | "optional" | "all";
  readonly id?: string;
}

function requirementsOf(d: AnyPluginDefinition): Need[] {
  return Object.values(d.requires as Record<string, Need>);
}

/** Boots everything. @throws when a fatal or required plugin fails */
export async function boot(options: BootOptions): Promise<Booted> {
  const { log, facts } = options;
  const statuses: PluginStatus[] = [];
  const instances = new Map<string, Map<string, unknown>>();
  const failures = new Map<string, unknown>();
  const stops: { uri: string; task: () => Promise<void> }[] = [];
  const readies: { uri: string; task: () => Promise<void> }[] = [];
  const serves: { uri: string; task: () => Promise<void> }[] = [];
  const running: LivePlugin[] = [];
  const put = (type: string, id: string, instance: unknown): void => {
    const map = instances.get(type) ?? new Map<string, unknown>();
    map.set(id, instance);
    instances.set(type, map);
  };
  for (const p of options.provided ?? []) put(p.type, p.id, p.instance);

  const stop = async (): Promise<void> => {
    for (const { uri, task } of stops.reverse()) {
      await withLimit(task(), STOP_MS).catch((err: unknown) =>
        log.warn("plugin did not stop cleanly", { plugin: uri, err: messageOf(err) }),
      );
    }
  };

  const wanted = options.builtins.filter((b) => !options.disabled.has(b.uri));
  const loaded = await Promise.all(wanted.map(async (b) => (await b.load()).default));
  try {
    for (const definition of sortByRequirements(loaded)) {
      const uri = uriOf(definition);
      const needs = requirementsOf(definition);
      const facts2: {
        exports: Readonly<Record<string, string>>;
        capabilities: readonly string[];
        platforms: readonly Platform[];
      } = {
        exports: {},
        capabilities: [],
        platforms: [],
      };
      const host: PluginHost = {
        root: join(facts.root, uri),
        state: join(facts.state, uri),
        daemon: facts,
        log: log.child({ plugin: uri }),
        metrics: options.metrics,
        call: options.call.with({ log: log.child({ plugin: uri }) }),
        describe: (f) => Object.assign(facts2, f),
        onReady: (task) => readies.push({ uri, task }),
        onServe: (task) => serves.push({ uri, task }),
        onStop: (task) => stops.push({ uri, task }),
        onReload: (apply) => takers.push(apply),
      };
      const takers: LivePlugin["takers"][number][] = [];
      const status = (state: PluginStatus["state"], error?: unknown): void => {
        statuses.push({
          type: definition.kind.type,
          id: definition.id,
          requires: [...new Set(needs.map((n) => n.kind.type))],
          platforms: facts2.platforms,
          exports: new Map(Object.entries(facts2.exports)),
          capabilities: facts2.capabilities,
          state,
          error,
        });
      };
      const started = performance.now();
      try {
        const deps = resolve(definition, instances, failures);
        const table = { ...definition.config.defaults, ...(options.tables[uri] ?? {}) };
        const config: unknown = await definition.config.parse(table);
        put(definition.kind.type, definition.id, await definition.init(host, deps, config));
        running.push({ uri, definition, table, takers });
        status("ok");
        log.debug("plugin started", { plugin: uri, ms: Math.round(performance.now() - started) });
      } catch (err) {
        failures.set(uri, err);
        const skipped = err instanceof SkipPlugin;
        status(skipped ? "skip" : "error", err);
        if (options.required.has(uri)) throw wrap(err, `start plugin "${uri}", which required_plugins names`);
        if (skipped) {
          log.info("skip plugin", { plugin: uri, reason: messageOf(err) });
          continue;
        }
        if (definition.onFailure === "fatal") throw wrap(err, `start plugin "${uri}"`);
        log.error("failed to start plugin", { plugin: uri, err });
      }
    }
    const missing = [...options.required].filter(
      (uri) => !statuses.some((s) => `${s.type}.${s.id}` === uri && s.state === "ok"),
    );
    if (missing.length > 0) throw new Error(`required_plugins names "${missing[0]}", which is not loaded`);
    await Promise.all(
      readies.map(async ({ uri, task }) => {
        await task().catch((err: unknown) => log.error("plugin is not ready", { plugin: uri, err }));
      }),
    );
    for (const { task } of serves) await task();
  } catch (err) {
    await stop();
    throw err;
  }
  return {
    plugins: statuses,
    instances: (type) => instances.get(type) ?? new Map(),
    reload: (tables, checked) => reloadPlugins(running, tables, checked),
    stop,
  };
}

function resolve(
  definition: AnyPluginDefinition,
  instances: ReadonlyMap<string, ReadonlyMap<string, unknown>>,
  failures: ReadonlyMap<string, unknown>,
): Record<string, unknown> {
  const deps: Record<string, unknown> = {};
  for (const [name, need] of Object.entries(definition.requires as Record<string, Need>)) {
    const found = instances.get(need.kind.type) ?? new Map<string, unknown>();
    if (need.mode === "all") {
      deps[name] = new Map(found);
      continue;
    }
    const value = need.id === undefined ? found.values().next().value : found.get(need.id);
    if (value === undefined && need.mode === "one") {
      const what = need.id === undefined ? need.kind.type : `${need.kind.type}.${need.id}`;
      const why = [...failures].find(([uri]) => uri.startsWith(what));
      throw new Error(
        why === undefined
          ? `needs plugin "${what}", which is not loaded`
          : `needs plugin "${why[0]}", which failed: ${messageOf(why[1])}`,
      );
    }
    deps[name] = value;
  }
  return deps;
}

async function withLimit(work: Promise<void>, ms: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`still busy after ${ms} ms`)), ms);
  });
  await Promise.race([work, limit]).finally(() => clearTimeout(timer));
}
