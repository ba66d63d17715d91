/**
 * Pods and containers of this node: in memory for every reader, on disk for the next life of the daemon ({@link ./records.ts}).
 * Only pods/, containers/ and recovery/ change it.
 */
import type { NamespacedCall } from "../../core/call.ts";
import { invalidArgument, notFound } from "../../core/errors.ts";
import type { Logger } from "../../core/log.ts";
import { nowNs } from "../../lib/time.ts";
import type { Container, CriEvent, CriEventKind, CriView, Pod } from "../model.ts";
import type { Records } from "./records.ts";

/** See the file's comment. */
export class CriStore implements CriView {
  readonly call: NamespacedCall;
  readonly #log: Logger;
  readonly #records: Records;
  readonly #pods = new Map<string, Pod>();
  readonly #containers = new Map<string, Container>();
  readonly #ofPod = new Map<string, Set<string>>();
  readonly #listeners = new Set<(event: CriEvent) => void>();

  constructor(call: NamespacedCall, records: Records, log: Logger) {
    this.call = call;
    this.#records = records;
    this.#log = log;
  }

  pod(idOrPrefix: string): Pod {
    return find(this.#pods, idOrPrefix, "sandbox");
  }

  pods(): readonly Pod[] {
    return [...this.#pods.values()];
  }

  container(idOrPrefix: string): Container {
    return find(this.#containers, idOrPrefix, "container");
  }

  containers(podId?: string): readonly Container[] {
    if (podId === undefined) return [...this.#containers.values()];
    return [...(this.#ofPod.get(podId) ?? [])].flatMap((id) => this.#containers.get(id) ?? []);
  }

  /** The pod with this full id, if it is still there. */
  findPod(id: string): Pod | undefined {
    return this.#pods.get(id);
  }

  /** The container with this full id, if it is still there. */
  findContainer(id: string): Container | undefined {
    return this.#containers.get(id);
  }

  onEvent(listener: (event: CriEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Tells listeners what happened; a listener's failure is its own. */
  tell(kind: CriEventKind, podId: string, containerId: string, at = nowNs()): void {
    for (const listener of this.#listeners) {
      try {
        listener({ kind, podId, containerId, at });
      } catch (err) {
        this.#log.error("listener of container events", { kind, containerId, err });
      }
    }
  }

  /** Adds a pod; resolves when it is durable. */
  async addPod(pod: Pod): Promise<void> {
    this.#pods.set(pod.id, pod);
    try {
      await this.#records.createPod(pod);
    } catch (err) {
      this.#pods.delete(pod.id);
      throw err;
    }
  }

  /** Notes something of a pod that is being made: nothing of it is needed after a crash. */
  notePod(id: string, change: Partial<Pod>): void {
    const old = this.#pods.get(id);
    if (old !== undefined) this.#pods.set(id, { ...old, ...change });
  }

  /** Changes what may change of a pod. @returns the new state of it; undefined when it is gone */
  async changePod(id: string, change: Partial<Pod>): Promise<Pod | undefined> {
    const old = this.#pods.get(id);
    if (old === undefined) return undefined;
    const pod = { ...old, ...change };
    this.#pods.set(id, pod);
    await this.#records.savePod(pod);
    return pod;
  }

  async removePod(id: string): Promise<void> {
    await this.#records.removePod(id);
    this.#pods.delete(id);
    this.#ofPod.delete(id);
  }

  /** Adds a container whose record was stored. */
  addContainer(container: Container): void {
    this.#containers.set(container.id, container);
    const ids = this.#ofPod.get(container.podId) ?? new Set();
    ids.add(container.id);
    this.#ofPod.set(container.podId, ids);
  }

  async changeContainer(id: string, change: Partial<Container>): Promise<Container | undefined> {
    const old = this.#containers.get(id);
    if (old === undefined) return undefined;
    const container = { ...old, ...change };
    this.#containers.set(id, container);
    await this.#records.saveContainer(container);
    return container;
  }

  removeContainer(id: string): void {
    const podId = this.#containers.get(id)?.podId;
    this.#containers.delete(id);
    if (podId !== undefined) this.#ofPod.get(podId)?.delete(id);
  }

  /** Takes over what recovery found. */
  load(pods: readonly Pod[], containers: readonly Container[]): void {
    for (const pod of pods) this.#pods.set(pod.id, pod);
    for (const container of containers) this.addContainer(container);
  }
}

function find<T>(map: ReadonlyMap<string, T>, idOrPrefix: string, what: string): T {
  const exact = map.get(idOrPrefix);
  if (exact !== undefined) return exact;
  if (idOrPrefix === "") throw notFound(`an error occurred when try to find ${what}: ${what} id is empty`);
  const matches: T[] = [];
  // ids have 64 digits: anything longer cannot be the beginning of one
  if (idOrPrefix.length < 64)
    for (const [id, value] of map) if (id.startsWith(idOrPrefix)) matches.push(value);
  const [first] = matches;
  if (first === undefined) throw notFound(`an error occurred when try to find ${what} "${idOrPrefix}"`);
  if (matches.length > 1)
    throw invalidArgument(
      `an error occurred when try to find ${what}: "${idOrPrefix}" is the beginning of ${matches.length} ids`,
    );
  return first;
}
