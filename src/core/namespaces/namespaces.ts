/** Namespaces: isolate metadata of tenants. Not namespaced themselves. */
import type { Labels } from "../any.ts";
import type { Call } from "../call.ts";

/** A namespace. Labels `containerd.io/defaults/{runtime,snapshotter}` set defaults. */
export interface NamespaceInfo {
  readonly name: string;
  readonly labels: Labels;
}

/** All namespaces. */
export interface NamespaceStore {
  /** @throws not-found */
  get(call: Call, name: string): Promise<NamespaceInfo>;
  list(call: Call): Promise<NamespaceInfo[]>;
  /** @throws already-exists, invalid-argument ("version" and bad identifiers) */
  create(call: Call, name: string, labels: Labels): Promise<NamespaceInfo>;
  /** Fields: labels, labels.KEY. @throws not-found */
  update(call: Call, name: string, labels: Labels, fields: readonly string[]): Promise<NamespaceInfo>;
  /** @throws not-found, failed-precondition (not empty; the text names what is left) */
  delete(call: Call, name: string): Promise<void>;
}
