/**
 * The blockfile snapshotter: every snapshot is a file with a file system in it, a child starts as a copy of its parent's file
 * (cheap where the root can share extents). The first is a copy of `scratch_file`, which the administrator makes once, e.g.
 * `truncate -s 1G scratch && mkfs.ext4 scratch`.
 */
import { existsSync } from "node:fs";
import { open, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Call, NamespacedCall } from "../../core/call.ts";
import type { Mount } from "../../core/mounts/mount.ts";
import { SNAPSHOTTER } from "../../core/plugin/kinds.ts";
import { definePlugin, SkipPlugin } from "../../core/plugin/plugin.ts";
import type { BackendSnapshot, SnapshotBackend, Usage } from "../../core/snapshots/snapshotter.ts";
import { SnapshotDirectories } from "./directories.ts";
import { runJob } from "./jobs.ts";
import { stringKey, stringListKey } from "./keys.ts";

/** Name of a snapshot's file in its folder. */
const FILE = "fs";

/** Keys of the config table. */
export interface BlockfileConfig {
  readonly rootPath: string;
  readonly scratchFile: string;
  readonly fsType: string;
  readonly mountOptions: readonly string[];
}

/** See the file's comment. */
export class BlockfileBackend implements SnapshotBackend {
  readonly name = "blockfile";
  readonly capabilities: readonly string[] = [];
  readonly exports: ReadonlyMap<string, string>;
  readonly #dirs: SnapshotDirectories;
  readonly #config: BlockfileConfig;

  constructor(dirs: SnapshotDirectories, config: BlockfileConfig) {
    this.#dirs = dirs;
    this.#config = config;
    this.exports = new Map([["root", dirs.root]]);
  }

  async create(call: NamespacedCall, snapshot: BackendSnapshot): Promise<void> {
    const [parent] = snapshot.parents;
    const from = parent === undefined ? this.#config.scratchFile : this.#dirs.path(parent, FILE);
    await this.#dirs.create(snapshot.id, async (path) => {
      // a view shows its parent's own file
      if (parent !== undefined && snapshot.kind === "view") return;
      await runJob(call, { mode: "copy-file", from, to: join(path, FILE) });
    });
  }

  async mounts(_call: NamespacedCall, snapshot: BackendSnapshot): Promise<Mount[]> {
    const [parent] = snapshot.parents;
    const readonly = snapshot.kind !== "active";
    const id = snapshot.kind === "view" && parent !== undefined ? parent : snapshot.id;
    const options = [...this.#config.mountOptions, readonly ? "ro" : "rw", "loop"];
    return [{ type: this.#config.fsType, source: this.#dirs.path(id, FILE), target: "", options }];
  }

  /** Blocks of the file: what is in it is the kernel's. */
  async usage(_call: NamespacedCall, snapshot: BackendSnapshot): Promise<Usage> {
    const path = this.#dirs.path(snapshot.id, FILE);
    if (!existsSync(path)) return { inodes: 0n, size: 0n };
    return { inodes: 1n, size: BigInt((await stat(path)).blocks) * 512n };
  }

  async commit(_call: NamespacedCall, snapshot: BackendSnapshot, sync: boolean): Promise<void> {
    if (!sync) return;
    const file = await open(this.#dirs.path(snapshot.id, FILE), "r");
    try {
      await file.sync();
    } finally {
      await file.close();
    }
  }

  flush(call: Call): Promise<void> {
    return this.#dirs.flush(call);
  }

  remove(call: NamespacedCall, id: bigint): Promise<void> {
    return this.#dirs.remove(call, id);
  }

  ids(): Promise<bigint[]> {
    return this.#dirs.ids();
  }
}

export default definePlugin({
  kind: SNAPSHOTTER,
  id: "blockfile",
  requires: {},
  config: {
    defaults: { root_path: "", scratch_file: "", fs_type: "ext4", mount_options: [] },
    parse: (table): BlockfileConfig => ({
      rootPath: stringKey(table, "root_path"),
      scratchFile: stringKey(table, "scratch_file"),
      fsType: stringKey(table, "fs_type") || "ext4",
      mountOptions: stringListKey(table, "mount_options"),
    }),
  },
  onFailure: "optional",
  async init(host, _deps, config) {
    if (config.scratchFile === "")
      throw new SkipPlugin("scratch_file is not configured: name a file with an empty file system");
    if (!existsSync(config.scratchFile))
      throw new SkipPlugin(`scratch_file "${config.scratchFile}" does not exist`);
    const root = config.rootPath === "" ? host.root : config.rootPath;
    const dirs = new SnapshotDirectories(root, host.log, false);
    await dirs.open();
    await dirs.recover();
    host.onStop(() => dirs.close());
    host.describe({
      exports: { root },
      platforms: [{ os: "linux", architecture: process.arch === "arm64" ? "arm64" : "amd64" }],
    });
    return new BlockfileBackend(dirs, config);
  },
});
