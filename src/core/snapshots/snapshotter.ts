/**
 * Snapshotter: manages filesystem trees as a chain of immutable snapshots with writable ends. It never touches the data
 * inside and never mounts: it answers with the mounts that a caller performs.
 *
 * Vocabulary: `key` names an active snapshot or a view; `name` names a committed one; both live in one name space per
 * namespace. `parent` is always committed. Lifecycle:
 *
 *   prepare(key, parent) -> ACTIVE --commit(name,key)--> COMMITTED (key is gone)
 *   view(key, parent)    -> VIEW (read-only)
 *   remove(key)          -> gone; failed-precondition while children exist
 *
 * Example, unpack one layer: m = prepare("extract-1 sha256:c", "sha256:p"); apply the layer to m; commit("sha256:c", "extract-1 ...").
 * Example, container rootfs: prepare("web", "sha256:c"), mounts given to the runtime; remove("web") at the end.
 */
import type { Labels, TimeNs } from "../any.ts";
import type { Call, NamespacedCall } from "../call.ts";
import type { Mount } from "../mounts/mount.ts";

/** Kind of a snapshot. */
export type SnapshotKind = "view" | "active" | "committed";

/** What is known of a snapshot. */
export interface SnapshotInfo {
  readonly kind: SnapshotKind;
  readonly name: string;
  /** Name of the parent; "" at the bottom of a chain. */
  readonly parent: string;
  readonly labels: Labels;
  readonly createdAt: TimeNs;
  readonly updatedAt: TimeNs;
}

/** Disk use of a snapshot itself, without its parents. */
export interface Usage {
  readonly inodes: bigint;
  /** Bytes. */
  readonly size: bigint;
}

/** A snapshotter as seen from one namespace. Every method may also throw canceled, deadline-exceeded, internal. */
export interface Snapshotter {
  /** @throws not-found */
  stat(call: NamespacedCall, key: string): Promise<SnapshotInfo>;
  /** Changes labels (`labels`, `labels.KEY`; empty = all labels). @throws not-found, invalid-argument */
  update(
    call: NamespacedCall,
    name: string,
    labels: Labels,
    fields: readonly string[],
  ): Promise<SnapshotInfo>;
  /** Usage; for an active snapshot measured now, for a committed one as recorded at commit. @throws not-found */
  usage(call: NamespacedCall, key: string): Promise<Usage>;
  /** Mounts of an active snapshot or view, the same each time. @throws not-found */
  mounts(call: NamespacedCall, key: string): Promise<Mount[]>;
  /**
   * Makes a writable snapshot. With the label `containerd.io/snapshot.ref` a remote snapshotter may answer
   * `already-exists` when it has the target committed. @throws already-exists, not-found (parent)
   */
  prepare(call: NamespacedCall, key: string, parent: string, labels: Labels): Promise<Mount[]>;
  /** Makes a read-only snapshot. @throws already-exists, not-found (parent) */
  view(call: NamespacedCall, key: string, parent: string, labels: Labels): Promise<Mount[]>;
  /**
   * Turns the active `key` into the committed `name`. Data must be durable before the record is.
   * `parent` (capability `rebase`) replaces the parent when the snapshot was prepared without one.
   * @throws not-found, already-exists, failed-precondition (not active)
   */
  commit(call: NamespacedCall, name: string, key: string, labels: Labels, parent?: string): Promise<void>;
  /** @throws not-found, failed-precondition (has children) */
  remove(call: NamespacedCall, key: string): Promise<void>;
  /** Visits snapshots that match any filter (none = all). Calling back into the snapshotter while visiting is allowed. */
  walk(call: NamespacedCall, filters: readonly string[]): AsyncIterable<SnapshotInfo>;
  /** Frees what removed snapshots left. */
  cleanup(call: NamespacedCall): Promise<void>;
}

