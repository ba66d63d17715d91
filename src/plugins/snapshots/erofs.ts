/**
 * The erofs snapshotter: a committed snapshot is one read-only EROFS image, an active one a plain directory over the images of
 * its parents. Layout as containerd's: `snapshots/<id>/{.erofslayer,fs,work,layer.erofs}`.
 *
 * Images are mounted on their `fs` folder when a snapshot above them is first asked for, and detached when they are removed
 * or the daemon stops; what overlay mounted keeps its layers. So clients get ordinary bind and overlay mounts.
 */
import { existsSync } from "node:fs";
import { chmod, chown, mkdir, rename, rm, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Call, NamespacedCall } from "../../core/call.ts";
import { failedPrecondition, invalidArgument } from "../../core/errors.ts";
import type { Mount } from "../../core/mounts/mount.ts";
import { SNAPSHOTTER } from "../../core/plugin/kinds.ts";
import { definePlugin } from "../../core/plugin/plugin.ts";
import type {
  BackendSnapshot,
  LayerImages,
  SnapshotBackend,
  Usage,
} from "../../core/snapshots/snapshotter.ts";
import { KeyedMutex } from "../../lib/keyed-mutex.ts";
import { unmountAll, unmountTree } from "../../platform/mounts/mounts.ts";
import { MNT_DETACH } from "../../platform/syscalls/constants.ts";
import { SnapshotDirectories } from "./directories.ts";
import {
  buildImage,
  guardImage,
  IMAGE,
  type ImageGuards,
  MARKER,
  releaseImage,
  requireErofs,
  requireVerity,
  requireVerityIn,
  syncImage,
} from "./erofs-image.ts";
import { runJob } from "./jobs.ts";
import { booleanKey, stringKey, stringListKey } from "./keys.ts";

/** Keys of the config table that do something. */
export interface ErofsConfig {
  readonly rootPath: string;
  readonly mountOptions: readonly string[];
  readonly guards: ImageGuards;
}

/** See the file's comment. */
export class ErofsBackend implements SnapshotBackend {
  readonly name = "erofs";
  readonly capabilities: readonly string[] = [];
  readonly exports: ReadonlyMap<string, string>;
  /** The size of a committed snapshot is that of its image. */
  readonly measureCommitted = true;
  readonly #dirs: SnapshotDirectories;
  readonly #options: readonly string[];
  readonly #guards: ImageGuards;
  readonly #mounting = new KeyedMutex();
  readonly images: LayerImages = {
    owns: (mounts) => folderOf(mounts) !== undefined,
    seal: (call, mounts, options) => {
      const folder = requireFolder(mounts);
      return buildImage(call, join(folder, "fs"), folder, options);
    },
    take: async (call, mounts, file) => {
      const folder = requireFolder(mounts);
      await runJob(call, { mode: "copy-file", from: file, to: join(folder, `${IMAGE}.new`) });
      await rename(join(folder, `${IMAGE}.new`), join(folder, IMAGE));
    },
    receive: async (mounts, write) => {
      const folder = requireFolder(mounts);
      const path = join(folder, `${IMAGE}.new`);
      try {
        await write(path);
      } catch (err) {
        await rm(path, { force: true });
        throw err;
      }
      await rename(path, join(folder, IMAGE));
    },
  };

  constructor(dirs: SnapshotDirectories, config: ErofsConfig) {
    this.#dirs = dirs;
    this.#options = ["index=off", ...config.mountOptions];
    this.#guards = config.guards;
    this.exports = new Map([["root", dirs.root]]);
  }

