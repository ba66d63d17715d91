/** Rows of one snapshotter's snapshots: names, parents and labels for the numbers that its backend knows. */
import type { Labels } from "../../core/any.ts";
import type { NamespacedCall } from "../../core/call.ts";
import { invalidArgument, notFound } from "../../core/errors.ts";
import { noLabels } from "../../core/labels.ts";
import type { SnapshotInfo, SnapshotKind, Usage } from "../../core/snapshots/snapshotter.ts";
import { nowNs } from "../../lib/time.ts";
import type { StoreContext } from "./context.ts";
import { encodeLabels, int, labels, maybe, type Row, text } from "./rows.ts";

const SELECT = `SELECT s.id AS rowid, s.id, s.name, s.kind, s.parent, p.name AS parent_name, s.labels, s.created, s.updated,
  s.inodes, s.size FROM snapshots s LEFT JOIN snapshots p ON p.id = s.parent WHERE s.ns = ? AND s.snapshotter = ?`;

/** A snapshot as its row has it. */
export interface Snapshot extends SnapshotInfo {
  readonly id: bigint;
  readonly parentId: bigint | undefined;
  /** Known of committed ones. */
  readonly usage: Usage | undefined;
}

/** A snapshot that is about to get its row. */
export interface NewSnapshot {
  readonly id: bigint;
  readonly name: string;
  readonly kind: SnapshotKind;
  readonly parentId: bigint | undefined;
  readonly labels: Labels;
}

/** What an active snapshot becomes. */
export interface CommittedSnapshot {
  readonly id: bigint;
  readonly name: string;
  readonly parentId: bigint | undefined;
  readonly labels: Labels;
  readonly usage: Usage;
  /** False while a flush has to come yet, see snapshot-flushes.ts. */
  readonly durable: boolean;
}

/** See the head of this file. */
export class SnapshotRows {
  readonly #context: StoreContext;
  readonly #snapshotter: string;
  /** Type of lease resource. */
  readonly #resource: string;

  constructor(context: StoreContext, snapshotter: string) {
    this.#context = context;
    this.#snapshotter = snapshotter;
    this.#resource = `snapshots/${snapshotter}`;
  }

  /** Undefined when there is none. @throws data-loss when its record is damaged */
  maybe(call: NamespacedCall, name: string): Snapshot | undefined {
    const { db } = this.#context;
    const row = db.get(`${SELECT} AND s.name = ?`, call.namespace, this.#snapshotter, name);
    return row === undefined ? undefined : db.decodeOne("snapshots", row, toSnapshot);
  }

  /** @throws not-found, data-loss */
  find(call: NamespacedCall, name: string): Snapshot {
    const snapshot = this.maybe(call, name);
    if (snapshot === undefined) throw missing(name);
    return snapshot;
  }

  /** All of the namespace, by name; damaged ones are left out. */
  list(call: NamespacedCall): Snapshot[] {
    const { db } = this.#context;
    const rows = db.all(`${SELECT} ORDER BY s.name`, call.namespace, this.#snapshotter);
    return db.decode("snapshots", rows, toSnapshot);
  }

  /** Id of a committed snapshot to build on, which a running collection then keeps. @throws not-found, invalid-argument */
  requireParent(call: NamespacedCall, name: string): bigint {
    const parent = this.maybe(call, name);
    if (parent === undefined) throw missingParent(name);
    if (parent.kind !== "committed") throw invalidArgument(`parent "${name}" is not committed snapshot`);
    this.touch(call, name);
    return parent.id;
  }

  /** A snapshot and its ancestors, nearest first. */
  chain(id: bigint): bigint[] {
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

  /** True when a snapshot is built on this one. */
  hasChildren(id: bigint): boolean {
    return this.#context.db.get("SELECT 1 FROM snapshots WHERE parent = ? LIMIT 1", id) !== undefined;
  }

  /**
   * Writes a new row, and adds the name to the call's lease; inside a transaction.
   * @returns false when the name has a row already, which stays
   */
  insert(call: NamespacedCall, made: NewSnapshot): boolean {
    const now = nowNs();
    const { changes } = this.#context.db.run(
      `INSERT OR IGNORE INTO snapshots(id, ns, snapshotter, name, kind, parent, labels, created, updated)
       VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      made.id,
      call.namespace,
      this.#snapshotter,
      made.name,
      made.kind,
      made.parentId ?? null,
      encodeLabels(made.labels),
      now,
      now,
    );
    this.attachLease(call, made.name);
    this.touch(call, made.name);
    return changes > 0;
  }

  /** Turns the row of an active snapshot into a committed one's; inside a transaction. @throws not-found */
  commit(call: NamespacedCall, key: string, committed: CommittedSnapshot): void {
    const now = nowNs();
    const { changes } = this.#context.db.run(
      `UPDATE snapshots SET name = ?, kind = 'committed', parent = ?, labels = ?, created = ?, updated = ?, inodes = ?,
         size = ?, durable = ? WHERE id = ?`,
      committed.name,
      committed.parentId ?? null,
      encodeLabels(committed.labels),
      now,
      now,
      committed.usage.inodes,
      committed.usage.size,
      committed.durable ? 1 : 0,
      committed.id,
    );
    if (changes === 0) throw missing(key);
    this.#context.detachLease(call, this.#resource, key);
    this.attachLease(call, committed.name);
    this.touch(call, committed.name);
  }

  /** Writes labels and time of a change; inside a transaction. */
  updateLabels(call: NamespacedCall, changed: Snapshot): void {
    this.#context.db.run(
      "UPDATE snapshots SET labels = ?, updated = ? WHERE id = ?",
      encodeLabels(changed.labels),
      changed.updatedAt,
      changed.id,
    );
    this.touch(call, changed.name);
  }

  /** Inside a transaction. */
  delete(call: NamespacedCall, { id, name }: Snapshot): void {
    this.#context.db.run("DELETE FROM snapshots WHERE id = ?", id);
    this.#context.detachLease(call, this.#resource, name);
  }

  /** Adds a name to the call's lease; inside a transaction. */
  attachLease(call: NamespacedCall, name: string): void {
    this.#context.attachLease(call, this.#resource, name);
  }

  /** See {@link StoreContext.touch}. */
  touch(call: NamespacedCall, name: string): void {
    this.#context.touch("snapshot", call.namespace, `${this.#snapshotter}/${name}`);
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

function missing(name: string): Error {
  return notFound(`snapshot ${name} does not exist`);
}

/** The error for a parent that is not there. */
export function missingParent(name: string): Error {
  return notFound(`parent snapshot ${name} does not exist`);
}
