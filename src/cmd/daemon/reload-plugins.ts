/** Hands changed keys of a new configuration to the plugins that take them while they run. */
import { isDeepStrictEqual } from "node:util";
import { invalidArgument, messageOf } from "../../core/errors.ts";
import type { AnyPluginDefinition } from "../../core/plugin/plugin.ts";

type Table = Readonly<Record<string, unknown>>;

/** A running plugin as a reload sees it. */
export interface LivePlugin {
  readonly uri: string;
  readonly definition: AnyPluginDefinition;
  /** The table it runs with, defaults filled in; replaced by a reload. */
  table: Table;
  readonly takers: readonly ((config: unknown) => void | Promise<void>)[];
}

/** What a reload did: dotted keys. */
export interface ReloadReport {
  readonly applied: readonly string[];
  /** Changed in the file, but only a restart takes them. */
  readonly restart: readonly string[];
}

/**
 * Checks every table first, so that a bad one changes nothing, then applies what can change live. A key that needs a
 * restart keeps its old value in what later reloads compare with, so it is named again until the restart.
 * @param checked called between the two: everything is right, nothing was handed over
 * @throws invalid-argument naming the plugin and the key
 */
export async function reloadPlugins(
  plugins: readonly LivePlugin[],
  tables: Readonly<Record<string, Table>>,
  checked: () => void = () => {},
): Promise<ReloadReport> {
  const restart: string[] = [];
  const steps: { plugin: LivePlugin; table: Table; config: unknown; live: string[] }[] = [];
  for (const plugin of plugins) {
    const next: Table = { ...plugin.definition.config.defaults, ...(tables[plugin.uri] ?? {}) };
    const changed = [...new Set([...Object.keys(plugin.table), ...Object.keys(next)])].filter(
      (key) => !isDeepStrictEqual(plugin.table[key], next[key]),
    );
    if (changed.length === 0) continue;
    const taken = new Set(plugin.takers.length === 0 ? [] : plugin.definition.config.live);
    const live = changed.filter((key) => taken.has(key));
    restart.push(...changed.filter((key) => !taken.has(key)).map((key) => `plugins.${plugin.uri}.${key}`));
    const table: Table = {
      ...plugin.table,
      ...Object.fromEntries(live.map((key) => [key, next[key]])),
    };
    try {
      // the file as written must be right, and so must the mixture that will run
      await plugin.definition.config.parse(next);
      steps.push({ plugin, table, config: await plugin.definition.config.parse(table), live });
    } catch (err) {
      throw invalidArgument(`plugins."${plugin.uri}": ${messageOf(err)}`, { cause: err });
    }
  }
  checked();
  const applied: string[] = [];
  for (const { plugin, table, config, live } of steps) {
    if (live.length > 0) for (const apply of plugin.takers) await apply(config);
    plugin.table = table;
    applied.push(...live.map((key) => `plugins.${plugin.uri}.${key}`));
  }
  return { applied, restart };
}
