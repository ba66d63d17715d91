/** The overlayfs snapshotter: one directory per snapshot, stacked by the kernel. Layout as containerd's: `snapshots/<id>/{fs,work}`. */

import { existsSync, readFileSync } from "node:fs";
import { chmod, chown, mkdir, mkdtemp, rm, stat } from "node:fs/promises";
import { release } from "node:os";
import { join } from "node:path";
import type { Labels } from "../../core/any.ts";
import type { Call, NamespacedCall } from "../../core/call.ts";
import { invalidArgument, messageOf } from "../../core/errors.ts";
import { noLabels } from "../../core/labels.ts";
import type { Mount } from "../../core/mounts/mount.ts";
import { SNAPSHOTTER } from "../../core/plugin/kinds.ts";
import { definePlugin, SkipPlugin } from "../../core/plugin/plugin.ts";
import type { BackendSnapshot, SnapshotBackend, Usage } from "../../core/snapshots/snapshotter.ts";
import { mountOne, unmountAll } from "../../platform/mounts/mounts.ts";
import { SnapshotDirectories } from "./directories.ts";
import { booleanKey, stringKey, stringListKey } from "./keys.ts";

/** Keys of `plugins."io.containerd.snapshotter.v1.overlayfs"`. */
export interface OverlayConfig {
  readonly rootPath: string;
  readonly upperdirLabel: boolean;
  readonly syncRemove: boolean;
  /** Never shift owners by mount: clients then change the owners of files (no capability `remap-ids`). */
  readonly slowChown: boolean;
  readonly mountOptions: readonly string[];
}

/** Mappings of a user namespace. */
const UID_LABEL = "containerd.io/snapshot/uidmapping";
const GID_LABEL = "containerd.io/snapshot/gidmapping";
const UPPERDIR_LABEL = "containerd.io/snapshot/overlay.upperdir";

/** Stores snapshots as overlay layers. */
export class OverlayBackend implements SnapshotBackend {
  readonly name = "overlayfs";
  readonly capabilities: readonly string[];
  readonly exports: ReadonlyMap<string, string>;
  readonly #dirs: SnapshotDirectories;
  readonly #options: readonly string[];
  readonly #upperdirLabel: boolean;
  /** Owners are shifted for user namespaces by the mounts. */
  readonly #shifts: boolean;

  constructor(dirs: SnapshotDirectories, config: OverlayConfig, options: readonly string[]) {
    this.#shifts = !config.slowChown && kernelShiftsOverlays();
    this.capabilities = this.#shifts ? ["rebase", "remap-ids"] : ["rebase"];
    this.#dirs = dirs;
    this.#options = [...options, ...config.mountOptions];
    this.#upperdirLabel = config.upperdirLabel;
    this.exports = new Map([["root", dirs.root]]);
  }

