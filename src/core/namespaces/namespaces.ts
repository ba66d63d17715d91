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
  /**
   * A name nothing was written under has no labels and is no error: Go clients ask for the labels of their default namespace
   * when they connect (`containerd.WithDefaultNamespace`), before they write anything.
   */
  get(call: Call, name: string): Promise<NamespaceInfo>;
  list(call: Call): Promise<NamespaceInfo[]>;
  /** @throws already-exists, invalid-argument ("version" and bad identifiers) */
  create(call: Call, name: string, labels: Labels): Promise<NamespaceInfo>;
  /** Fields: labels, labels.KEY. Makes the namespace when it does not exist. @throws invalid-argument */
  update(call: Call, name: string, labels: Labels, fields: readonly string[]): Promise<NamespaceInfo>;
  /** @throws not-found, failed-precondition (not empty; the text names what is left) */
  delete(call: Call, name: string): Promise<void>;
}
