import type { Labels } from "../../core/any.ts";
import type { NamespacedCall } from "../../core/call.ts";
import {
  alreadyExists,
  failedPrecondition,
  GantryError,
  invalidArgument,
  isAlreadyExists,
  notFound,
  notImplemented,
  wrap,
} from "../../core/errors.ts";
import { checkFields, maskLabels } from "../../core/fieldmask.ts";
import { adaptSnapshot } from "../../core/filters/adaptors.ts";
import { compileFilters } from "../../core/filters/filter.ts";
import { checkLabels, noLabels } from "../../core/labels.ts";
import type { Mount } from "../../core/mounts/mount.ts";
import type {
  BackendSnapshot,
  SnapshotBackend,
  SnapshotInfo,
  SnapshotKind,
  Snapshotter,
  Usage,
} from "../../core/snapshots/snapshotter.ts";
import { KeyedMutex } from "../../lib/keyed-mutex.ts";
import { nowNs } from "../../lib/time.ts";
import type { StoreContext } from "./context.ts";
import { mapFsError } from "./fs-error.ts";
import { encodeLabels, int, labels, maybe, type Row, text } from "./rows.ts";
import type { SnapshotFlushes } from "./snapshot-flushes.ts";
import type { SnapshotRemovals } from "./snapshot-removals.ts";

/** A prepare with this label may be answered "already exists" when the named snapshot is there. */
const TARGET_REF = "containerd.io/snapshot.ref";
/** Labels with this prefix are passed on to the backend. */
const INHERITED = "containerd.io/snapshot/";

const SELECT = `SELECT s.id AS rowid, s.id, s.name, s.kind, s.parent, p.name AS parent_name, s.labels, s.created, s.updated,
  s.inodes, s.size FROM snapshots s LEFT JOIN snapshots p ON p.id = s.parent WHERE s.ns = ? AND s.snapshotter = ?`;

/** A snapshot's row. */
interface Snapshot extends SnapshotInfo {
  readonly id: bigint;
  readonly parentId: bigint | undefined;
  readonly usage: Usage | undefined;
}

/** Names, parents and labels of snapshots in the database over a backend that knows only numbers. */
export class SqliteSnapshotter implements Snapshotter {
  readonly #context: StoreContext;
  readonly #backend: SnapshotBackend;
  readonly #removals: SnapshotRemovals;
  readonly #flushes: SnapshotFlushes | undefined;
  /** Held while a key is made, committed or removed. */
  readonly #keys = new KeyedMutex();

  /** @param flushes undefined answers commits without ever making them durable (no_sync) */
  constructor(
    context: StoreContext,
    backend: SnapshotBackend,
    removals: SnapshotRemovals,
    flushes: SnapshotFlushes | undefined,
  ) {
    this.#context = context;
    this.#backend = backend;
    this.#removals = removals;
    this.#flushes = flushes;
  }

  async stat(call: NamespacedCall, key: string): Promise<SnapshotInfo> {
    return this.#info(this.#find(call, key));
  }

  async update(
    call: NamespacedCall,
    name: string,
    given: Labels,
    fields: readonly string[],
  ): Promise<SnapshotInfo> {
    if (name === "") throw invalidArgument("snapshot name must not be empty");
    checkFields(fields, ["labels"], ["labels."], `snapshot "${name}"`);
    const { db } = this.#context;
    const updated = await db.write(() => {
      const old = this.#find(call, name);
      const next = { ...old, labels: maskLabels(old.labels, given, fields), updatedAt: nowNs() };
      check(next.labels);
      db.run(
        "UPDATE snapshots SET labels = ?, updated = ? WHERE id = ?",
        encodeLabels(next.labels),
        next.updatedAt,
        next.id,
      );
      this.#touch(call, name);
      return next;
    });
    this.#context.mutated("change");
    await this.#backend.update?.(call, this.#forBackend(updated));
    return this.#info(updated);
  }

