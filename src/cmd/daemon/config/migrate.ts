/**
 * Reads config tables of version 1, 2, 3 and 4 as one internal form, which is version 4's: every setting of a plugin
 * under its uri. Each step reports what a key became, for `config check`.
 */

import { BUILTIN_IMAGES } from "../../../oci/builtin/images.ts";

/** A TOML table. */
export type Table = Record<string, unknown>;

/** A key that moved, for reports; paths from the top of the file. */
export interface Moved {
  readonly from: readonly string[];
  readonly to: readonly string[];
}

/** Newest version of the file format this engine reads. */
export const LATEST = 4;

const IMAGES = "io.containerd.cri.v1.images";
const RUNTIME = "io.containerd.cri.v1.runtime";
const CRI = "io.containerd.grpc.v1.cri";

/** Short plugin names of version 1. */
const V1_NAMES: Readonly<Record<string, string>> = {
  cri: CRI,
  aufs: "io.containerd.snapshotter.v1.aufs",
  btrfs: "io.containerd.snapshotter.v1.btrfs",
  devmapper: "io.containerd.snapshotter.v1.devmapper",
  native: "io.containerd.snapshotter.v1.native",
  overlayfs: "io.containerd.snapshotter.v1.overlayfs",
  zfs: "io.containerd.snapshotter.v1.zfs",
  cgroups: "io.containerd.monitor.v1.cgroups",
  linux: "io.containerd.runtime.v1.linux",
  scheduler: "io.containerd.gc.v1.scheduler",
  bolt: "io.containerd.metadata.v1.bolt",
  task: "io.containerd.runtime.v2.task",
  opt: "io.containerd.internal.v1.opt",
  restart: "io.containerd.internal.v1.restart",
  tracing: "io.containerd.internal.v1.tracing",
  otlp: "io.containerd.tracing.processor.v1.otlp",
  "diff-service": "io.containerd.service.v1.diff-service",
};

/** Keys of the one CRI table of version 2 that belong to the images plugin since version 3. */
const TO_IMAGES = [
  "snapshotter",
  "disable_snapshot_annotations",
  "discard_unpacked_layers",
  "registry",
  "image_decryption",
  "max_concurrent_downloads",
  "image_pull_progress_timeout",
  "image_pull_with_sync_fs",
  "stats_collect_period",
];
/** Keys that stay with the gRPC face. */
const TO_SERVER = [
  "disable_tcp_service",
  "stream_server_address",
  "stream_server_port",
  "stream_idle_timeout",
  "enable_tls_streaming",
  "x509_key_pair_streaming",
];

/** Tables of versions 1 to 3 that became plugins in version 4. */
const TO_PLUGINS: Readonly<Record<string, string>> = {
  grpc: "io.containerd.server.v1.grpc",
  ttrpc: "io.containerd.server.v1.ttrpc",
  metrics: "io.containerd.server.v1.metrics",
};

/** Brings a parsed file to the internal form. The input is not changed. */
export function migrate(source: Table, version: number): { config: Table; moved: Moved[] } {
  const config = structuredClone(source);
  const moved: Moved[] = [];
  if (version < 2) fromVersion1(config, moved);
  if (version < 3) fromVersion2(config, moved);
  else acceptMisplaced(config, moved);
  if (version < 4) fromVersion3(config, moved);
  config["version"] = LATEST;
  return { config, moved };
}

function tableAt(config: Table, ...path: string[]): Table {
  let at = config;
  for (const part of path) {
    const next = at[part];
    if (isTable(next)) at = next;
    else {
      const fresh: Table = {};
      at[part] = fresh;
      at = fresh;
    }
  }
  return at;
}

/** Is this value a table? */
export function isTable(value: unknown): value is Table {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Date);
}

function fromVersion1(config: Table, moved: Moved[]): void {
  const plugins = tableAt(config, "plugins");
  for (const [name, uri] of Object.entries(V1_NAMES)) {
    if (!(name in plugins)) continue;
    plugins[uri] = plugins[name];
    delete plugins[name];
    moved.push({ from: ["plugins", name], to: ["plugins", uri] });
  }
  for (const list of ["disabled_plugins", "required_plugins"]) {
    const names = config[list];
    if (Array.isArray(names))
      config[list] = names.map((n) => (typeof n === "string" ? (V1_NAMES[n] ?? n) : (n as unknown)));
  }
}

