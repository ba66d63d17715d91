/** Who keeps an object from the garbage collector, by the collector's own rules. */
import type { Labels, TimeNs } from "../../core/any.ts";
import { EXPIRE, expiryOf, FLAT, labelRefs } from "../../core/gc/labels.ts";
import { type NodeId, type NodeKind, nodeId } from "../../core/gc/nodes.ts";
import { nowNs } from "../../lib/time.ts";
import type { NamespaceInventory } from "./inventory.ts";

/** A root that keeps an object, with the shortest way from it to the object (both ends included). */
export interface Holder {
  readonly root: NodeId;
  readonly since: TimeNs;
  /** Why the root itself stays, when that is not its kind: a label. */
  readonly why: string;
  readonly path: readonly NodeId[];
}

/** The references of one namespace, backwards. */
export class Holders {
  /** Every object with its time of creation. */
  readonly nodes = new Map<NodeId, TimeNs>();
  readonly #roots = new Map<NodeId, string>();
  readonly #heldBy = new Map<NodeId, Set<NodeId>>();
  readonly #now = nowNs();

  constructor(inventory: NamespaceInventory) {
    const ns = inventory.call.namespace;
    for (const image of inventory.images) {
      const node = this.#add("image", ns, image.name, image.createdAt, image.labels, true);
      this.#edge(node, nodeId("content", ns, image.target.digest));
    }
    for (const blob of inventory.blobs)
      this.#add("content", ns, blob.digest, blob.createdAt, blob.labels, false);
    for (const container of inventory.containers) {
      const { id, snapshotter, snapshotKey, createdAt, labels } = container;
      const node = this.#add("container", ns, id, createdAt, labels, true);
      if (snapshotKey !== "") this.#edge(node, nodeId("snapshot", ns, `${snapshotter}/${snapshotKey}`));
    }
    for (const [name, list] of inventory.snapshots) {
      for (const snapshot of list) {
        const key = `${name}/${snapshot.name}`;
        const node = this.#add("snapshot", ns, key, snapshot.createdAt, snapshot.labels, false);
        if (snapshot.parent !== "") this.#edge(node, nodeId("snapshot", ns, `${name}/${snapshot.parent}`));
      }
    }
    for (const ingest of inventory.ingests)
      this.#add("ingest", ns, ingest.ref, ingest.startedAt, new Map<string, string>(), false);
    for (const lease of inventory.leases) {
      const node = this.#add("lease", ns, lease.id, lease.createdAt, lease.labels, true);
      for (const { type, id } of lease.resources) {
        const held = resource(ns, type, id);
        if (held !== undefined) this.#edge(node, held);
      }
    }
  }

  /** Roots that keep `node`, nearest first. A flat lease keeps only what it names. */
  of(node: NodeId): Holder[] {
    const out: Holder[] = [];
    const seen = new Set<NodeId>([node]);
    const open: NodeId[][] = [[node]];
    for (let path = open.shift(); path !== undefined; path = open.shift()) {
      const [first] = path;
      if (first === undefined) continue;
      const why = this.#roots.get(first);
      if (why !== undefined && !(why === FLAT && path.length > 2))
        out.push({ root: first, since: this.nodes.get(first) ?? 0n, why: why === FLAT ? "" : why, path });
      for (const by of this.#heldBy.get(first) ?? []) {
        if (seen.has(by)) continue;
        seen.add(by);
        open.push([by, ...path]);
      }
    }
    return out;
  }

  /** Names of the images that reach `node`. */
  images(node: NodeId): string[] {
    return this.of(node)
      .map(({ root }) => root)
      .filter((root) => root.startsWith("image\0"))
      .map((root) => root.slice(root.lastIndexOf("\0") + 1))
      .sort();
  }

  #add(
    kind: NodeKind,
    ns: string,
    key: string,
    created: TimeNs,
    labels: Labels,
    rootByKind: boolean,
  ): NodeId {
    const node = nodeId(kind, ns, key);
    this.nodes.set(node, created);
    const { root, refs, backRefs } = labelRefs(ns, labels);
    for (const ref of refs) this.#edge(node, ref);
    for (const by of backRefs) this.#edge(by, node);
    const expiry = expiryOf(labels);
    const ended = expiry !== undefined && expiry < this.#now;
    const ends = kind === "image" || kind === "lease";
    if (rootByKind && !(ends && ended))
      this.#roots.set(node, kind === "lease" && labels.has(FLAT) ? FLAT : "");
    else if (root) this.#roots.set(node, "label containerd.io/gc.root");
    else if (!ends && expiry !== undefined && !ended)
      this.#roots.set(node, `label ${EXPIRE}=${labels.get(EXPIRE)}`);
    else if (kind === "ingest") this.#roots.set(node, "until it expires");
    return node;
  }

  #edge(from: NodeId, to: NodeId): void {
    const by = this.#heldBy.get(to) ?? new Set();
    by.add(from);
    this.#heldBy.set(to, by);
  }
}

function resource(ns: string, type: string, id: string): NodeId | undefined {
  if (type === "content") return nodeId("content", ns, id);
  if (type === "images") return nodeId("image", ns, id);
  if (type === "ingests") return nodeId("ingest", ns, id);
  if (type.startsWith("snapshots/"))
    return nodeId("snapshot", ns, `${type.slice("snapshots/".length)}/${id}`);
  return undefined;
}
