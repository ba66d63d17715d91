/** Nodes of the reference graph. */

/** Kinds of nodes. The `-flat` kinds hold the object itself without what its labels refer to (flat leases). */
export type NodeKind =
  | "content"
  | "content-flat"
  | "snapshot"
  | "snapshot-flat"
  | "image"
  | "image-flat"
  | "container"
  | "sandbox"
  | "ingest"
  | "lease";

declare const brand: unique symbol;
/** `kind NUL namespace NUL key`: a string, so that sets and maps of a hundred thousand nodes stay cheap. */
export type NodeId = string & { readonly [brand]: "gc node" };

/** Names a node. The key of a snapshot is `snapshotter/name`. */
export function nodeId(kind: NodeKind, namespace: string, key: string): NodeId {
  return `${kind}\0${namespace}\0${key}` as NodeId;
}

/** Takes a node's name apart. */
export function parseNode(id: NodeId): { kind: NodeKind; namespace: string; key: string } {
  const first = id.indexOf("\0");
  const second = id.indexOf("\0", first + 1);
  return {
    kind: id.slice(0, first) as NodeKind,
    namespace: id.slice(first + 1, second),
    key: id.slice(second + 1),
  };
}

/** Snapshotter and name of a snapshot's key; undefined when the key has no slash. */
export function parseSnapshotKey(key: string): { snapshotter: string; name: string } | undefined {
  const slash = key.indexOf("/");
  return slash < 0 ? undefined : { snapshotter: key.slice(0, slash), name: key.slice(slash + 1) };
}
