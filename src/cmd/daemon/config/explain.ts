/** `config explain KEY`: what a key is for, its default, its value and where that comes from, what a change needs. */
import { isDeepStrictEqual } from "node:util";
import { invalidArgument, notFound } from "../../../core/errors.ts";
import { effectiveConfig } from "./effective.ts";
import { describeKey } from "./keys.ts";
import type { LoadedConfig } from "./load.ts";
import { isTable, migrate, type Table } from "./migrate.ts";
import { pathKey } from "./positions.ts";
import type { KnownTables } from "./schema.ts";
import { renderKey, renderValue } from "./write.ts";

/** One explained key. */
export interface Explained {
  /** Path in version 3 of the file. */
  readonly key: string;
  readonly description: string;
  readonly default: unknown;
  readonly value: unknown;
  /** `FILE:LINE` that sets it, as it is written there; undefined when it has its default. */
  readonly source: string | undefined;
  /** A reload takes it. */
  readonly live: boolean;
}

/** Longest answer. Keys. */
const MAX_KEYS = 40;
/** Keys outside of `plugins` that a reload takes. */
export const LIVE_TOP: readonly string[] = ["debug", "timeouts"];

/** Path of an internal (version 4) key in version 3. */
export function version3Path(path: readonly string[]): string[] {
  const [first, uri = "", key = "", ...rest] = path;
  if (first !== "plugins") return [...path];
  if (uri === "io.containerd.server.v1.grpc-tcp") return ["grpc", `tcp_${key}`, ...rest];
  if (uri === "io.containerd.metrics.v1.grpc-prometheus") return ["metrics", key, ...rest];
  const server = /^io\.containerd\.server\.v1\.(grpc|ttrpc|debug|metrics)$/.exec(uri);
  return server?.[1] === undefined ? [...path] : [server[1], key, ...rest];
}

/**
 * Explains every key whose path ends with `wanted`, in the words of any version of the file.
 * @throws not-found naming keys that look like it, invalid-argument for an empty key
 */
export function explainKey(
  wanted: string,
  config: LoadedConfig,
  known: KnownTables,
  live: ReadonlyMap<string, readonly string[]>,
): Explained[] {
  const parts = splitKey(wanted);
  if (parts.length === 0) throw invalidArgument(`key "${wanted}": empty`);
  const defaults = leaves(effectiveConfig({}, known));
  const values = leaves(effectiveConfig(config.settings, known));
  const paths = [...new Map([...defaults, ...values].map((l) => [pathKey(l.path), l.path])).values()];
  const hits = new Map<string, readonly string[]>();
  for (const want of [parts, ...olderNames(parts)])
    for (const path of paths)
      if (contains(path, want) || contains(version3Path(path), want)) hits.set(pathKey(path), path);
  if (hits.size === 0) throw notFound(`key "${wanted}": no such key`, { hint: similar(parts, paths) });
  return [...hits.values()].slice(0, MAX_KEYS).map((path) => {
    const standard = defaults.find((l) => isDeepStrictEqual(l.path, path))?.value;
    const value = values.find((l) => isDeepStrictEqual(l.path, path))?.value;
    const [top = "", uri = "", key = ""] = path;
    return {
      key: version3Path(path).map(renderKey).join("."),
      description: describeKey(top === "plugins" ? path.slice(1) : path) ?? "",
      default: standard,
      value,
      source: sourceOf(path, config),
      live: top === "plugins" ? (live.get(uri) ?? []).includes(key) : LIVE_TOP.includes(top),
    };
  });
}

/** The explanations as text. */
export function renderExplained(list: readonly Explained[]): string {
  return list
    .map((e) => {
      const lines = [e.key, ...e.description.split("\n").map((l) => `  ${l}`)];
      lines.push(`  default: ${e.default === undefined ? "none" : renderValue(e.default)}`);
      lines.push(
        e.source === undefined
          ? "  in effect: the default"
          : `  in effect: ${renderValue(e.value)}, from ${e.source}`,
      );
      lines.push(
        e.live ? "  a change takes effect without a restart" : "  a change needs a restart of the daemon",
      );
      return `${lines.join("\n")}\n`;
    })
    .join("\n");
}