  async usage(call: NamespacedCall, key: string): Promise<Usage> {
    const snapshot = this.#find(call, key);
    return snapshot.usage ?? (await this.#backend.usage(call, this.#forBackend(snapshot)));
  }

  async mounts(call: NamespacedCall, key: string): Promise<Mount[]> {
    const snapshot = this.#find(call, key);
    if (snapshot.kind === "committed")
      throw failedPrecondition(`snapshot "${key}" is committed: it has no mounts`);
    return await this.#backend.mounts(call, this.#forBackend(snapshot));
  }

  async prepare(call: NamespacedCall, key: string, parent: string, given: Labels): Promise<Mount[]> {
    const mounts = await this.#create(call, "active", key, parent, given);
    this.#context.publish(call, "/snapshot/prepare", { key, parent, snapshotter: this.#backend.name });
    return mounts;
  }

  async view(call: NamespacedCall, key: string, parent: string, given: Labels): Promise<Mount[]> {
    return await this.#create(call, "view", key, parent, given);
  }

  async commit(
    call: NamespacedCall,
    name: string,
    key: string,
    given: Labels,
    parent?: string,
  ): Promise<void> {
    if (name === "" || key === "") throw invalidArgument("snapshot name and key must not be empty");
    check(given);
    using _lock = await this.#keys.acquire(lockKey(call, key));
    const active = this.#find(call, key);
    if (active.kind !== "active") throw failedPrecondition(`snapshot "${key}" is not active`);
    await this.#refuseExisting(call, [name]);
    const rebase =
      active.parentId === undefined && parent !== undefined && parent !== "" ? parent : undefined;
    if (rebase !== undefined && !this.#backend.capabilities.includes("rebase"))
      throw notImplemented(
        `commit snapshot "${key}" onto parent "${rebase}": snapshotter "${this.#backend.name}" cannot rebase`,
      );
    if (rebase !== undefined) this.#requireParent(call, rebase);
    const inBackend = this.#forBackend(active);
    const sync = this.#flushes !== undefined;
    const later = sync && this.#backend.flush !== undefined;
    const measured =
      this.#backend.measureCommitted === true ? undefined : this.#backend.usage(call, inBackend);
    const [before] = await Promise.all([
      measured,
      this.#backend.commit(call, inBackend, sync && !later, {
        name,
        parent: rebase === undefined ? undefined : this.#requireParent(call, rebase),
        labels: inherited(given),
      }),
    ]);
    const usage = before ?? (await this.#backend.usage(call, { ...inBackend, kind: "committed" }));
    const { db } = this.#context;
    await db.write(() => {
      const parentId = rebase === undefined ? active.parentId : this.#requireParent(call, rebase);
      if (this.#maybe(call, name) !== undefined) throw alreadyExists(`snapshot "${name}"`);
      const now = nowNs();
      const { changes } = db.run(
        `UPDATE snapshots SET name = ?, kind = 'committed', parent = ?, labels = ?, created = ?, updated = ?, inodes = ?,
           size = ?, durable = ? WHERE id = ?`,
        name,
        parentId ?? null,
        encodeLabels(given),
        now,
        now,
        usage.inodes,
        usage.size,
        later ? 0 : 1,
        active.id,
      );
      if (changes === 0) throw missing(key);
      this.#context.detachLease(call, this.#resource, key);
      this.#context.attachLease(call, this.#resource, name);
      this.#touch(call, name);
    });
    if (later) this.#flushes?.schedule();
    this.#context.publish(call, "/snapshot/commit", { key, name, snapshotter: this.#backend.name });
    this.#context.mutated("change");
  }

  async remove(call: NamespacedCall, key: string): Promise<void> {
    using _lock = await this.#keys.acquire(lockKey(call, key));
    const { db } = this.#context;
    const id = await db.write(
      () => {
        const snapshot = this.#find(call, key);
        if (db.get("SELECT 1 FROM snapshots WHERE parent = ? LIMIT 1", snapshot.id) !== undefined)
          throw failedPrecondition("cannot remove snapshot with child");
        db.run("DELETE FROM snapshots WHERE id = ?", snapshot.id);
        this.#context.detachLease(call, this.#resource, key);
        return snapshot.id;
      },
      { frees: true },
    );
    this.#removals.add(this.#backend, call, [id]);
    this.#context.publish(call, "/snapshot/remove", { key, snapshotter: this.#backend.name });
    this.#context.mutated("delete");
  }

  async *walk(
    call: NamespacedCall,
    filters: readonly string[],
  ): AsyncGenerator<SnapshotInfo, void, undefined> {
    const match = compileFilters(filters);
    const { db } = this.#context;
    const rows = db.all(`${SELECT} ORDER BY s.name`, call.namespace, this.#backend.name);
    for (const snapshot of db.decode("snapshots", rows, toSnapshot)) {
      const info = this.#info(snapshot);
      if (match(adaptSnapshot(info))) yield info;
    }
  }

  async cleanup(call: NamespacedCall): Promise<void> {
    await this.#removals.sweep(this.#backend, call);
  }

  async #create(
    call: NamespacedCall,
    kind: "active" | "view",
    key: string,
    parent: string,
    given: Labels,
  ): Promise<Mount[]> {
    if (key === "") throw invalidArgument("snapshot key must not be empty");
    check(given);
    using _lock = await this.#keys.acquire(lockKey(call, key));
    const target = given.get(TARGET_REF);
    await this.#refuseExisting(call, target === undefined || target === "" ? [key] : [target, key]);
    const parentId = parent === "" ? undefined : this.#requireParent(call, parent);
    const snapshot: BackendSnapshot = {
      id: this.#removals.nextId(),
      name: key,
      kind,
      parents: parentId === undefined ? [] : this.#chain(parentId),
      labels: inherited(given),
    };
    // files before rows: what a crash leaves here has no row and is swept
    try {
      await this.#backend.create(call, snapshot);
      const mounts = await this.#backend.mounts(call, snapshot);
      const { db } = this.#context;
      await db.write(() => {
        this.#context.ensureNamespace(call.namespace);
        if (parent !== "" && this.#requireParent(call, parent) !== parentId) throw missingParent(parent);
        const now = nowNs();
        const { changes } = db.run(
          `INSERT OR IGNORE INTO snapshots(id, ns, snapshotter, name, kind, parent, labels, created, updated)
           VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)`,
          snapshot.id,
          call.namespace,
          this.#backend.name,
          key,
          kind,
          parentId ?? null,
          encodeLabels(given),
          now,
          now,
        );
        if (changes === 0) throw alreadyExists(`snapshot "${key}"`);
        this.#context.attachLease(call, this.#resource, key);
        this.#touch(call, key);
      });
      this.#removals.made(snapshot.id);
      this.#context.mutated("change");
      return mounts;
    } catch (err) {
      if (isAlreadyExists(err) && (await this.#adopt(call, snapshot, given)))
        throw alreadyExists(`target snapshot "${target}"`);
      this.#removals.add(this.#backend, call, [snapshot.id]);
      throw err instanceof GantryError ? err : mapFsError(err, `make snapshot "${key}"`);
    }
  }

  /** Records what a remote snapshotter has for the target of a prepare. @returns false when it has nothing */
  async #adopt(call: NamespacedCall, snapshot: BackendSnapshot, given: Labels): Promise<boolean> {
    const target = given.get(TARGET_REF) ?? "";
    if (target === "" || !(await this.#backend.adopt?.(call, snapshot, target))) return false;
    const { db } = this.#context;
    const made = await db.write(() => {
      this.#context.ensureNamespace(call.namespace);
      const now = nowNs();
      const { changes } = db.run(
        `INSERT OR IGNORE INTO snapshots(id, ns, snapshotter, name, kind, parent, labels, created, updated)
         VALUES(?, ?, ?, ?, 'committed', ?, ?, ?, ?)`,
        snapshot.id,
        call.namespace,
        this.#backend.name,
        target,
        snapshot.parents[0] ?? null,
        encodeLabels(given),
        now,
        now,
      );
      this.#context.attachLease(call, this.#resource, target);
      this.#touch(call, target);
      return changes > 0;
    });
    // another client may have been faster: its record stays, and this id goes
    if (made) this.#removals.made(snapshot.id);
    else this.#removals.add(this.#backend, call, [snapshot.id]);
    this.#context.mutated("change");
    return true;
  }

  /** Answers "already exists" for the first name that is there, after attaching it to the call's lease. */
  async #refuseExisting(call: NamespacedCall, names: readonly string[]): Promise<void> {
    const found = names.find((name) => this.#maybe(call, name) !== undefined);
    if (found === undefined) return;
    if (call.lease !== undefined) {
      await this.#context.db.write(() => {
        this.#context.attachLease(call, this.#resource, found);
      });
    }
    throw alreadyExists(
      names.length > 1 && found === names[0] ? `target snapshot "${found}"` : `snapshot "${found}"`,
    );
  }

  /** Type of lease resource. */
  get #resource(): string {
    return `snapshots/${this.#backend.name}`;
  }

  #touch(call: NamespacedCall, name: string): void {
    this.#context.touch("snapshot", call.namespace, `${this.#backend.name}/${name}`);
  }

  /** Id of a committed snapshot to build on. */
  #requireParent(call: NamespacedCall, name: string): bigint {
    const parent = this.#maybe(call, name);
    if (parent === undefined) throw missingParent(name);
    if (parent.kind !== "committed") throw invalidArgument(`parent "${name}" is not committed snapshot`);
    this.#touch(call, name);
    return parent.id;
  }

  #maybe(call: NamespacedCall, name: string): Snapshot | undefined {
    const { db } = this.#context;
    const row = db.get(`${SELECT} AND s.name = ?`, call.namespace, this.#backend.name, name);
    return row === undefined ? undefined : db.decodeOne("snapshots", row, toSnapshot);
  }

  #find(call: NamespacedCall, name: string): Snapshot {
    const snapshot = this.#maybe(call, name);
    if (snapshot === undefined) throw missing(name);
    return snapshot;
  }

