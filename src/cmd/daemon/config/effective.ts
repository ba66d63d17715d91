/** The configuration with every default filled in, in the internal form. */
import type { Builtin } from "../boot.ts";
import type { LoadedConfig } from "./load.ts";
import { isTable, type Table } from "./migrate.ts";
import { type KnownTables, openDefaults, reserved, timeouts, topLevel } from "./schema.ts";

/** Shapes of all plugin tables: from the definitions of `builtins`, then the reserved ones. */
export async function knownTables(builtins: readonly Builtin[]): Promise<KnownTables> {
  const out: Record<string, Table> = { ...reserved };
  await Promise.all(
    builtins.map(async (b) => {
      const definition = (await b.load()).default;
      out[b.uri] = { ...(out[b.uri] ?? {}), ...(definition.config.defaults as Table) };
    }),
  );
  return out;
}

/** Fills `settings` up with defaults. `overrides` (flags) win. */
export function effectiveConfig(settings: Table, known: KnownTables, overrides: Table = {}): Table {
  const out = fill(topLevel, settings);
  Object.assign(out, overrides);
  const given = isTable(settings["plugins"]) ? settings["plugins"] : {};
  const plugins: Table = {};
  for (const uri of Object.keys(known).sort()) {
    const table = given[uri];
    const shape = fill(known[uri] ?? {}, openDefaults[uri] ?? {});
    if (Object.keys(shape).length > 0 || isTable(table))
      plugins[uri] = fill(shape, isTable(table) ? table : {});
  }
  out["plugins"] = plugins;
  out["timeouts"] = { ...timeouts, ...(isTable(settings["timeouts"]) ? settings["timeouts"] : {}) };
  return out;
}

/** The plugin tables as boot takes them. */
export function pluginTables(config: LoadedConfig, overrides: Table): Readonly<Record<string, Table>> {
  const given = isTable(config.settings["plugins"]) ? config.settings["plugins"] : {};
  const out: Record<string, Table> = {};
  for (const [uri, table] of Object.entries(given)) if (isTable(table)) out[uri] = { ...table };
  for (const [uri, table] of Object.entries(overrides))
    out[uri] = { ...(out[uri] ?? {}), ...(isTable(table) ? table : {}) };
  return out;
}

function fill(defaults: Table, given: Table): Table {
  const out: Table = structuredClone(defaults);
  for (const [key, value] of Object.entries(given)) {
    const base = out[key];
    out[key] = isTable(value) && isTable(base) ? fill(base, value) : structuredClone(value);
  }
  return out;
}
