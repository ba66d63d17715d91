/**
 * The reference graph of the database (what keeps what):
 *
 *   roots     leases that have not expired and what they hold; images that have not expired; containers; sandboxes; ingests until
 *             they expire; whatever has a gc.root label or a gc.expire in the future
 *   image     -> its target blob, what its labels name
 *   blob      -> what its labels name
 *   container -> its snapshot, what its labels name
 *   snapshot  -> its parent, what its labels name
 *   ingest    -> the blob it shares
 */
import { Buffer } from "node:buffer";
import type { TimeNs } from "../../core/any.ts";
import { messageOf } from "../../core/errors.ts";
import { type Condition, conditionHolds, expiryOf, FLAT, labelRefs } from "../../core/gc/labels.ts";
import { type NodeId, type NodeKind, nodeId, parseNode, parseSnapshotKey } from "../../core/gc/nodes.ts";
import { resourceKind } from "./context.ts";
import type { Database } from "./db.ts";
import { int, labels, maybe, type Row, text } from "./rows.ts";
import type { Table } from "./schema.ts";

/** Rows handled before the event loop gets a turn. */
const SLICE = 200;
/** Labels are read only of rows that have one the collector knows. */
const GC_LABELS = "iif(instr(labels, 'containerd.io/gc.') > 0, labels, '{}') AS labels";

/** Something that can be collected. `id` is the row of a snapshot or ingest. */
export interface Candidate {
  readonly node: NodeId;
  readonly id: bigint;
}

/** What one reading of the database found. */
export interface Graph {
  readonly roots: readonly NodeId[];
  readonly edges: ReadonlyMap<NodeId, readonly NodeId[]>;
  readonly leases: readonly Candidate[];
  readonly images: readonly Candidate[];
  readonly ingests: readonly Candidate[];
  readonly blobs: readonly Candidate[];
  /** Children before their parents. */
  readonly snapshots: readonly Candidate[];
}

/** Reads everything, pausing now and then. What changes meanwhile is caught by the store's barrier. */
export async function readGraph(db: Database, now: TimeNs, pause: () => Promise<void>): Promise<Graph> {
  const builder = new GraphBuilder(db, now, pause);
  await builder.read();
  return builder.result();
}

class GraphBuilder {
  readonly #db: Database;
  readonly #now: TimeNs;
  readonly #pause: () => Promise<void>;
  readonly #roots: NodeId[] = [];
  readonly #edges = new Map<NodeId, NodeId[]>();
  readonly #conditions: { from: NodeId; condition: Condition }[] = [];
  readonly #usedAt = new Map<NodeId, TimeNs>();
  readonly #leases: Candidate[] = [];
  readonly #images: Candidate[] = [];
  readonly #ingests: Candidate[] = [];
  readonly #blobs: Candidate[] = [];
  #snapshots: Candidate[] = [];

  constructor(db: Database, now: TimeNs, pause: () => Promise<void>) {
    this.#db = db;
    this.#now = now;
    this.#pause = pause;
  }