function fromVersion2(config: Table, moved: Moved[]): void {
  const plugins = tableAt(config, "plugins");
  rename(plugins, "io.containerd.internal.v1.restart", "io.containerd.monitor.container.v1.restart", moved);
  rename(plugins, "io.containerd.monitor.v1.cgroups", "io.containerd.monitor.task.v1.cgroups", moved);
  const task = plugins["io.containerd.runtime.v2.task"];
  if (isTable(task) && "sched_core" in task) {
    if (task["sched_core"] === true)
      tableAt(plugins, "io.containerd.shim.v1.manager")["env"] = ["SCHED_CORE=1"];
    delete task["sched_core"];
    moved.push({
      from: ["plugins", "io.containerd.runtime.v2.task", "sched_core"],
      to: ["plugins", "io.containerd.shim.v1.manager", "env"],
    });
  }
  const cri = plugins[CRI];
  if (!isTable(cri)) return;
  delete plugins[CRI];
  for (const [key, value] of Object.entries(cri)) {
    const to = placeOf(key);
    if (key === "sandbox_image") tableAt(plugins, IMAGES, "pinned_images")["sandbox"] = value;
    else tableAt(plugins, to)[key] = value;
    moved.push({
      from: ["plugins", CRI, key],
      to: key === "sandbox_image" ? ["plugins", IMAGES, "pinned_images", "sandbox"] : ["plugins", to, key],
    });
  }
  const runtime = plugins[RUNTIME];
  const containerd = isTable(runtime) ? runtime["containerd"] : undefined;
  if (isTable(containerd)) {
    for (const key of ["snapshotter", "disable_snapshot_annotations", "discard_unpacked_layers"]) {
      if (!(key in containerd)) continue;
      tableAt(plugins, IMAGES)[key] = containerd[key];
      delete containerd[key];
      moved.push({ from: ["plugins", CRI, "containerd", key], to: ["plugins", IMAGES, key] });
    }
    const runtimes = containerd["runtimes"];
    for (const handler of isTable(runtimes) ? Object.values(runtimes) : []) {
      if (isTable(handler) && "sandbox_mode" in handler) {
        handler["sandboxer"] = handler["sandbox_mode"];
        delete handler["sandbox_mode"];
      }
    }
  }
  foldCniBinDir(plugins);
}

function placeOf(key: string): string {
  if (key === "sandbox_image" || TO_IMAGES.includes(key)) return IMAGES;
  return TO_SERVER.includes(key) ? CRI : RUNTIME;
}

/** Old keys that people put into newer files are still understood: `sandbox_image` and the old CRI tables. */
function acceptMisplaced(config: Table, moved: Moved[]): void {
  const plugins = config["plugins"];
  if (!isTable(plugins)) return;
  const images = plugins[IMAGES];
  // the last one is where `config default` speaks of the old key
  for (const [path, table] of [
    [[CRI], plugins[CRI]],
    [[IMAGES], images],
    [[RUNTIME], plugins[RUNTIME]],
    [[IMAGES, "pinned_images"], isTable(images) ? images["pinned_images"] : undefined],
  ] as const) {
    if (!isTable(table) || typeof table["sandbox_image"] !== "string") continue;
    const pinned = tableAt(plugins, IMAGES, "pinned_images");
    // a file that `config default` wrote has the default in it, which nobody chose
    if (pinned["sandbox"] === undefined || pinned["sandbox"] === BUILTIN_IMAGES.pause)
      pinned["sandbox"] = table["sandbox_image"];
    delete table["sandbox_image"];
    moved.push({
      from: ["plugins", ...path, "sandbox_image"],
      to: ["plugins", IMAGES, "pinned_images", "sandbox"],
    });
  }
  const cri = plugins[CRI];
  if (isTable(cri)) {
    for (const key of ["registry", "containerd", "cni"]) {
      if (!isTable(cri[key])) continue;
      const to = placeOf(key);
      Object.assign(tableAt(plugins, to, key), cri[key]);
      delete cri[key];
      moved.push({ from: ["plugins", CRI, key], to: ["plugins", to, key] });
    }
  }
  foldCniBinDir(plugins);
}

function foldCniBinDir(plugins: Table): void {
  const runtime = plugins[RUNTIME];
  const cni = isTable(runtime) ? runtime["cni"] : undefined;
  if (isTable(cni) && typeof cni["bin_dir"] === "string" && cni["bin_dir"] !== "") {
    cni["bin_dirs"] ??= [cni["bin_dir"]];
    delete cni["bin_dir"];
  }
}

function fromVersion3(config: Table, moved: Moved[]): void {
  const plugins = tableAt(config, "plugins");
  for (const [name, uri] of Object.entries(TO_PLUGINS)) {
    const table = config[name];
    if (!isTable(table)) continue;
    delete config[name];
    const target = tableAt(plugins, uri);
    for (const [key, value] of Object.entries(table)) {
      const tcp = /^tcp_(address|tls_ca|tls_cert|tls_key|tls_common_name)$/.exec(key);
      if (name === "grpc" && tcp?.[1] !== undefined) {
        tableAt(plugins, "io.containerd.server.v1.grpc-tcp")[tcp[1]] = value;
      } else if (name === "metrics" && key === "grpc_histogram") {
        tableAt(plugins, "io.containerd.metrics.v1.grpc-prometheus")["grpc_histogram"] = value;
      } else target[key] = value;
    }
    moved.push({ from: [name], to: ["plugins", uri] });
  }
  const debug = config["debug"];
  if (isTable(debug)) {
    for (const key of ["address", "uid", "gid"]) {
      if (!(key in debug)) continue;
      tableAt(plugins, "io.containerd.server.v1.debug")[key] = debug[key];
      delete debug[key];
      moved.push({ from: ["debug", key], to: ["plugins", "io.containerd.server.v1.debug", key] });
    }
  }
  const grpc = plugins["io.containerd.server.v1.grpc"];
  const ttrpc = tableAt(plugins, "io.containerd.server.v1.ttrpc");
  if (isTable(grpc) && typeof grpc["address"] === "string" && grpc["address"] !== "" && !ttrpc["address"]) {
    ttrpc["address"] = `${grpc["address"]}.ttrpc`;
  }
  if (Object.keys(ttrpc).length === 0) delete plugins["io.containerd.server.v1.ttrpc"];
}

function rename(plugins: Table, from: string, to: string, moved: Moved[]): void {
  if (!(from in plugins)) return;
  plugins[to] = plugins[from];
  delete plugins[from];
  moved.push({ from: ["plugins", from], to: ["plugins", to] });
}
