/** Leases: hold resources against garbage collection. */
import type { Labels, TimeNs } from "../any.ts";
import type { NamespacedCall } from "../call.ts";

/** A lease. The label `containerd.io/gc.expire` (RFC 3339) ends it; `containerd.io/gc.flat` holds without following references. */
export interface Lease {
  readonly id: string;
  readonly createdAt: TimeNs;
  readonly labels: Labels;
}

/** Something held: type `content` (id = digest), `ingests`, `images`, `snapshots/NAME`. */
export interface LeaseResource {
  readonly type: string;
  readonly id: string;
}

/** Leases of a namespace. */
export interface LeaseManager {
  /** Empty id = random. @throws already-exists */
  create(call: NamespacedCall, id: string, labels: Labels): Promise<Lease>;
  /** `sync` runs garbage collection before returning. @throws not-found */
  delete(call: NamespacedCall, id: string, sync?: boolean): Promise<void>;
  list(call: NamespacedCall, filters: readonly string[]): Promise<Lease[]>;
  /** @throws not-found (lease), not-implemented (unknown type) */
  addResource(call: NamespacedCall, lease: string, resource: LeaseResource): Promise<void>;
  deleteResource(call: NamespacedCall, lease: string, resource: LeaseResource): Promise<void>;
  listResources(call: NamespacedCall, lease: string): Promise<LeaseResource[]>;
}