  async read(): Promise<void> {
    await this.#readLeases();
    await this.#readImages();
    await this.#each("ingests", "id, ns, ref, shared, expires", (row) => this.#ingest(row));
    await this.#each("blobs", `ns, digest, ${GC_LABELS}`, (row) => {
      const node = nodeId("content", text(row, "ns"), text(row, "digest"));
      this.#blobs.push({ node, id: int(row, "key") });
      this.#labelled(row, node, true);
    });
    await this.#each("containers", `ns, id, snapshotter, snapshot_key, ${GC_LABELS}`, (row) => {
      const node = nodeId("container", text(row, "ns"), text(row, "id"));
      this.#roots.push(node);
      const ref = containerSnapshot(row);
      if (ref !== undefined) this.#edge(node, ref);
      this.#labelled(row, node, false);
    });
    await this.#each("sandboxes", `ns, id, ${GC_LABELS}`, (row) => {
      const node = nodeId("sandbox", text(row, "ns"), text(row, "id"));
      this.#roots.push(node);
      this.#labelled(row, node, false);
    });
    await this.#readSnapshots();
    await this.#each("quarantine", "tbl, record", (row) => {
      const record = JSON.parse(text(row, "record")) as unknown;
      if (isRow(record)) this.#hold(text(row, "tbl"), record);
    });
    for (const { from, condition } of this.#conditions) {
      const usedAt = this.#usedAt.get(condition.target);
      if (usedAt !== undefined && conditionHolds(condition, usedAt, this.#now))
        this.#edge(from, condition.target);
    }
  }

  result(): Graph {
    return {
      roots: this.#roots,
      edges: this.#edges,
      leases: this.#leases,
      images: this.#images,
      ingests: this.#ingests,
      blobs: this.#blobs,
      snapshots: this.#snapshots,
    };
  }

  async #readLeases(): Promise<void> {
    const flat = new Map<NodeId, boolean>();
    await this.#each("leases", `ns, id, ${GC_LABELS}`, (row) => {
      const node = nodeId("lease", text(row, "ns"), text(row, "id"));
      this.#leases.push({ node, id: int(row, "key") });
      const marks = labels(row);
      const expiry = expiryOf(marks);
      if (expiry !== undefined && expiry < this.#now) return;
      this.#roots.push(node);
      flat.set(node, marks.has(FLAT));
    });
    await this.#each("lease_resources", "ns, lease, type, id", (row) => {
      const lease = nodeId("lease", text(row, "ns"), text(row, "lease"));
      const isFlat = flat.get(lease);
      const found = resourceKind(text(row, "type"));
      if (isFlat === undefined || found === undefined) return;
      const kind: NodeKind =
        isFlat && found.kind !== "ingest" ? (`${found.kind}-flat` as NodeKind) : found.kind;
      this.#edge(lease, nodeId(kind, text(row, "ns"), found.prefix + text(row, "id")));
    });
  }

  async #readImages(): Promise<void> {
    await this.#each("images", `ns, name, digest, ${GC_LABELS}`, (row) => {
      const ns = text(row, "ns");
      const node = nodeId("image", ns, text(row, "name"));
      this.#images.push({ node, id: int(row, "key") });
      const expiry = expiryOf(labels(row));
      if (expiry === undefined || expiry >= this.#now) this.#roots.push(node);
      this.#edge(node, nodeId("content", ns, text(row, "digest")));
      const flat = nodeId("image-flat", ns, text(row, "name"));
      this.#edge(flat, nodeId("content-flat", ns, text(row, "digest")));
      this.#labelled(row, node, false);
    });
  }

  #ingest(row: Row): void {
    const node = nodeId("ingest", text(row, "ns"), text(row, "ref"));
    this.#ingests.push({ node, id: int(row, "id") });
    const expires = maybe(row, "expires", int);
    if (expires !== undefined && expires >= this.#now) this.#roots.push(node);
    const shared = maybe(row, "shared", text);
    if (shared !== undefined) this.#edge(node, nodeId("content", text(row, "ns"), shared));
  }

  async #readSnapshots(): Promise<void> {
    const rows = new Map<bigint, { node: NodeId; flat: NodeId; parent: bigint | undefined }>();
    await this.#each("snapshots", `ns, snapshotter, name, parent, ${GC_LABELS}`, (row) => {
      const key = `${text(row, "snapshotter")}/${text(row, "name")}`;
      const node = nodeId("snapshot", text(row, "ns"), key);
      rows.set(int(row, "key"), {
        node,
        flat: nodeId("snapshot-flat", text(row, "ns"), key),
        parent: maybe(row, "parent", int),
      });
      this.#labelled(row, node, true);
    });
    const depths = new Map<bigint, number>();
    for (const [id, { node, flat, parent }] of rows) {
      if (depths.size % SLICE === SLICE - 1) await this.#pause();
      const above = parent === undefined ? undefined : rows.get(parent);
      if (above !== undefined) {
        this.#edge(node, above.node);
        this.#edge(flat, above.flat);
      }
      let depth = 0;
      for (let at = parent; at !== undefined && depth <= rows.size; at = rows.get(at)?.parent) {
        const known = depths.get(at);
        if (known !== undefined) {
          depth += known + 1;
          break;
        }
        depth++;
      }
      depths.set(id, depth);
    }
    this.#snapshots = [...rows].map(([id, { node }]) => ({ node, id }));
    this.#snapshots.sort((a, b) => (depths.get(b.id) ?? 0) - (depths.get(a.id) ?? 0));
  }

  /** Follows the labels of a row. `rootable` objects become roots by gc.root or while gc.expire lies ahead. */
  #labelled(row: Row, node: NodeId, rootable: boolean): void {
    const marks = labels(row);
    const found = labelRefs(text(row, "ns"), marks);
    const expiry = rootable ? expiryOf(marks) : undefined;
    if (rootable && (found.root || (expiry !== undefined && expiry >= this.#now))) this.#roots.push(node);
    for (const ref of found.refs) this.#edge(node, ref);
    for (const from of found.backRefs) this.#edge(from, node);
    for (const condition of found.conditions) this.#conditions.push({ from: node, condition });
    if (found.usedAt !== undefined) this.#usedAt.set(node, found.usedAt);
  }

  /**
   * A damaged record stops nothing from being collected but what it still names: itself, every digest in it, a container's
   * snapshot.
   */
  #hold(table: string, record: Readonly<Record<string, unknown>>): void {
    const field = (name: string): string => {
      const value = record[name];
      return typeof value === "string" ? value : value instanceof Uint8Array ? decodeText(value) : "";
    };
    const ns = field("ns");
    const all = Object.keys(record).map(field).join("\n");
    for (const [digest] of all.matchAll(/\b[a-z0-9]+:[0-9a-f]{64,128}\b/g))
      this.#roots.push(nodeId("content", ns, digest));
    if (table === "containers" && field("snapshotter") !== "")
      this.#roots.push(nodeId("snapshot", ns, `${field("snapshotter")}/${field("snapshot_key")}`));
    if (table === "snapshots")
      this.#roots.push(nodeId("snapshot", ns, `${field("snapshotter")}/${field("name")}`));
    if (table === "images") this.#roots.push(nodeId("image", ns, field("name")));
    if (table === "leases") this.#roots.push(nodeId("lease", ns, field("id")));
  }

  #edge(from: NodeId, to: NodeId): void {
    const list = this.#edges.get(from);
    if (list === undefined) this.#edges.set(from, [to]);
    else list.push(to);
  }

  /** Visits the rows of a table a page at a time, with their number as `key`. */
  async #each(table: Table | "quarantine", columns: string, visit: (row: Row) => void): Promise<void> {
    const sql = `SELECT rowid AS key, ${columns} FROM ${table} WHERE rowid > ? ORDER BY rowid LIMIT ${SLICE}`;
    for (let after = 0n; ; ) {
      const rows = this.#db.all(sql, after);
      for (const row of rows) {
        try {
          visit(row);
        } catch (err) {
          if (table === "quarantine") continue;
          const whole = this.#db.get(`SELECT rowid, * FROM ${table} WHERE rowid = ?`, int(row, "key"));
          if (whole === undefined) continue;
          // a snapshot's record stays: others are built on it, and it is served without its labels
          if (table !== "snapshots") this.#db.quarantine(table, whole, messageOf(err));
          this.#hold(table, whole);
        }
      }
      const last = rows.at(-1);
      if (last === undefined || rows.length < SLICE) return;
      after = int(last, "key");
      await this.#pause();
    }
  }
}

