/**
 * The btrfs snapshotter: every snapshot is a subvolume, a child starts as a snapshot of its parent, which costs nothing.
 * `<root>/snapshots/<id>/fs` is the subvolume; the root must be on btrfs.
 */
import { existsSync } from "node:fs";
import { chmod, mkdir, statfs } from "node:fs/promises";
import { join } from "node:path";
import type { Call, NamespacedCall } from "../../core/call.ts";
import { codeOf, messageOf } from "../../core/errors.ts";
import type { Logger } from "../../core/log.ts";
import type { Mount } from "../../core/mounts/mount.ts";
import { SNAPSHOTTER } from "../../core/plugin/kinds.ts";
import { definePlugin, SkipPlugin } from "../../core/plugin/plugin.ts";
import type { BackendSnapshot, SnapshotBackend, Usage } from "../../core/snapshots/snapshotter.ts";
import { BTRFS_MAGIC } from "../../platform/syscalls/btrfs.ts";
import { SnapshotDirectories } from "./directories.ts";
import { runJob } from "./jobs.ts";
import { stringKey } from "./keys.ts";

/** Subvolume in a snapshot's folder. */
const FS = "fs";

/** See the file's comment. */
export class BtrfsBackend implements SnapshotBackend {
  readonly name = "btrfs";
  readonly capabilities: readonly string[] = [];
  readonly exports: ReadonlyMap<string, string>;
  readonly #dirs: SnapshotDirectories;
  readonly #log: Logger;

  constructor(dirs: SnapshotDirectories, log: Logger) {
    this.#dirs = dirs;
    this.#log = log;
    this.exports = new Map([["root", dirs.root]]);
  }

  async create(call: NamespacedCall, snapshot: BackendSnapshot): Promise<void> {
    const [parent] = snapshot.parents;
    await this.#dirs.create(snapshot.id, async (path) => {
      const to = join(path, FS);
      // a view shows its parent's own subvolume
      if (parent === undefined) {
        await runJob(call, { mode: "subvolume", path: to });
        await chmod(to, 0o755);
      } else if (snapshot.kind === "active")
        await runJob(call, { mode: "subvolume", path: to, from: this.#dirs.path(parent, FS) });
    });
  }

  async mounts(_call: NamespacedCall, snapshot: BackendSnapshot): Promise<Mount[]> {
    const [parent] = snapshot.parents;
    const readonly = snapshot.kind !== "active";
    const id = readonly && parent !== undefined ? parent : snapshot.id;
    // a subvolume is a folder like any other: binding it needs neither its device nor its number
    return [
      {
        type: "bind",
        source: this.#dirs.path(id, FS),
        target: "",
        options: [readonly ? "ro" : "rw", "rbind"],
      },
    ];
  }

  /** What the snapshot added to its parent; shared extents make anything finer a matter of quota groups. */
  async usage(call: NamespacedCall, snapshot: BackendSnapshot): Promise<Usage> {
    const [parent] = snapshot.parents;
    if (snapshot.kind === "view" && parent !== undefined) return { inodes: 0n, size: 0n };
    const own = await this.#dirs.usage(call, this.#dirs.path(snapshot.id, FS));
    if (parent === undefined) return own;
    const base = await this.#dirs.usage(call, this.#dirs.path(parent, FS));
    const more = (a: bigint, b: bigint): bigint => (a > b ? a - b : 0n);
    return { inodes: more(own.inodes, base.inodes), size: more(own.size, base.size) };
  }

  async commit(call: NamespacedCall, _snapshot: BackendSnapshot, sync: boolean): Promise<void> {
    if (sync) await this.flush(call);
  }

  flush(call: Call): Promise<void> {
    return this.#dirs.flush(call);
  }

  async remove(call: NamespacedCall, id: bigint): Promise<void> {
    const path = this.#dirs.path(id, FS);
    if (existsSync(path)) {
      // a subvolume goes at once; one that a container made others in is removed as a tree below
      await runJob(call, { mode: "drop-subvolume", path }).catch((err: unknown) => {
        if (codeOf(err) !== "internal") throw err;
        this.#log.debug("subvolume is removed as a tree", { path, err: messageOf(err) });
      });
    }
    await this.#dirs.remove(call, id);
  }

  ids(): Promise<bigint[]> {
    return this.#dirs.ids();
  }
}

export default definePlugin({
  kind: SNAPSHOTTER,
  id: "btrfs",
  requires: {},
  config: { defaults: { root_path: "" }, parse: (table) => stringKey(table, "root_path") },
  onFailure: "optional",
  async init(host, _deps, rootPath) {
    const root = rootPath === "" ? host.root : rootPath;
    const near = existsSync(root) ? root : host.daemon.root;
    if ((await statfs(near)).type !== BTRFS_MAGIC)
      throw new SkipPlugin(`"${near}" is not on btrfs: move the root or set root_path to a folder that is`);
    await mkdir(root, { recursive: true, mode: 0o700 });
    const dirs = new SnapshotDirectories(root, host.log, false);
    await dirs.open();
    await dirs.recover();
    host.onStop(() => dirs.close());
    host.describe({
      exports: { root },
      platforms: [{ os: "linux", architecture: process.arch === "arm64" ? "arm64" : "amd64" }],
    });
    return new BtrfsBackend(dirs, host.log);
  },
});
