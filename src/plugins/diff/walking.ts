/** The differ `io.containerd.differ.v1.walking`: unpacks layers and makes them from what changed between two trees. */
import { invalidArgument } from "../../core/errors.ts";
import { DIFFER, METADATA } from "../../core/plugin/kinds.ts";
import { definePlugin, one } from "../../core/plugin/plugin.ts";
import { HelperApplier, type LayerLimits } from "./apply.ts";
import { HelperComparer } from "./compare.ts";
import { parseStreamProcessors } from "./stream-processors.ts";

/** Entries a layer may have unless configured; about ten times the largest layers seen. */
const MAX_ENTRIES = 5_000_000;

/** A non-negative whole number of the table. */
function limit(table: Readonly<Record<string, unknown>>, key: string, fallback: number): number {
  const value = table[key] ?? fallback;
  if (typeof value === "bigint" && value >= 0n) return Number(value);
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0) return value;
  throw invalidArgument(`config key "${key}": must be a non-negative integer`);
}

export default definePlugin({
  kind: DIFFER,
  id: "walking",
  requires: { metadata: one(METADATA) },
  // containerd's walking differ has no keys, so none is written by default; these bound hostile layers.
  config: {
    defaults: {},
    parse: (table): LayerLimits => ({
      entries: limit(table, "max_layer_entries", MAX_ENTRIES),
      bytes: limit(table, "max_layer_bytes", 0),
    }),
  },
  onFailure: "optional",
  init(host, { metadata }, limits) {
    host.describe({
      platforms: [{ os: "linux", architecture: process.arch === "arm64" ? "arm64" : "amd64" }],
    });
    const applier = new HelperApplier(
      metadata.content,
      limits,
      parseStreamProcessors(host.daemon.settings["stream_processors"]),
    );
    const comparer = new HelperComparer(metadata.content);
    return {
      apply: applier.apply.bind(applier),
      start: applier.start.bind(applier),
      compare: comparer.compare.bind(comparer),
    };
  },
});