/**
 * What a node refers to right now, from the database: for objects that changed while the graph was read.
 * Conditions of labels are taken as met, which errs on the side of keeping.
 */
export function liveReferences(db: Database, node: NodeId): NodeId[] {
  const { kind, namespace, key } = parseNode(node);
  switch (kind) {
    case "content":
    case "content-flat": {
      const row = db.get("SELECT labels, ns FROM blobs WHERE ns = ? AND digest = ?", namespace, key);
      return kind === "content" ? labelled(row) : [];
    }
    case "image":
    case "image-flat": {
      const row = db.get("SELECT digest, labels, ns FROM images WHERE ns = ? AND name = ?", namespace, key);
      if (row === undefined) return [];
      if (kind === "image-flat") return [nodeId("content-flat", namespace, text(row, "digest"))];
      return [nodeId("content", namespace, text(row, "digest")), ...labelled(row)];
    }
    case "container": {
      const row = db.get(
        "SELECT ns, snapshotter, snapshot_key, labels FROM containers WHERE ns = ? AND id = ?",
        namespace,
        key,
      );
      if (row === undefined) return [];
      const ref = containerSnapshot(row);
      return [...(ref === undefined ? [] : [ref]), ...labelled(row)];
    }
    case "sandbox":
      return labelled(db.get("SELECT ns, labels FROM sandboxes WHERE ns = ? AND id = ?", namespace, key));
    case "snapshot":
    case "snapshot-flat": {
      const parts = parseSnapshotKey(key);
      const row = db.get(
        `SELECT s.ns, s.labels, p.name AS parent FROM snapshots s LEFT JOIN snapshots p ON p.id = s.parent
         WHERE s.ns = ? AND s.snapshotter = ? AND s.name = ?`,
        namespace,
        parts?.snapshotter ?? "",
        parts?.name ?? "",
      );
      if (row === undefined) return [];
      const parent = maybe(row, "parent", text);
      const up =
        parent === undefined ? [] : [nodeId(kind, namespace, `${parts?.snapshotter ?? ""}/${parent}`)];
      return kind === "snapshot" ? [...up, ...labelled(row)] : up;
    }
    case "ingest": {
      const row = db.get("SELECT shared FROM ingests WHERE ns = ? AND ref = ?", namespace, key);
      const shared = row === undefined ? undefined : maybe(row, "shared", text);
      return shared === undefined ? [] : [nodeId("content", namespace, shared)];
    }
    case "lease":
      return [];
  }
}

function isRow(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null;
}

function decodeText(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("latin1");
}

function labelled(row: Row | undefined): NodeId[] {
  if (row === undefined) return [];
  try {
    const found = labelRefs(text(row, "ns"), labels(row));
    return [...found.refs, ...found.conditions.map((c) => c.target)];
  } catch {
    // damaged since the graph was read: what it said then still counts
    return [];
  }
}

function containerSnapshot(row: Row): NodeId | undefined {
  const snapshotter = text(row, "snapshotter");
  if (snapshotter === "") return undefined;
  return nodeId("snapshot", text(row, "ns"), `${snapshotter}/${text(row, "snapshot_key")}`);
}
