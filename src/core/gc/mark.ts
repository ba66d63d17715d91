import type { NodeId } from "./nodes.ts";

/** What a node refers to. */
export type References = (node: NodeId) => Iterable<NodeId>;

/**
 * Marking: adds everything reachable from what is added. Nodes already marked are not visited again, so more roots can
 * be added later (objects that changed while marking went on).
 *
 * Example: `const m = new Marker(refs); m.add(root); while (m.step(1000)) await pause(); m.has(node)`.
 */
export class Marker {
  readonly #references: References;
  readonly #marked = new Set<NodeId>();
  readonly #open: NodeId[] = [];

  constructor(references: References) {
    this.#references = references;
  }

  /** Marks a node; what it refers to follows in {@link step}. */
  add(node: NodeId): void {
    if (this.#marked.has(node)) return;
    this.#marked.add(node);
    this.#open.push(node);
  }

  /** Visits up to `limit` nodes. @returns true while there is more to do */
  step(limit: number): boolean {
    for (let i = 0; i < limit; i++) {
      const node = this.#open.pop();
      if (node === undefined) return false;
      for (const next of this.#references(node)) this.add(next);
    }
    return this.#open.length > 0;
  }

  /** True when the node is reachable (complete once step returned false). */
  has(node: NodeId): boolean {
    return this.#marked.has(node);
  }

  /** Number of marked nodes. */
  get size(): number {
    return this.#marked.size;
  }
}

/** Marks at once: every node reachable from the roots. */
export function reachable(roots: Iterable<NodeId>, references: References): { has(node: NodeId): boolean } {
  const marker = new Marker(references);
  for (const root of roots) marker.add(root);
  while (marker.step(Number.MAX_SAFE_INTEGER)) {
    // one step visits all
  }
  return marker;
}