interface Leaf {
  readonly path: readonly string[];
  readonly value: unknown;
}

function leaves(table: Table, path: readonly string[] = []): Leaf[] {
  return Object.entries(table).flatMap(([key, value]) =>
    isTable(value) && Object.keys(value).length > 0
      ? leaves(value, [...path, key])
      : [{ path: [...path, key], value }],
  );
}

/** Dotted key; parts with dots are quoted, plugin URIs may stand bare. */
function splitKey(text: string): string[] {
  const parts: string[] = [];
  const uri = /(?:^|\.)["']?(io\.containerd\.[a-z-]+(?:\.[a-z-]+)*\.v\d\.[A-Za-z0-9_-]+)["']?(?:\.|$)/.exec(
    text,
  );
  if (uri?.[1] !== undefined) {
    parts.push(
      ...plainParts(text.slice(0, uri.index)),
      uri[1],
      ...plainParts(text.slice(uri.index + uri[0].length)),
    );
    return parts;
  }
  return plainParts(text);
}

function plainParts(text: string): string[] {
  return [...text.matchAll(/"([^"]*)"|'([^']*)'|([^."']+)/g)].map((m) => m[1] ?? m[2] ?? m[3] ?? "");
}

/** Does `path` have `want` as consecutive parts? */
function contains(path: readonly string[], want: readonly string[]): boolean {
  return path.some((_, at) => want.every((part, i) => path[at + i] === part));
}

/** What a key of an older version is called now. */
function olderNames(parts: readonly string[]): string[][] {
  const out: string[][] = [];
  const nested = parts.reduceRight<unknown>((inner, part) => ({ [part]: inner }), "");
  if (!isTable(nested)) return out;
  const tries: [Table, number][] = [
    [nested, 1],
    [nested, 2],
    [nested, 3],
  ];
  for (const uri of ["io.containerd.grpc.v1.cri", "io.containerd.runtime.v2.task"])
    for (const version of [2, 3]) tries.push([{ plugins: { [uri]: nested } }, version]);
  for (const [table, version] of tries) {
    for (const { to } of migrate(table, version).moved) {
      const plugins = to.at(0) === "plugins" && to.length === 2;
      out.push(plugins ? [...to, ...parts.slice(parts.indexOf(parts.at(-1) ?? ""))] : [...to]);
    }
  }
  return out;
}

/** The last file that sets the key, by its written name. */
function sourceOf(path: readonly string[], config: LoadedConfig): string | undefined {
  for (const file of [...config.files].reverse()) {
    const positions = config.positions.get(file);
    if (positions === undefined) continue;
    const names = [path, version3Path(path)];
    for (const m of config.moved)
      if (m.file === file && m.to.every((part, i) => path[i] === part))
        names.push([...m.from, ...path.slice(m.to.length)]);
    for (const name of names) {
      const line = positions.get(pathKey(name));
      if (line === undefined) continue;
      const written = name.map(renderKey).join(".");
      return written === version3Path(path).map(renderKey).join(".")
        ? `${file}:${line}`
        : `${file}:${line} (written as ${written})`;
    }
  }
  return undefined;
}

function similar(parts: readonly string[], paths: readonly (readonly string[])[]): string {
  const word = (parts.at(-1) ?? "").toLowerCase();
  const close = paths
    .map((p) => version3Path(p))
    .filter((p) => p.some((part) => part.toLowerCase().includes(word) || word.includes(part.toLowerCase())))
    .slice(0, 5)
    .map((p) => p.map(renderKey).join("."));
  return close.length === 0
    ? 'run "containerd config default" for all keys'
    : `did you mean one of these?\n  ${close.join("\n  ")}`;
}