  /** A snapshot and its ancestors, nearest first. */
  #chain(id: bigint): bigint[] {
    return this.#context.db
      .all(
        `WITH RECURSIVE chain(id, parent, depth) AS (
           SELECT id, parent, 0 FROM snapshots WHERE id = ?
           UNION ALL SELECT s.id, s.parent, depth + 1 FROM snapshots s JOIN chain c ON s.id = c.parent)
         SELECT id FROM chain ORDER BY depth`,
        id,
      )
      .map((row) => int(row, "id"));
  }

  #forBackend(snapshot: Snapshot): BackendSnapshot {
    return {
      id: snapshot.id,
      name: snapshot.name,
      kind: snapshot.kind,
      parents: snapshot.parentId === undefined ? [] : this.#chain(snapshot.parentId),
      labels: inherited(snapshot.labels),
    };
  }

  #info(snapshot: Snapshot): SnapshotInfo {
    const { kind, name, parent, createdAt, updatedAt } = snapshot;
    const { extraLabels } = this.#backend;
    const extra =
      extraLabels === undefined ? undefined : this.#backend.extraLabels?.(this.#forBackend(snapshot));
    const merged =
      extra === undefined || extra.size === 0 ? snapshot.labels : new Map([...extra, ...snapshot.labels]);
    return { kind, name, parent, labels: merged, createdAt, updatedAt };
  }
}

