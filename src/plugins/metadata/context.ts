import type { Call, NamespacedCall } from "../../core/call.ts";
import { notFound } from "../../core/errors.ts";
import type { EventPublisher } from "../../core/events/events.ts";
import type { GarbageCollector } from "../../core/gc/gc.ts";
import { type NodeId, type NodeKind, nodeId } from "../../core/gc/nodes.ts";
import type { Logger } from "../../core/log.ts";
import type { Database } from "./db.ts";

/** What all stores share: the database, events, and the bookkeeping of leases and garbage collection. */
export class StoreContext {
  readonly db: Database;
  readonly log: Logger;
  readonly #events: EventPublisher | undefined;
  readonly #listeners: ((kind: "delete" | "change") => void)[] = [];
  #barrier: Set<NodeId> | undefined;
  /** Runs collections that a caller waits for. */
  collector: GarbageCollector | undefined;

  constructor(db: Database, log: Logger, events: EventPublisher | undefined) {
    this.db = db;
    this.log = log;
    this.#events = events;
  }

  /** Publishes after a commit. Never throws: a failed event must not turn a committed change into an error. */
  publish(call: NamespacedCall, topic: string, payload: Readonly<Record<string, unknown>>): void {
    try {
      this.#events?.send(call, topic, payload);
    } catch (err) {
      this.log.warn("event was not published", { topic, err });
    }
  }

  /** Makes the namespace visible; inside a transaction. */
  ensureNamespace(namespace: string): void {
    this.db.run("INSERT OR IGNORE INTO namespaces(name) VALUES(?)", namespace);
  }

  /**
   * Attaches an object to the lease of the call; inside a transaction. @returns false when the call has no lease
   * @throws not-found when the lease does not exist
   */
  attachLease(call: NamespacedCall, type: string, id: string): boolean {
    if (call.lease === undefined) return false;
    this.requireLease(call);
    this.addResource(call.namespace, call.lease, type, id);
    return true;
  }

  /** @throws not-found when the call names a lease that does not exist */
  requireLease(call: NamespacedCall): void {
    if (call.lease === undefined) return;
    const found = this.db.get("SELECT 1 FROM leases WHERE ns = ? AND id = ?", call.namespace, call.lease);
    if (found === undefined) throw notFound(`lease "${call.lease}": lease does not exist`);
  }

  /** Adds to a lease that exists; inside a transaction. */
  addResource(namespace: string, lease: string, type: string, id: string): void {
    this.db.run(
      "INSERT OR IGNORE INTO lease_resources(ns, lease, type, id) VALUES(?, ?, ?, ?)",
      namespace,
      lease,
      type,
      id,
    );
    const kind = resourceKind(type);
    if (kind !== undefined) this.touch(kind.kind, namespace, kind.prefix + id);
  }

  /** Takes an object out of the call's lease when it is in it; inside a transaction. */
  detachLease(call: NamespacedCall, type: string, id: string): void {
    if (call.lease === undefined) return;
    this.db.run(
      "DELETE FROM lease_resources WHERE ns = ? AND lease = ? AND type = ? AND id = ?",
      call.namespace,
      call.lease,
      type,
      id,
    );
  }

  /**
   * Tells a running collection that an object was made or got a reference: it and what it refers to stay this time.
   * Call it inside the transaction.
   */
  touch(kind: NodeKind, namespace: string, key: string): void {
    this.#barrier?.add(nodeId(kind, namespace, key));
  }

  /** Starts to record what is touched; the collection takes from the set as it goes. */
  raiseBarrier(): Set<NodeId> {
    this.#barrier = new Set();
    return this.#barrier;
  }

  lowerBarrier(): void {
    this.#barrier = undefined;
  }

  /** Tells the scheduler that something changed; after a commit. */
  mutated(kind: "delete" | "change"): void {
    for (const listener of this.#listeners) listener(kind);
  }

  onMutation(listener: (kind: "delete" | "change") => void): void {
    this.#listeners.push(listener);
  }

  /** Runs a collection and waits, through the scheduler when there is one. */
  async collect(call: Call): Promise<void> {
    await this.collector?.collect(call);
  }
}

/** Kind of graph node of a lease resource's type, and what stands before the id in its key. */
export function resourceKind(type: string): { kind: NodeKind; prefix: string } | undefined {
  if (type === "content") return { kind: "content", prefix: "" };
  if (type === "ingests") return { kind: "ingest", prefix: "" };
  if (type === "images") return { kind: "image", prefix: "" };
  if (type.startsWith("snapshots/"))
    return { kind: "snapshot", prefix: type.slice("snapshots/".length).concat("/") };
  return undefined;
}

/** Waits for `work`, but not longer than `ms`. */
export async function within(work: Promise<void>, ms: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms);
  });
  await Promise.race([work, limit]).finally(() => clearTimeout(timer));
}
