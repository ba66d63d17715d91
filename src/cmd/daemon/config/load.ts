/**
 * Loads the daemon's configuration: file, imports, versions, defaults, checks. Keys nobody knows are warned about with
 * file and line and ignored, as containerd does.
 */
import { existsSync, globSync, readdirSync, readFileSync } from "node:fs";
import { basename, dirname, isAbsolute, join, resolve } from "node:path";
import { parse as parseToml, TomlError } from "smol-toml";
import { invalidArgument, messageOf, notFound } from "../../../core/errors.ts";
import { isTable, LATEST, type Moved, migrate, type Table } from "./migrate.ts";
import { locateKeys, type Positions, pathKey } from "./positions.ts";
import { type KnownTables, topLevel } from "./schema.ts";

/** Something to tell the user about a file. */
export interface ConfigWarning {
  readonly file: string;
  /** 1-based; undefined when not known. */
  readonly line: number | undefined;
  readonly key: string;
  readonly message: string;
}

/** A loaded configuration in the internal form. */
export interface LoadedConfig {
  /** Version of the main file; LATEST when there is none. */
  readonly version: number;
  /** Main file and imports, in order. */
  readonly files: readonly string[];
  /** Everything, merged, without defaults. */
  readonly settings: Table;
  readonly warnings: readonly ConfigWarning[];
  readonly moved: readonly (Moved & { file: string; line: number | undefined })[];
  /** Line of each key of each file as written, for `config explain`. */
  readonly positions: ReadonlyMap<string, Positions>;
  /** Folders that a pattern of `imports` names: a new file there belongs to the configuration. */
  readonly importFolders: readonly string[];
  /** Files that the patterns of `imports` match now. */
  importCandidates(): readonly string[];
}

interface OneFile {
  readonly path: string;
  /** Not imported by another one. */
  readonly main: boolean;
  readonly config: Table;
  readonly version: number;
  readonly positions: Positions;
  readonly moved: readonly Moved[];
}

/** Largest config file read. Bytes. */
const MAX_FILE = 4 << 20;

/**
 * Loads `path` and its imports. A missing file is an empty configuration unless `must`.
 * @throws not-found, invalid-argument (syntax, version) naming file and line
 */
export function loadConfig(path: string, must: boolean, known: KnownTables): LoadedConfig {
  if (!existsSync(path)) {
    if (must)
      throw notFound(`read config "${path}": no such file`, {
        hint: `name a file that is there, or make it: containerd config default > ${path}; without --config a missing file is no error`,
      });
    return {
      version: LATEST,
      files: [],
      settings: {},
      warnings: [],
      moved: [],
      positions: new Map(),
      importFolders: [],
      importCandidates: () => [],
    };
  }
  const files: OneFile[] = [];
  collect(resolve(path), files);
  const patterns = files.flatMap(importPatterns);
  const warnings: ConfigWarning[] = [];
  let settings: Table = {};
  for (const file of files) {
    warnings.push(...unknownKeys(file, known));
    settings = merge(settings, file.config);
  }
  delete settings["imports"];
  return {
    version: files[0]?.version ?? LATEST,
    files: files.map((f) => f.path),
    settings,
    warnings,
    moved: files.flatMap((f) =>
      f.moved.map((m) => ({ ...m, file: f.path, line: f.positions.get(pathKey(m.from)) })),
    ),
    positions: new Map(files.map((f) => [f.path, f.positions])),
    importFolders: patterns.filter((p) => isPattern(p) && !isPattern(dirname(p))).map((p) => dirname(p)),
    importCandidates: () => patterns.flatMap(matches),
  };
}

