import { setTimeout as delay, setImmediate as turn } from "node:timers/promises";
import { background, type Call } from "../../core/call.ts";
import type { Collectable, GarbageCollector, GcStats } from "../../core/gc/gc.ts";
import { Marker } from "../../core/gc/mark.ts";
import { type NodeId, parseNode, parseSnapshotKey } from "../../core/gc/nodes.ts";
import type { Digest } from "../../core/ids/digest.ts";
import type { Namespace } from "../../core/ids/namespace.ts";
import type { SnapshotBackend } from "../../core/snapshots/snapshotter.ts";
import { nowNs } from "../../lib/time.ts";
import type { SqliteContentStore } from "./content.ts";
import { type StoreContext, within } from "./context.ts";
import { type Candidate, type Graph, liveReferences, readGraph } from "./graph.ts";
import type { SnapshotRemovals } from "./snapshot-removals.ts";

/** Nodes marked, and rows removed, before the event loop gets a turn. */
const STEP = 200;
const BATCH = 25;
/** Milliseconds of work before a pause, and its length as a multiple of them. */
const WORK_MS = 2;
const REST = 1.5;
/** Longest time that blobs wait for the files of snapshots, ms. */
const DRAIN_MS = 10_000;

/** What is collected, and what helps. */
export interface CollectorParts {
  readonly context: StoreContext;
  readonly content: SqliteContentStore;
  readonly backends: ReadonlyMap<string, SnapshotBackend>;
  readonly removals: SnapshotRemovals;
}

/**
 * Mark and sweep that never stops the world. The graph is read and marked in slices while clients go on; whatever they
 * make or attach meanwhile is recorded by the barrier ({@link StoreContext.touch}) and marked, with what it refers to,
 * right before each batch of rows is removed, in the same turn of the loop. Files go after their rows.
 */
export class Collector implements Collectable {
  readonly #context: StoreContext;
  readonly #content: SqliteContentStore;
  readonly #backends: ReadonlyMap<string, SnapshotBackend>;
  readonly #removals: SnapshotRemovals;
  #running: Promise<GcStats> | undefined;

  constructor({ context, content, backends, removals }: CollectorParts) {
    this.#context = context;
    this.#content = content;
    this.#backends = backends;
    this.#removals = removals;
  }

  onMutation(listener: (kind: "delete" | "change") => void): void {
    this.#context.onMutation(listener);
  }

  attach(collector: GarbageCollector): void {
    this.#context.collector = collector;
  }

