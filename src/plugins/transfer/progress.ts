/** Progress of many parts, told in containerd's words, at most ten times a second for each part. */
import type { Descriptor } from "../../core/oci.ts";
import { refPrefix } from "../../oci/media-types.ts";
import type { OnProgress } from "./context.ts";

/** Name of a part: `layer-sha256:...`; also its ingest ref, so `ctr content active` shows the same names. */
export function refKey(desc: Descriptor): string {
  return `${refPrefix(desc.mediaType)}-${desc.digest}`;
}

const INTERVAL_MS = 100;

/** Tells how parts go on. */
export class ProgressTracker {
  readonly #emit: OnProgress;
  readonly #root: string;
  readonly #parents = new Map<string, string[]>();
  readonly #last = new Map<string, number>();
  readonly #told = new Set<string>();
  readonly #verb: string;

  /** @param root image name; @param verb event of moving bytes: `downloading`, `uploading`, `importing` */
  constructor(emit: OnProgress, root: string, verb: string) {
    this.#emit = emit;
    this.#root = root;
    this.#verb = verb;
  }

  /** Tells that `children` belong under `parent`. They show as waiting. */
  children(parent: Descriptor, children: readonly Descriptor[]): void {
    // Clients draw a tree in the order of arrival: the parent comes first.
    if (!this.#told.has(refKey(parent))) this.step(parent, "waiting");
    for (const child of children) {
      const key = refKey(child);
      const list = this.#parents.get(key) ?? [];
      const up = refKey(parent);
      if (!list.includes(up)) list.push(up);
      this.#parents.set(key, list);
      if (list.length === 1) this.step(child, "waiting");
    }
  }

  /** Bytes of a part moved so far. */
  bytes(desc: Descriptor, done: bigint, event: string = this.#verb): void {
    const key = `${event} ${refKey(desc)}`;
    const now = performance.now();
    if (now - (this.#last.get(key) ?? Number.NEGATIVE_INFINITY) < INTERVAL_MS) return;
    this.#last.set(key, now);
    this.#send(event, desc, done);
  }

  /** A part came to a new stage: `waiting`, `complete`, `exists`, `extracting`, `extracted`. */
  step(desc: Descriptor, event: string): void {
    const whole = event === "complete" || event === "extracted" || event === "already exists";
    this.#send(event, desc, whole ? desc.size : 0n);
  }

  /** A line about the whole transfer. */
  note(event: string, name: string = "", desc?: Descriptor): void {
    this.#emit({
      event,
      name,
      parents: [],
      progress: 0n,
      total: 0n,
      ...(desc === undefined ? {} : { desc }),
    });
  }

  #send(event: string, desc: Descriptor, progress: bigint): void {
    const name = refKey(desc);
    this.#told.add(name);
    const parents = this.#parents.get(name) ?? (this.#root === "" ? [] : [this.#root]);
    this.#emit({ event, name, parents, progress, total: desc.size, desc });
  }
}