function isPattern(path: string): boolean {
  return /[*?[]/.test(path);
}

function matches(pattern: string): string[] {
  if (!isPattern(pattern)) return [pattern];
  const [folder, name] = [dirname(pattern), basename(pattern)];
  // the library for more than that takes 3 ms of every start
  const simple = !/[*?[{]/.test(folder) && /^[\w.*-]+$/.test(name) && !name.includes("**");
  return simple ? filesLike(folder, name) : globSync(pattern).sort();
}

/** Files of a folder whose names fit a pattern of `*` only; hidden ones when it begins with a dot. */
function filesLike(folder: string, pattern: string): string[] {
  const parts = pattern.split("*").map((part) => part.replaceAll(".", "\\."));
  const expression = new RegExp(`^${parts.join(".*")}$`);
  let names: string[];
  try {
    names = readdirSync(folder);
  } catch {
    return [];
  }
  return names
    .filter((name) => expression.test(name) && (pattern.startsWith(".") || !name.startsWith(".")))
    .sort()
    .map((name) => join(folder, name));
}

/** Absolute patterns of a file's `imports`; the main file without the key has the default drop-in folder. */
function importPatterns(file: OneFile): string[] {
  const imports = file.config["imports"] ?? (file.main ? topLevel["imports"] : undefined);
  return (Array.isArray(imports) ? imports : [])
    .filter((p): p is string => typeof p === "string")
    .map((p) => (isAbsolute(p) ? p : join(dirname(file.path), p)));
}

function collect(path: string, out: OneFile[]): void {
  if (out.some((f) => f.path === path)) return;
  const file = readOne(path, out.length === 0);
  out.push(file);
  for (const pattern of importPatterns(file))
    for (const hit of matches(pattern)) if (existsSync(hit)) collect(resolve(hit), out);
}

function readOne(path: string, main: boolean): OneFile {
  const text = readFileSync(path);
  if (text.length > MAX_FILE) throw invalidArgument(`read config "${path}": larger than ${MAX_FILE} bytes`);
  const source = text.toString("utf8");
  let parsed: Table;
  try {
    parsed = parseToml(source) as Table;
  } catch (err) {
    const at = err instanceof TomlError ? `line ${err.line}, column ${err.column}: ` : "";
    throw invalidArgument(`parse config "${path}": ${at}${messageOf(err).split("\n")[0]}`, { cause: err });
  }
  const version = parsed["version"] ?? 1;
  if (typeof version !== "number" || !Number.isInteger(version) || version < 1) {
    throw invalidArgument(`parse config "${path}": version must be a whole number from 1 to ${LATEST}`);
  }
  if (version > LATEST)
    throw invalidArgument(
      `parse config "${path}": version ${version} is newer than this engine reads (${LATEST})`,
    );
  const { config, moved } = migrate(parsed, version);
  return { path, main, config, version, positions: locateKeys(source), moved };
}

/**
 * Merges a later file over an earlier one: non-empty scalars win, lists are united; stream_processors, proxy_plugins
 * and timeouts are replaced per key.
 */
export function merge(base: Table, over: Table): Table {
  const out: Table = { ...base };
  for (const [key, value] of Object.entries(over)) {
    const old = out[key];
    if (key === "stream_processors" || key === "proxy_plugins" || key === "timeouts")
      out[key] = { ...(isTable(old) ? old : {}), ...(isTable(value) ? value : {}) };
    else if (isTable(value) && isTable(old)) out[key] = merge(old, value);
    else if (Array.isArray(value) && Array.isArray(old))
      out[key] = [...old, ...value.filter((v) => !old.includes(v))];
    else if (old === undefined || (value !== "" && value !== 0 && value !== false)) out[key] = value;
  }
  return out;
}

/** Warns about every key that neither a plugin nor the daemon knows. */
function unknownKeys(file: OneFile, known: KnownTables): ConfigWarning[] {
  const out: ConfigWarning[] = [];
  const back = (path: readonly string[]): readonly string[] => {
    const hit = file.moved
      .filter((m) => m.to.every((part, i) => path[i] === part))
      .sort((a, b) => b.to.length - a.to.length)[0];
    return hit === undefined ? path : [...hit.from, ...path.slice(hit.to.length)];
  };
  const warn = (path: readonly string[], message: string): void => {
    const written = back(path);
    out.push({
      file: file.path,
      line: file.positions.get(pathKey(written)),
      key: written.join("."),
      message,
    });
  };
  const walk = (table: Table, shape: Table, path: readonly string[]): void => {
    for (const [key, value] of Object.entries(table)) {
      const want = shape[key];
      if (want === undefined && !Object.hasOwn(shape, key)) warn([...path, key], "unknown key, ignored");
      else if (isTable(want) && Object.keys(want).length > 0 && isTable(value))
        walk(value, want, [...path, key]);
      else if (want !== undefined && !sameType(want, value))
        warn([...path, key], `expected ${typeName(want)}, got ${typeName(value)}`);
    }
  };
  for (const [key, value] of Object.entries(file.config)) {
    if (key === "plugins" && isTable(value)) {
      for (const [uri, table] of Object.entries(value)) {
        const shape = known[uri];
        if (shape === undefined) warn(["plugins", uri], "unknown plugin, ignored");
        else if (isTable(table)) walk(table, shape, ["plugins", uri]);
      }
    } else if (!Object.hasOwn(topLevel, key)) warn([key], "unknown key, ignored");
    else if (isTable(value)) walk({ [key]: value }, topLevel, []);
  }
  return out;
}

function sameType(want: unknown, value: unknown): boolean {
  return typeName(want) === typeName(value) || (typeof want === "string" && typeof value === "number");
}

function typeName(value: unknown): string {
  if (Array.isArray(value)) return "list";
  if (isTable(value)) return "table";
  return typeof value === "bigint" ? "number" : typeof value;
}
