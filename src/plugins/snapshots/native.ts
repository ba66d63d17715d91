/** The native snapshotter: every snapshot is a full copy of its parent. Works on any file system; cheap where it can reflink. */
import { chmod } from "node:fs/promises";
import type { Call, NamespacedCall } from "../../core/call.ts";
import type { Mount } from "../../core/mounts/mount.ts";
import { SNAPSHOTTER } from "../../core/plugin/kinds.ts";
import { definePlugin } from "../../core/plugin/plugin.ts";
import type { BackendSnapshot, SnapshotBackend, Usage } from "../../core/snapshots/snapshotter.ts";
import { SnapshotDirectories } from "./directories.ts";
import { runJob } from "./jobs.ts";
import { stringKey } from "./keys.ts";

/** Stores snapshots as whole trees in `snapshots/<id>`. */
export class NativeBackend implements SnapshotBackend {
  readonly name = "native";
  readonly capabilities: readonly string[] = [];
  readonly exports: ReadonlyMap<string, string>;
  readonly #dirs: SnapshotDirectories;

  constructor(dirs: SnapshotDirectories) {
    this.#dirs = dirs;
    this.exports = new Map([["root", dirs.root]]);
  }

  async create(call: NamespacedCall, snapshot: BackendSnapshot): Promise<void> {
    const [parent] = snapshot.parents;
    await this.#dirs.create(snapshot.id, async (path) => {
      await chmod(path, 0o755);
      // A view shows its parent's own directory.
      if (parent !== undefined && snapshot.kind === "active")
        await runJob(call, { mode: "copy", from: this.#dirs.path(parent), to: path });
    });
  }

  async mounts(_call: NamespacedCall, snapshot: BackendSnapshot): Promise<Mount[]> {
    const [parent] = snapshot.parents;
    const readonly = snapshot.kind !== "active";
    const source = this.#dirs.path(readonly && parent !== undefined ? parent : snapshot.id);
    return [{ type: "bind", source, target: "", options: [readonly ? "ro" : "rw", "rbind"] }];
  }

  usage(call: NamespacedCall, snapshot: BackendSnapshot): Promise<Usage> {
    return this.#dirs.usage(call, this.#dirs.path(snapshot.id));
  }

  async commit(call: NamespacedCall, _snapshot: BackendSnapshot, sync: boolean): Promise<void> {
    if (sync) await this.flush(call);
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
  id: "native",
  requires: {},
  config: { defaults: { root_path: "" }, parse: (table) => stringKey(table, "root_path") },
  onFailure: "optional",
  async init(host, _deps, rootPath) {
    const dirs = new SnapshotDirectories(rootPath === "" ? host.root : rootPath, host.log, false);
    await dirs.open();
    await dirs.recover();
    host.onStop(() => dirs.close());
    const backend = new NativeBackend(dirs);
    host.describe({
      exports: { root: dirs.root },
      platforms: [{ os: "linux", architecture: process.arch === "arm64" ? "arm64" : "amd64" }],
    });
    return backend;
  },
});
