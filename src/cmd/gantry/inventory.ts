/** Everything a daemon keeps, read over its API, and who keeps what. */
import { containersClient } from "../../client/containers.ts";
import { contentClient } from "../../client/content.ts";
import { imagesClient } from "../../client/images.ts";
import { introspectionClient } from "../../client/introspection.ts";
import { leasesClient } from "../../client/leases.ts";
import { namespacesClient } from "../../client/namespaces.ts";
import { snapshotterClient } from "../../client/snapshots.ts";
import { tasksClient } from "../../client/tasks.ts";
import type { Call, NamespacedCall } from "../../core/call.ts";
import type { Container } from "../../core/containers/containers.ts";
import type { ContentInfo, IngestStatus } from "../../core/content/content.ts";
import { messageOf } from "../../core/errors.ts";
import { parseNamespace } from "../../core/ids/namespace.ts";
import type { Image } from "../../core/images/images.ts";
import type { PluginStatus } from "../../core/introspection/introspection.ts";
import type { Lease, LeaseResource } from "../../core/leases/leases.ts";
import type { SnapshotInfo } from "../../core/snapshots/snapshotter.ts";
import type { Transport } from "../../rpc/types.ts";

/** Longest time one snapshotter may take to list its snapshots. Milliseconds. */
const LIST_MS = 60_000;

/** One namespace. */
export interface NamespaceInventory {
  readonly call: NamespacedCall;
  readonly images: readonly Image[];
  readonly containers: readonly Container[];
  readonly blobs: readonly ContentInfo[];
  readonly ingests: readonly IngestStatus[];
  readonly leases: readonly (Lease & { readonly resources: readonly LeaseResource[] })[];
  /** By snapshotter. */
  readonly snapshots: ReadonlyMap<string, readonly SnapshotInfo[]>;
  /** Ids of containers with a task that has not ended. */
  readonly running: ReadonlySet<string>;
}

/** All of it. */
export interface Inventory {
  readonly namespaces: readonly NamespaceInventory[];
  readonly plugins: readonly PluginStatus[];
  /** What could not be read, as text for people. */
  readonly unread: readonly string[];
}

/** Reads one namespace, or all when `only` is "". */
export async function readInventory(transport: Transport, call: Call, only: string): Promise<Inventory> {
  const plugins = await introspectionClient(transport).plugins(call, []);
  const names =
    only === "" ? (await namespacesClient(transport).list(call)).map((info) => info.name) : [only];
  const unread: string[] = [];
  const namespaces: NamespaceInventory[] = [];
  for (const name of names)
    namespaces.push(await readNamespace(transport, call.in(parseNamespace(name)), plugins, unread));
  return { namespaces, plugins, unread };
}

async function readNamespace(
  transport: Transport,
  call: NamespacedCall,
  plugins: readonly PluginStatus[],
  unread: string[],
): Promise<NamespaceInventory> {
  const content = contentClient(transport);
  const leases = leasesClient(transport);
  const [images, containers, blobs, ingests, found, tasks] = await Promise.all([
    imagesClient(transport).list(call, []),
    containersClient(transport).list(call, []),
    collect(content.walk(call, [])),
    content.statuses(call, []),
    leases.list(call, []),
    tasksClient(transport).list(call),
  ]);
  const snapshots = new Map<string, readonly SnapshotInfo[]>();
  for (const { type, id, state } of plugins) {
    if (type !== "io.containerd.snapshotter.v1" || state !== "ok") continue;
    try {
      snapshots.set(id, await collect(snapshotterClient(transport, id).walk(call.within(LIST_MS), [])));
    } catch (err) {
      unread.push(`snapshotter "${id}" in namespace "${call.namespace}": ${messageOf(err)}`);
    }
  }
  const resources = await Promise.all(found.map((lease) => leases.listResources(call, lease.id)));
  return {
    call,
    images,
    containers,
    blobs,
    ingests,
    leases: found.map((lease, i) => ({ ...lease, resources: resources[i] ?? [] })),
    snapshots,
    running: new Set(tasks.filter((task) => task.status !== "stopped").map((task) => task.containerId)),
  };
}

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const out: T[] = [];
  for await (const item of items) out.push(item);
  return out;
}