  async create(_call: NamespacedCall, snapshot: BackendSnapshot): Promise<void> {
    const parent = snapshot.parents[0];
    await this.#dirs.create(snapshot.id, async (path) => {
      const upper = join(path, "fs");
      const [like] = await Promise.all([
        // The root directory of the merged tree is the upper one: it looks as the parent's did.
        parent === undefined ? undefined : stat(this.#dirs.path(parent, "fs")),
        mkdir(upper, { mode: 0o755 }),
        snapshot.kind === "active" ? mkdir(join(path, "work"), { mode: 0o711 }) : undefined,
      ]);
      const owner = mappedRoot(snapshot.labels) ?? like;
      const mode = like === undefined ? 0o755 : like.mode & 0o7777;
      // mostly it is right as it was made: each call is a turn of the loop
      const own =
        owner === undefined || (owner.uid === process.geteuid?.() && owner.gid === process.getegid?.());
      if (!own) await chown(upper, owner.uid, owner.gid);
      if (!own || mode !== 0o755 || (process.umask() & 0o755) !== 0) await chmod(upper, mode);
    });
  }

  async mounts(_call: NamespacedCall, snapshot: BackendSnapshot): Promise<Mount[]> {
    const { id, kind, parents } = snapshot;
    const [nearest] = parents;
    const readonly = kind !== "active";
    if (nearest === undefined) return [bind(this.#dirs.path(id, "fs"), readonly)];
    const shift = this.#shift(snapshot.labels);
    if (readonly && parents.length === 1) return [bind(this.#dirs.path(nearest, "fs"), true, shift)];
    const lower = parents.map((parent) => escapeLayer(this.#dirs.path(parent, "fs")));
    const options = [...this.#options, ...shift];
    if (!readonly)
      options.push(`workdir=${this.#dirs.path(id, "work")}`, `upperdir=${this.#dirs.path(id, "fs")}`);
    options.push(`lowerdir=${lower.join(":")}`);
    return [{ type: "overlay", source: "overlay", target: "", options }];
  }

  /** Options that shift the owners of lower layers for a user namespace. */
  #shift(labels: Labels): string[] {
    if (!this.#shifts || mappedRoot(labels) === undefined) return [];
    return [`uidmap=${labels.get(UID_LABEL) ?? ""}`, `gidmap=${labels.get(GID_LABEL) ?? ""}`];
  }

  usage(call: NamespacedCall, snapshot: BackendSnapshot): Promise<Usage> {
    return this.#dirs.usage(call, this.#dirs.path(snapshot.id, "fs"));
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

  extraLabels(snapshot: BackendSnapshot): Labels {
    if (!this.#upperdirLabel) return noLabels;
    return new Map([[UPPERDIR_LABEL, this.#dirs.path(snapshot.id, "fs")]]);
  }
}

function bind(source: string, readonly: boolean, more: readonly string[] = []): Mount {
  return { type: "bind", source, target: "", options: [readonly ? "ro" : "rw", "rbind", ...more] };
}

/** In a lowerdir list a colon separates. */
function escapeLayer(path: string): string {
  return path.replace(/[\\:]/g, "\\$&");
}

/** Host owner of the container's root by the mapping labels (`container:host:size`, comma separated). */
function mappedRoot(labels: Labels): { uid: number; gid: number } | undefined {
  const uid = hostOf(labels.get(UID_LABEL));
  const gid = hostOf(labels.get(GID_LABEL));
  return uid === undefined || gid === undefined ? undefined : { uid, gid };
}

function hostOf(mapping: string | undefined): number | undefined {
  if (mapping === undefined || mapping === "") return undefined;
  for (const range of mapping.split(",")) {
    const match = /^(\d+):(\d+):(\d+)$/.exec(range);
    if (match === null)
      throw invalidArgument(`id mapping "${mapping}": does not have the form container:host:size`);
    const [, container = "", host = "", size = ""] = match;
    if (Number(container) === 0 && Number(size) > 0) return Number(host);
  }
  throw invalidArgument(`id mapping "${mapping}": does not map the root user`);
}

/** True inside a user namespace: overlay's marks then need the `user.` name space. */
function inUserNamespace(): boolean {
  try {
    return !/^\s*0\s+0\s+4294967295\s*$/.test(readFileSync("/proc/self/uid_map", "utf8").trim());
  } catch {
    return false;
  }
}

/** Lower layers may be id mapped mounts since Linux 5.19. */
function kernelShiftsOverlays(): boolean {
  const [major = 0, minor = 0] = release().split(/[.-]/).map(Number);
  return !inUserNamespace() && (major > 5 || (major === 5 && minor >= 19));
}

/** Options every overlay mount gets here. */
function detectOptions(): string[] {
  const options: string[] = [];
  // Without an index a lower directory may be shared by mounts that come and go in any order.
  if (existsSync("/sys/module/overlay/parameters/index")) options.push("index=off");
  if (inUserNamespace()) options.push("userxattr");
  return options;
}

/** Mounts a small overlay below `root`. @throws SkipPlugin when that does not work */
async function checkSupport(root: string, options: readonly string[]): Promise<void> {
  const dir = await mkdtemp(join(root, "check-overlay-"));
  try {
    for (const name of ["lower1", "lower2", "upper", "work", "merged"]) await mkdir(join(dir, name));
    const data = [
      ...options,
      `lowerdir=${escapeLayer(join(dir, "lower2"))}:${escapeLayer(join(dir, "lower1"))}`,
      `upperdir=${join(dir, "upper")}`,
      `workdir=${join(dir, "work")}`,
    ];
    mountOne({ type: "overlay", source: "overlay", options: data }, join(dir, "merged"));
    await unmountAll(join(dir, "merged"));
  } catch (err) {
    throw new SkipPlugin(
      `"${root}" does not support overlayfs (${messageOf(err)}): enable it or configure another snapshotter`,
    );
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

export default definePlugin({
  kind: SNAPSHOTTER,
  id: "overlayfs",
  requires: {},
  config: {
    defaults: {
      root_path: "",
      upperdir_label: false,
      sync_remove: false,
      slow_chown: false,
      mount_options: [],
    },
    parse: (table): OverlayConfig => ({
      rootPath: stringKey(table, "root_path"),
      upperdirLabel: booleanKey(table, "upperdir_label"),
      syncRemove: booleanKey(table, "sync_remove"),
      slowChown: booleanKey(table, "slow_chown"),
      mountOptions: stringListKey(table, "mount_options"),
    }),
  },
  onFailure: "optional",
  async init(host, _deps, config) {
    const root = config.rootPath === "" ? host.root : config.rootPath;
    const dirs = new SnapshotDirectories(root, host.log, config.syncRemove);
    await dirs.open();
    const options = detectOptions();
    await checkSupport(root, options);
    await dirs.recover();
    host.onStop(() => dirs.close());
    const backend = new OverlayBackend(dirs, config, options);
    host.describe({
      exports: { root },
      capabilities: backend.capabilities,
      platforms: [{ os: "linux", architecture: process.arch === "arm64" ? "arm64" : "amd64" }],
    });
    return backend;
  },
});