  async create(call: NamespacedCall, snapshot: BackendSnapshot): Promise<void> {
    const [parent] = snapshot.parents;
    await this.#show(call, snapshot.parents);
    const like = parent === undefined ? undefined : await stat(this.#dirs.path(parent, "fs"));
    await this.#dirs.create(snapshot.id, async (path) => {
      const upper = join(path, "fs");
      await mkdir(upper, { mode: 0o755 });
      if (snapshot.kind === "active") await mkdir(join(path, "work"), { mode: 0o711 });
      await writeFile(join(path, MARKER), "");
      if (like !== undefined) await chown(upper, like.uid, like.gid);
      await chmod(upper, like === undefined ? 0o755 : like.mode & 0o7777);
    });
  }

  async mounts(call: NamespacedCall, snapshot: BackendSnapshot): Promise<Mount[]> {
    const { id, kind, parents } = snapshot;
    const [nearest] = parents;
    const readonly = kind !== "active";
    if (!readonly && existsSync(this.#dirs.path(id, IMAGE)) && !existsSync(this.#dirs.path(id, "work")))
      throw failedPrecondition(
        "snapshot was being committed when the daemon ended: commit it again, or remove it",
      );
    await this.#show(call, parents);
    if (nearest === undefined) return [bind(this.#dirs.path(id, "fs"), readonly)];
    if (readonly && parents.length === 1) return [bind(this.#dirs.path(nearest, "fs"), true)];
    const lower = parents.map((parent) => this.#dirs.path(parent, "fs").replace(/[\\:]/g, "\\$&"));
    const options = [...this.#options];
    if (!readonly)
      options.push(`workdir=${this.#dirs.path(id, "work")}`, `upperdir=${this.#dirs.path(id, "fs")}`);
    options.push(`lowerdir=${lower.join(":")}`);
    return [{ type: "overlay", source: "overlay", target: "", options }];
  }

  async usage(call: NamespacedCall, snapshot: BackendSnapshot): Promise<Usage> {
    if (snapshot.kind !== "committed") return this.#dirs.usage(call, this.#dirs.path(snapshot.id, "fs"));
    const { blocks } = await stat(this.#dirs.path(snapshot.id, IMAGE));
    return { inodes: 1n, size: BigInt(blocks) * 512n };
  }

  /** Makes the image, unless the erofs differ has, and lets go of the tree it was made of. */
  async commit(call: NamespacedCall, { id }: BackendSnapshot, sync: boolean): Promise<void> {
    const folder = this.#dirs.path(id);
    const [tree, work] = [join(folder, "fs"), join(folder, "work")];
    if (!existsSync(join(folder, IMAGE))) await buildImage(call, tree, folder, []);
    if (sync) await syncImage(folder);
    guardImage(folder, this.#guards);
    // "work" goes first: without it the image is all there is of the snapshot
    for (const path of [work, tree]) await this.#dirs.discard(path);
    await mkdir(tree, { mode: 0o755 });
  }

  flush(call: Call): Promise<void> {
    return this.#dirs.flush(call);
  }

  async remove(call: NamespacedCall, id: bigint): Promise<void> {
    await unmountAll(this.#dirs.path(id, "fs"), MNT_DETACH);
    releaseImage(this.#dirs.path(id));
    await this.#dirs.remove(call, id);
  }

  ids(): Promise<bigint[]> {
    return this.#dirs.ids();
  }

  /** Detaches every image. */
  async close(): Promise<void> {
    await unmountTree(join(this.#dirs.root, "snapshots"));
  }

  /** Mounts the images of committed snapshots that are not. */
  async #show(call: NamespacedCall, ids: readonly bigint[]): Promise<void> {
    const hidden: bigint[] = [];
    for (const id of ids) if (!(await this.#shown(id))) hidden.push(id);
    if (hidden.length === 0) return;
    // one at a time: a second mount of an image would stay for ever
    using _lock = await this.#mounting.acquire("", call.signal);
    const images: { readonly image: string; readonly target: string }[] = [];
    for (const id of hidden) {
      if (await this.#shown(id)) continue;
      if (this.#guards.verity) requireVerity(this.#dirs.path(id, IMAGE));
      images.push({ image: this.#dirs.path(id, IMAGE), target: this.#dirs.path(id, "fs") });
    }
    if (images.length > 0) await runJob(call, { mode: "mount-erofs", images });
  }

  async #shown(id: bigint): Promise<boolean> {
    const [folder, tree] = await Promise.all([stat(this.#dirs.path(id)), stat(this.#dirs.path(id, "fs"))]);
    return folder.dev !== tree.dev;
  }
}

/** The folder of the active erofs snapshot that the mounts are of. */
function folderOf(mounts: readonly Mount[]): string | undefined {
  const [mount] = mounts;
  if (mounts.length !== 1 || mount === undefined) return undefined;
  const upper = mount.options.find((option) => option.startsWith("upperdir="))?.slice("upperdir=".length);
  const tree = mount.type === "bind" ? mount.source : upper;
  if (tree === undefined || mount.options.includes("ro")) return undefined;
  return existsSync(join(dirname(tree), MARKER)) ? dirname(tree) : undefined;
}

function requireFolder(mounts: readonly Mount[]): string {
  const folder = folderOf(mounts);
  if (folder === undefined) throw failedPrecondition("mounts are not of an active erofs snapshot");
  return folder;
}

function bind(source: string, readonly: boolean): Mount {
  return { type: "bind", source, target: "", options: [readonly ? "ro" : "rw", "rbind"] };
}

/** What containerd's has and this has not: asking for it is an error, as it would be missed silently. */
function refuseMissing(table: Readonly<Record<string, unknown>>): void {
  const size = stringKey(table, "default_size");
  if (size !== "" && !/^0+[a-zA-Z]*$/.test(size))
    throw invalidArgument('config key "default_size": not offered: writable layers are folders');
  const mode = stringKey(table, "dmverity_mode");
  if (!["", "auto", "on", "off"].includes(mode))
    throw invalidArgument(`config key "dmverity_mode": "${mode}": want "auto", "on" or "off"`);
  if (mode === "on")
    throw failedPrecondition('dmverity_mode is "on", but dm-verity is not supported by this engine', {
      hint: "enable_fsverity protects layer images, too",
    });
  if (stringListKey(table, "layer_content_caches").length > 0)
    throw invalidArgument('config key "layer_content_caches": not offered');
}

export default definePlugin({
  kind: SNAPSHOTTER,
  id: "erofs",
  requires: {},
  config: {
    defaults: {
      root_path: "",
      ovl_mount_options: [],
      enable_fsverity: false,
      set_immutable: false,
      default_size: "",
      dmverity_mode: "",
      layer_content_caches: [],
    },
    parse(table): ErofsConfig {
      refuseMissing(table);
      return {
        rootPath: stringKey(table, "root_path"),
        mountOptions: stringListKey(table, "ovl_mount_options"),
        guards: {
          verity: booleanKey(table, "enable_fsverity"),
          immutable: booleanKey(table, "set_immutable"),
        },
      };
    },
  },
  onFailure: "optional",
  async init(host, _deps, config) {
    await requireErofs();
    const root = config.rootPath === "" ? host.root : config.rootPath;
    const dirs = new SnapshotDirectories(root, host.log, false);
    await dirs.open();
    if (config.guards.verity) await requireVerityIn(root);
    await dirs.recover();
    const backend = new ErofsBackend(dirs, config);
    host.onStop(async () => {
      await dirs.close();
      await backend.close();
    });
    host.describe({
      exports: { root },
      platforms: [{ os: "linux", architecture: process.arch === "arm64" ? "arm64" : "amd64" }],
    });
    return backend;
  },
});
