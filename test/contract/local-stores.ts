/** The daemon's own stores in a temporary folder, over snapshot backends that only make folders, or given ones. */
import { mkdir, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { background } from "../../src/core/call.ts";
import type { ContentStore } from "../../src/core/content/content.ts";
import type { EventPublisher } from "../../src/core/events/events.ts";
import { noLog } from "../../src/core/log.ts";
import type { BackendSnapshot, SnapshotBackend } from "../../src/core/snapshots/snapshotter.ts";
import { SqliteMetadata } from "../../src/plugins/metadata/store.ts";
import { type MakeOptions, type Stores, tempFolder } from "./harness.ts";

/** A backend that makes one folder per snapshot. */
export function folderBackend(name: string, root: string): SnapshotBackend {
  return {
    name,
    capabilities: ["rebase"],
    exports: new Map(),
    async create(_call, snapshot) {
      await mkdir(join(root, String(snapshot.id)), { recursive: true });
    },
    async mounts(_call, snapshot: BackendSnapshot) {
      const source = [snapshot.id, ...snapshot.parents].join(":");
      return [{ type: "folder", source, target: "", options: [snapshot.kind === "view" ? "ro" : "rw"] }];
    },
    async usage(_call, snapshot) {
      const names = await readdir(join(root, String(snapshot.id)));
      return { inodes: BigInt(names.length + 1), size: 4096n };
    },
    async commit() {},
    async remove(_call, id) {
      await rm(join(root, String(id)), { recursive: true, force: true });
    },
    async ids() {
      return (await readdir(root).catch(() => [])).map(BigInt);
    },
  };
}

/** Local stores with what tests of their insides need. */
export interface LocalStores extends Stores {
  readonly metadata: SqliteMetadata;
  readonly root: string;
}

/** Opens stores below `root`. */
export async function openLocal(
  root: string,
  options: MakeOptions & {
    events?: EventPublisher;
    backends?: ReadonlyMap<string, SnapshotBackend>;
    /** Keeps the bytes of the blobs. */
    remote?: ContentStore;
    /** Answers before data is on disk: for tests of many objects that are about no crash. */
    noSync?: boolean;
  } = {},
): Promise<LocalStores> {
  await mkdir(join(root, "content", "ingest"), { recursive: true });
  const backends =
    options.backends ??
    new Map(["overlayfs", "native"].map((name) => [name, folderBackend(name, join(root, name))] as const));
  const metadata = await SqliteMetadata.open({
    root: join(root, "meta"),
    blobs: { root: join(root, "content"), remote: options.remote },
    backends,
    events: options.events,
    log: noLog,
    shared: options.policy !== "isolated",
    noSync: options.noSync ?? false,
  });
  const collector = {
    collect: () => metadata.garbage.run(background),
    mutated() {},
  };
  metadata.garbage.attach(collector);
  return {
    metadata,
    root,
    namespaces: metadata.namespaces,
    containers: metadata.containers,
    sandboxes: metadata.sandboxes,
    images: metadata.images,
    leases: metadata.leases,
    content: metadata.content,
    snapshotter: (name) => metadata.snapshotter(name),
    collect: async () => {
      await metadata.garbage.run(background);
    },
    close: () => metadata.close(),
  };
}

/** Makes stores in a folder of their own. */
export async function makeLocal(
  options: MakeOptions & { events?: EventPublisher } = {},
): Promise<LocalStores> {
  const folder = await tempFolder();
  const stores = await openLocal(folder.path, options);
  return {
    ...stores,
    close: async () => {
      await stores.close();
      await folder.remove();
    },
  };
}
