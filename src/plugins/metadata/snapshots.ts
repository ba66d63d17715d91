import type { Labels } from "../../core/any.ts";
import type { NamespacedCall } from "../../core/call.ts";
import {
  alreadyExists,
  failedPrecondition,
  GantryError,
  invalidArgument,
  isAlreadyExists,
  notImplemented,
  wrap,
} from "../../core/errors.ts";
import { checkFields, maskLabels } from "../../core/fieldmask.ts";
import { adaptSnapshot } from "../../core/filters/adaptors.ts";
import { compileFilters } from "../../core/filters/filter.ts";
import { checkLabels } from "../../core/labels.ts";
import type { Mount } from "../../core/mounts/mount.ts";
import type {
  BackendSnapshot,
  SnapshotBackend,
  SnapshotInfo,
  Snapshotter,
  Usage,
} from "../../core/snapshots/snapshotter.ts";
import { KeyedMutex } from "../../lib/keyed-mutex.ts";
import { nowNs } from "../../lib/time.ts";
import type { StoreContext } from "./context.ts";
import { mapFsError } from "./fs-error.ts";
import type { SnapshotFlushes } from "./snapshot-flushes.ts";
import type { SnapshotRemovals } from "./snapshot-removals.ts";
import { missingParent, type Snapshot, SnapshotRows } from "./snapshot-rows.ts";

/** A prepare with this label may be answered "already exists" when the named snapshot is there. */
const TARGET_REF = "containerd.io/snapshot.ref";
/** Labels with this prefix are passed on to the backend. */
const INHERITED = "containerd.io/snapshot/";

/** What a snapshotter is made of. */
export interface SnapshotterParts {
  readonly context: StoreContext;
  readonly backend: SnapshotBackend;
  readonly removals: SnapshotRemovals;
  /** Undefined answers commits without ever making them durable (no_sync). */
  readonly flushes: SnapshotFlushes | undefined;
}

/** Names, parents and labels of snapshots in the database over a backend that knows only numbers. */
export class SqliteSnapshotter implements Snapshotter {
  readonly #context: StoreContext;
  readonly #rows: SnapshotRows;
  readonly #backend: SnapshotBackend;
  readonly #removals: SnapshotRemovals;
  readonly #flushes: SnapshotFlushes | undefined;
  /** Held while a key is made, committed or removed. */
  readonly #keys = new KeyedMutex();

  constructor({ context, backend, removals, flushes }: SnapshotterParts) {
    this.#context = context;
    this.#backend = backend;
    this.#removals = removals;
    this.#flushes = flushes;
    this.#rows = new SnapshotRows(context, backend.name);
  }

  async stat(call: NamespacedCall, key: string): Promise<SnapshotInfo> {
    return this.#info(this.#rows.find(call, key));
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
      const old = this.#rows.find(call, name);
      const next = { ...old, labels: maskLabels(old.labels, given, fields), updatedAt: nowNs() };
      check(next.labels);
      this.#rows.updateLabels(call, next);
      return next;
    });
    this.#context.mutated("change");
    await this.#backend.update?.(call, this.#forBackend(updated));
    return this.#info(updated);
  }

  async usage(call: NamespacedCall, key: string): Promise<Usage> {
    const snapshot = this.#rows.find(call, key);
    return snapshot.usage ?? (await this.#backend.usage(call, this.#forBackend(snapshot)));
  }

  async mounts(call: NamespacedCall, key: string): Promise<Mount[]> {
    const snapshot = this.#rows.find(call, key);
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
    const active = this.#rows.find(call, key);
    if (active.kind !== "active") throw failedPrecondition(`snapshot "${key}" is not active`);
    await this.#refuseExisting(call, [name]);
    const rebase =
      active.parentId === undefined && parent !== undefined && parent !== "" ? parent : undefined;
    if (rebase !== undefined && !this.#backend.capabilities.includes("rebase"))
      throw notImplemented(
        `commit snapshot "${key}" onto parent "${rebase}": snapshotter "${this.#backend.name}" cannot rebase`,
      );
    if (rebase !== undefined) this.#rows.requireParent(call, rebase);
    const inBackend = this.#forBackend(active);
    const sync = this.#flushes !== undefined;
    const later = sync && this.#backend.flush !== undefined;
    const measured =
      this.#backend.measureCommitted === true ? undefined : this.#backend.usage(call, inBackend);
    const [before] = await Promise.all([
      measured,
      this.#backend.commit(call, inBackend, sync && !later, {
        name,
        parent: rebase === undefined ? undefined : this.#rows.requireParent(call, rebase),
        labels: inherited(given),
      }),
    ]);
    const usage = before ?? (await this.#backend.usage(call, { ...inBackend, kind: "committed" }));
    const { db } = this.#context;
    await db.write(() => {
      const parentId = rebase === undefined ? active.parentId : this.#rows.requireParent(call, rebase);
      if (this.#rows.maybe(call, name) !== undefined) throw alreadyExists(`snapshot "${name}"`);
      this.#rows.commit(call, key, {
        id: active.id,
        name,
        parentId,
        labels: given,
        usage,
        durable: !later,
      });
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
        const snapshot = this.#rows.find(call, key);
        if (this.#rows.hasChildren(snapshot.id))
          throw failedPrecondition("cannot remove snapshot with child");
        this.#rows.delete(call, snapshot);
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
    for (const snapshot of this.#rows.list(call)) {
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
    const parentId = parent === "" ? undefined : this.#rows.requireParent(call, parent);
    const snapshot: BackendSnapshot = {
      id: this.#removals.nextId(),
      name: key,
      kind,
      parents: parentId === undefined ? [] : this.#rows.chain(parentId),
      labels: inherited(given),
    };
    // files before rows: what a crash leaves here has no row and is swept
    try {
      await this.#backend.create(call, snapshot);
      const mounts = await this.#backend.mounts(call, snapshot);
      const { db } = this.#context;
      await db.write(() => {
        this.#context.ensureNamespace(call.namespace);
        if (parent !== "" && this.#rows.requireParent(call, parent) !== parentId) throw missingParent(parent);
        if (!this.#rows.insert(call, { id: snapshot.id, name: key, kind, parentId, labels: given }))
          throw alreadyExists(`snapshot "${key}"`);
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
      return this.#rows.insert(call, {
        id: snapshot.id,
        name: target,
        kind: "committed",
        parentId: snapshot.parents[0],
        labels: given,
      });
    });
    // another client may have been faster: its record stays, and this id goes
    if (made) this.#removals.made(snapshot.id);
    else this.#removals.add(this.#backend, call, [snapshot.id]);
    this.#context.mutated("change");
    return true;
  }

  /** Answers "already exists" for the first name that is there, after attaching it to the call's lease. */
  async #refuseExisting(call: NamespacedCall, names: readonly string[]): Promise<void> {
    const found = names.find((name) => this.#rows.maybe(call, name) !== undefined);
    if (found === undefined) return;
    if (call.lease !== undefined) {
      await this.#context.db.write(() => {
        this.#rows.attachLease(call, found);
      });
    }
    throw alreadyExists(
      names.length > 1 && found === names[0] ? `target snapshot "${found}"` : `snapshot "${found}"`,
    );
  }

  #forBackend(snapshot: Snapshot): BackendSnapshot {
    return {
      id: snapshot.id,
      name: snapshot.name,
      kind: snapshot.kind,
      parents: snapshot.parentId === undefined ? [] : this.#rows.chain(snapshot.parentId),
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

function lockKey(call: NamespacedCall, key: string): string {
  return `${call.namespace}\0${key}`;
}
