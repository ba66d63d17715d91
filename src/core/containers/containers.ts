/** Container store: what a container is made from. It holds no run state; tasks do. */
import type { AnyValue, Labels, TimeNs } from "../any.ts";
import type { NamespacedCall } from "../call.ts";

/** A container record. */
export interface Container {
  /** Required, immutable identifier. */
  readonly id: string;
  readonly labels: Labels;
  /** Image reference; optional, mutable. */
  readonly image: string;
  /** Runtime name (required, immutable) and its options. */
  readonly runtime: { readonly name: string; readonly options?: AnyValue | undefined };
  /** OCI runtime spec; required by tasks, mutable. */
  readonly spec?: AnyValue | undefined;
  /** Snapshotter; required when snapshotKey is set. */
  readonly snapshotter: string;
  /** Key of the active snapshot used as rootfs; mutable. */
  readonly snapshotKey: string;
  readonly createdAt: TimeNs;
  readonly updatedAt: TimeNs;
  readonly extensions: ReadonlyMap<string, AnyValue>;
  /** Sandbox the container belongs to; "" for none. */
  readonly sandbox: string;
}

/** What create and update take. */
export type ContainerInput = Omit<Container, "createdAt" | "updatedAt">;

/** Containers of a namespace. */
export interface ContainerStore {
  /** @throws not-found */
  get(call: NamespacedCall, id: string): Promise<Container>;
  list(call: NamespacedCall, filters: readonly string[]): Promise<Container[]>;
  /** @throws already-exists, invalid-argument */
  create(call: NamespacedCall, container: ContainerInput): Promise<Container>;
  /**
   * Fields: labels, labels.KEY, spec, extensions, extensions.KEY, image, snapshotkey; empty = those five.
   * @throws not-found, invalid-argument (unknown field, immutable field changed)
   */
  update(call: NamespacedCall, container: ContainerInput, fields: readonly string[]): Promise<Container>;
  /** @throws not-found */
  delete(call: NamespacedCall, id: string): Promise<void>;
}
