/** Writes configuration as TOML: version 3, which released containerd 2.x and the tools that edit its config use. */
import { KEYS } from "./keys.ts";
import { isTable, type Table } from "./migrate.ts";

/** Keys whose description is written over them: those that people edit. Paths of version 4 as in {@link KEYS}. */
const COMMENTED: readonly string[] = [
  "version",
  "root",
  "state",
  "oom_score",
  "imports",
  "io.containerd.cri.v1.images|pinned_images|sandbox",
  "io.containerd.cri.v1.images|registry|config_path",
  "io.containerd.cri.v1.images|discard_unpacked_layers",
  "io.containerd.cri.v1.images|snapshotter",
  "io.containerd.cri.v1.runtime|cni|bin_dirs",
  "io.containerd.cri.v1.runtime|cni|conf_dir",
  "io.containerd.cri.v1.runtime|containerd|runtimes|runc|options|SystemdCgroup",
  "io.containerd.cri.v1.runtime|containerd|runtimes|runc|options|BinaryName",
  "io.containerd.transfer.v1.local|max_concurrent_downloads",
  "io.containerd.server.v1.grpc|address",
  "io.containerd.server.v1.metrics|address",
  "io.containerd.server.v1.debug|address",
];

/** Comments by dotted path in version 3. */
const COMMENTS: Readonly<Record<string, string>> = Object.fromEntries(
  COMMENTED.map((name) => {
    const parts = name.split("|");
    const server = /^io\.containerd\.server\.v1\.(grpc|metrics|debug)$/.exec(parts[0] ?? "")?.[1];
    const path =
      server !== undefined ? [server, ...parts.slice(1)] : parts.length > 1 ? ["plugins", ...parts] : parts;
    return [path.join("."), KEYS[name] ?? ""];
  }),
);

/** Turns the internal form (version 4) into version 3. */
export function toVersion3(config: Table): Table {
  const out = structuredClone(config);
  out["version"] = 3;
  const plugins = isTable(out["plugins"]) ? out["plugins"] : {};
  const lift = (uri: string, name: string): Table => {
    const table = plugins[uri];
    delete plugins[uri];
    const target = isTable(out[name]) ? out[name] : {};
    out[name] = { ...target, ...(isTable(table) ? table : {}) };
    return out[name] as Table;
  };
  const grpc = lift("io.containerd.server.v1.grpc", "grpc");
  const tcp = plugins["io.containerd.server.v1.grpc-tcp"];
  delete plugins["io.containerd.server.v1.grpc-tcp"];
  for (const [key, value] of Object.entries(isTable(tcp) ? tcp : {}))
    if (!key.startsWith("max_")) grpc[`tcp_${key}`] = value;
  lift("io.containerd.server.v1.ttrpc", "ttrpc");
  lift("io.containerd.server.v1.debug", "debug");
  const metrics = lift("io.containerd.server.v1.metrics", "metrics");
  const prometheus = plugins["io.containerd.metrics.v1.grpc-prometheus"];
  delete plugins["io.containerd.metrics.v1.grpc-prometheus"];
  metrics["grpc_histogram"] = isTable(prometheus) ? (prometheus["grpc_histogram"] ?? false) : false;
  return out;
}

/** Renders a table: scalars first, then sub-tables by name, with comments where we have some. */
export function renderToml(config: Table): string {
  const lines: string[] = [];
  renderTable(config, [], lines);
  return `${lines.join("\n").trim()}\n`;
}

function renderTable(table: Table, path: readonly string[], lines: string[]): void {
  const indent = "  ".repeat(Math.max(0, path.length - 1));
  const scalars = Object.entries(table).filter(([, v]) => !isTable(v));
  const tables = Object.entries(table).filter(([, v]) => isTable(v)) as [string, Table][];
  if (path.length > 0 && (scalars.length > 0 || tables.length === 0)) {
    if (lines.length > 0 && lines.at(-1) !== "") lines.push("");
    lines.push(`${indent}[${path.map(renderKey).join(".")}]`);
  }
  const inner = path.length === 0 ? "" : `${indent}  `;
  for (const [key, value] of scalars) {
    const comment = COMMENTS[[...path, key].join(".")];
    for (const text of comment?.split("\n") ?? []) lines.push(`${inner}# ${text}`);
    lines.push(`${inner}${renderKey(key)} = ${renderValue(value)}`);
  }
  for (const [key, value] of tables.sort(([a], [b]) => (a < b ? -1 : 1)))
    renderTable(value, [...path, key], lines);
}

/** A key as TOML writes it. */
export function renderKey(key: string): string {
  return /^[A-Za-z0-9_-]+$/.test(key) ? key : JSON.stringify(key);
}

/** A value as TOML writes it. */
export function renderValue(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(renderValue).join(", ")}]`;
  if (isTable(value))
    return `{${Object.entries(value)
      .map(([k, v]) => `${renderKey(k)} = ${renderValue(v)}`)
      .join(", ")}}`;
  if (value instanceof Date) return value.toISOString();
  return typeof value === "string" ? JSON.stringify(value) : String(value);
}