function toSnapshot(row: Row): Snapshot {
  const kind = text(row, "kind");
  if (kind !== "active" && kind !== "view" && kind !== "committed")
    throw new TypeError(`kind "${kind}" is unknown`);
  const inodes = maybe(row, "inodes", int);
  const size = maybe(row, "size", int);
  const parentId = maybe(row, "parent", int);
  return {
    id: int(row, "id"),
    kind: kind satisfies SnapshotKind,
    name: text(row, "name"),
    parent: parentId === undefined ? "" : text(row, "parent_name"),
    parentId,
    labels: readableLabels(row),
    createdAt: int(row, "created"),
    updatedAt: int(row, "updated"),
    usage: inodes === undefined || size === undefined ? undefined : { inodes, size },
  };
}

/** Damaged labels are lost; the snapshot is not, as others are built on it. */
function readableLabels(row: Row): Labels {
  try {
    return labels(row);
  } catch {
    return noLabels;
  }
}

function inherited(given: Labels): Labels {
  return new Map([...given].filter(([key]) => key === TARGET_REF || key.startsWith(INHERITED)));
}

function check(given: Labels): void {
  try {
    checkLabels(given);
  } catch (err) {
    throw wrap(err, "info.Labels");
  }
}

function missing(name: string): Error {
  return notFound(`snapshot ${name} does not exist`);
}

function missingParent(name: string): Error {
  return notFound(`parent snapshot ${name} does not exist`);
}

function lockKey(call: NamespacedCall, key: string): string {
  return `${call.namespace}\0${key}`;
}