/**
 * What a snapshotter plugin implements: storage for snapshots by id, without names, labels or namespaces (the metadata
 * plugin owns those). `id` is a small positive integer, never reused; `parents` are ids from nearest to bottom.
 */
export interface SnapshotBackend {
  /** Plugin id: `overlayfs`, `native`, ... */
  readonly name: string;
  /** `rebase` when commit may name a parent later. Shown by `ctr plugins ls -d`. */
  readonly capabilities: readonly string[];
  /** Facts shown by introspection, e.g. root. */
  readonly exports: ReadonlyMap<string, string>;
  /** Creates the directory of a new snapshot. `labels` carry id mappings. Idempotent after a crash (removes leftovers). */
  create(call: NamespacedCall, snapshot: BackendSnapshot): Promise<void>;
  mounts(call: NamespacedCall, snapshot: BackendSnapshot): Promise<Mount[]>;
  usage(call: NamespacedCall, snapshot: BackendSnapshot): Promise<Usage>;
  /**
   * Called when `create` threw `already-exists` for a snapshot with the label `containerd.io/snapshot.ref`: takes what the
   * backend has committed for `target` over under the snapshot's id. False when there is nothing that fits.
   */
  adopt?(call: NamespacedCall, snapshot: BackendSnapshot, target: string): Promise<boolean>;
  /** Called before the row is committed: makes data durable when `sync`. Never asked to where there is `flush`. */
  commit(
    call: NamespacedCall,
    snapshot: BackendSnapshot,
    sync: boolean,
    target?: CommitTarget,
  ): Promise<void>;
  /** Makes everything committed before this call durable, in one go. With it, commits are answered before they are. */
  flush?(call: Call): Promise<void>;
  /** Called after labels changed, for backends that tell another process. `labels` are those it may see, all of them. */
  update?(call: NamespacedCall, snapshot: BackendSnapshot): Promise<void>;
  /** Deletes the directory; the row is gone already. Must not fail on what is missing. */
  remove(call: NamespacedCall, id: bigint): Promise<void>;
  /** Ids that have something on disk: compared with the rows at start and by cleanup. */
  ids(call: NamespacedCall): Promise<bigint[]>;
  /** True where the usage of a committed snapshot is only known after `commit` (asked with kind `committed`). */
  readonly measureCommitted?: boolean;
  /** For backends that keep a layer as one image: what a differ of theirs asks. */
  readonly images?: LayerImages;
  /** Labels the backend adds to what `stat` tells (overlayfs: `containerd.io/snapshot/overlay.upperdir`). */
  extraLabels?(snapshot: BackendSnapshot): Labels;
}

/** Images of layers, made before the snapshot is committed. `mounts` are those of an active snapshot. */
export interface LayerImages {
  /** True when the mounts are of such a snapshot. */
  owns(mounts: readonly Mount[]): boolean;
  /** Makes the image of the tree that was unpacked; `options` are the image tool's. */
  seal(call: NamespacedCall, mounts: readonly Mount[], options: readonly string[]): Promise<void>;
  /** Takes a copy of `file` as the image. */
  take(call: NamespacedCall, mounts: readonly Mount[], file: string): Promise<void>;
  /** Has `write` make a file, which is the image when that succeeds. */
  receive(mounts: readonly Mount[], write: (path: string) => Promise<void>): Promise<void>;
}

/** What an active snapshot becomes, for backends that tell another process. */
export interface CommitTarget {
  readonly name: string;
  /** New parent (capability `rebase`). */
  readonly parent?: bigint | undefined;
  /** Labels of the committed snapshot that backends may see. */
  readonly labels: Labels;
}

/** A snapshot as a backend sees it. */
export interface BackendSnapshot {
  readonly id: bigint;
  /** Its key or name, for backends that tell another process. Unique in its namespace only. */
  readonly name?: string;
  readonly kind: SnapshotKind;
  /** Ids of the parents, nearest first. */
  readonly parents: readonly bigint[];
  readonly labels: Labels;
}