  async run(call: Call): Promise<GcStats> {
    // one at a time: a caller that comes during a run gets a run of its own afterwards
    const before = this.#running;
    const mine = (async () => {
      await before?.catch(() => {});
      return await this.#collect(call);
    })();
    this.#running = mine;
    try {
      return await mine;
    } finally {
      if (this.#running === mine) this.#running = undefined;
    }
  }

  async #collect(call: Call): Promise<GcStats> {
    // callers that collect in a loop must not keep the event loop to themselves
    await turn();
    const started = process.hrtime.bigint();
    const touched = this.#context.raiseBarrier();
    try {
      const { db } = this.#context;
      const graph = await readGraph(db, nowNs(), () => turn());
      const marker = new Marker((node) => graph.edges.get(node) ?? []);
      for (const root of graph.roots) marker.add(root);
      while (marker.step(STEP)) {
        await turn();
        call.check();
      }
      // objects made or changed since are asked for their references as they are now
      const live = new Marker((node) => [...liveReferences(db, node), ...(graph.edges.get(node) ?? [])]);
      const isAlive = (node: NodeId): boolean =>
        marker.has(node) || live.has(node) || alsoFlat(marker, live, node);
      const absorb = (): void => {
        for (const node of touched) live.add(node);
        touched.clear();
        for (const node of this.#content.ingests.openIngests()) live.add(node);
        while (live.step(Number.MAX_SAFE_INTEGER)) {
          // all in this turn
        }
      };
      const sweep: Sweep = async (candidates, remove, after) => {
        const gone: Candidate[] = [];
        const garbage = candidates.filter((c) => !isAlive(c.node));
        const pace = new Pace();
        try {
          for (let at = 0; at < garbage.length; at += BATCH) {
            call.check();
            const dead = await db.write(
              () => {
                absorb();
                const batch = garbage.slice(at, at + BATCH);
                return batch.filter(({ node, id }) => !isAlive(node) && remove(id, parseNode(node)) > 0);
              },
              // one flush for all of them, below: each would hold up what clients commit
              { frees: true, durable: false },
            );
            gone.push(...dead);
            await pace.rest();
          }
        } finally {
          if (gone.length > 0) {
            // files go when it is certain that nothing names them any more
            await db.flush();
            for (const candidate of gone) {
              // not beside a commit's flush: both would wait for the same journal and the same threads
              await db.quiet();
              await after?.(candidate);
              await pace.rest();
            }
          }
        }
        return gone.length;
      };
      const stats = await this.#sweepAll(graph, sweep);
      await this.#removals.drain();
      const elapsed = process.hrtime.bigint() - started;
      this.#context.log.debug("garbage collected", { ms: Number(elapsed / 1_000_000n), ...stats });
      return { elapsed, ...stats };
    } finally {
      this.#context.lowerBarrier();
    }
  }

  /** Rows are named by number and by key: a number may be used again, and a commit gives a snapshot another name. */
  async #sweepAll(graph: Graph, sweep: Sweep): Promise<Omit<GcStats, "elapsed">> {
    const { db } = this.#context;
    const leases = await sweep(graph.leases, (id, { namespace, key }) => {
      const { changes } = db.run(
        "DELETE FROM leases WHERE rowid = ? AND ns = ? AND id = ?",
        id,
        namespace,
        key,
      );
      if (changes > 0) db.run("DELETE FROM lease_resources WHERE ns = ? AND lease = ?", namespace, key);
      return changes;
    });
    const images = await sweep(
      graph.images,
      (id, { namespace, key }) =>
        db.run("DELETE FROM images WHERE rowid = ? AND ns = ? AND name = ?", id, namespace, key).changes,
      ({ node }) => {
        const { namespace, key } = parseNode(node);
        this.#context.publish(inNamespace(namespace), "/images/delete", { name: key });
      },
    );
    const ingests = await sweep(
      graph.ingests,
      (id) => db.run("DELETE FROM ingests WHERE id = ?", id).changes,
      ({ id }) => this.#content.blobs.files.removeIngest(id),
    );
    const snapshots = await sweep(
      graph.snapshots,
      (id, { namespace, key }) =>
        db.run(
          "DELETE FROM snapshots WHERE id = ? AND ns = ? AND snapshotter || '/' || name = ?",
          id,
          namespace,
          key,
        ).changes,
      (dead) => this.#removeSnapshot(dead),
    );
    // one kind of files after the other: few threads do this, and what clients commit; a backend that hangs holds up nothing
    await within(this.#removals.drain(), DRAIN_MS);
    const content = await sweep(
      graph.blobs,
      (id, { namespace, key }) =>
        db.run("DELETE FROM blobs WHERE rowid = ? AND ns = ? AND digest = ?", id, namespace, key).changes,
      // one after the other: many at once would fill the thread pool that commits wait for
      ({ node }) => this.#content.blobs.removeUnused(parseNode(node).key as Digest),
    );
    return { content, snapshots, ingests, images, leases };
  }

  #removeSnapshot({ node, id }: Candidate): void {
    const { namespace, key } = parseNode(node);
    const parts = parseSnapshotKey(key);
    const backend = this.#backends.get(parts?.snapshotter ?? "");
    if (parts === undefined || backend === undefined) return;
    this.#removals.add(backend, inNamespace(namespace), [id]);
    this.#context.publish(inNamespace(namespace), "/snapshot/remove", {
      key: parts.name,
      snapshotter: parts.snapshotter,
    });
  }
}

/** Gives what clients wait for the larger part of the time: after some work, a pause in proportion. */
class Pace {
  #since = performance.now();

  /** Rests when it is time to. */
  async rest(): Promise<void> {
    const worked = performance.now() - this.#since;
    if (worked < WORK_MS) return;
    await delay(worked * REST);
    this.#since = performance.now();
  }
}

/** Removes the dead of a list: `remove` deletes one row and says how many went, `after` deals with the files of one. */
type Sweep = (
  candidates: readonly Candidate[],
  remove: (id: bigint, node: ReturnType<typeof parseNode>) => number,
  after?: (dead: Candidate) => Promise<void> | void,
) => Promise<number>;

/** A flat lease marks the object under its flat name. */
function alsoFlat(a: Marker, b: Marker, node: NodeId): boolean {
  const nul = node.indexOf("\0");
  const flat = `${node.slice(0, nul)}-flat${node.slice(nul)}` as NodeId;
  return a.has(flat) || b.has(flat);
}

function inNamespace(namespace: string) {
  return background.in(namespace as Namespace);
}
