/** Looks for the folders of snapshots, at the places their mounts name, and compares layers with their blobs. */
import { createHash, randomBytes } from "node:crypto";
import { lstat } from "node:fs/promises";
import { snapshotterClient } from "../../client/snapshots.ts";
import { withLease } from "../../client/with-lease.ts";
import type { NamespacedCall } from "../../core/call.ts";
import { isNotFound, messageOf } from "../../core/errors.ts";
import type { Mount } from "../../core/mounts/mount.ts";
import type { SnapshotInfo, Snapshotter } from "../../core/snapshots/snapshotter.ts";
import type { Transport } from "../../rpc/types.ts";
import type { Damage } from "./damage.ts";
import type { NamespaceInventory } from "./inventory.ts";
import { compareTree } from "./layer-tree.ts";

/** Longest time one snapshotter may take for one answer. Milliseconds. */
const ANSWER_MS = 60_000;

/** Where a snapshot's own data and its parents' are. */
interface Places {
  readonly own: readonly string[];
  /** Nearest first; empty when the mounts do not tell them apart. */
  readonly parents: readonly string[];
}

/** Opens a blob's bytes. */
export type OpenBlob = (digest: string) => AsyncIterable<Uint8Array>;

/** Snapshotters that keep each layer in a folder of its own. */
const LAYERED = new Set(["overlayfs", "erofs"]);

/**
 * Checks every snapshot of a namespace. What cannot be asked goes to `unread`.
 * @param open given, the files of layers are compared with their blobs, but for those in `damaged`
 */
export async function checkSnapshots(
  transport: Transport,
  namespace: NamespaceInventory,
  unread: string[],
  damaged: ReadonlyMap<string, string>,
  open: OpenBlob | undefined,
): Promise<Damage[]> {
  const out: Damage[] = [];
  const blobs = layerBlobs(namespace, damaged);
  for (const [name, list] of namespace.snapshots) {
    if (list.length === 0) continue;
    const checker = new Checker(name, list, snapshotterClient(transport, name));
    try {
      await withLease(transport, namespace.call, async (call) => {
        await checker.run(call);
        if (open !== undefined && LAYERED.has(name)) await checker.compare(call, blobs, open);
      });
    } catch (err) {
      unread.push(`snapshotter "${name}" in namespace "${namespace.call.namespace}": ${messageOf(err)}`);
    }
    for (const [snapshot, problem] of checker.problems)
      out.push({
        kind: "snapshot",
        namespace: namespace.call.namespace,
        object: `${name}/${snapshot}`,
        problem,
      });
  }
  return out;
}

class Checker {
  readonly problems = new Map<string, string>();
  readonly #name: string;
  readonly #list: readonly SnapshotInfo[];
  readonly #byName: ReadonlyMap<string, SnapshotInfo>;
  readonly #client: Snapshotter;
  readonly #checked = new Set<string>();
  /** Folders of committed layers. */
  readonly #folders = new Map<string, string>();

  constructor(name: string, list: readonly SnapshotInfo[], client: Snapshotter) {
    this.#name = name;
    this.#list = list;
    this.#byName = new Map(list.map((snapshot) => [snapshot.name, snapshot]));
    this.#client = client;
  }

  async run(call: NamespacedCall): Promise<void> {
    for (const snapshot of this.#list)
      if (snapshot.kind !== "committed")
        await this.#check(snapshot, () => this.#client.mounts(call.within(ANSWER_MS), snapshot.name));
    // what others were built on is found in their mounts, so a chain takes one view: longest chains first
    const committed = this.#list
      .filter((snapshot) => snapshot.kind === "committed")
      .sort((a, b) => this.#ancestors(b.name).length - this.#ancestors(a.name).length);
    for (const snapshot of committed) {
      if (this.#checked.has(snapshot.name)) continue;
      const key = `gantry-check-${randomBytes(6).toString("hex")}`;
      const view = { ...snapshot, kind: "view" as const, name: key, parent: snapshot.name };
      try {
        await this.#check(
          view,
          () => this.#client.view(call.within(ANSWER_MS), key, snapshot.name, new Map()),
          snapshot.name,
        );
      } finally {
        await this.#client.remove(call.detached(ANSWER_MS), key).catch((err: unknown) => {
          if (!isNotFound(err)) throw err;
        });
      }
    }
  }

  /** Compares layers with the blobs they came from. A layer without one (`ctr snapshots commit`) is what it is. */
  async compare(call: NamespacedCall, blobs: ReadonlyMap<string, string>, open: OpenBlob): Promise<void> {
    for (const [name, folder] of this.#folders) {
      const { parent = "" } = this.#byName.get(name) ?? {};
      const digest = blobOf(name, parent, blobs);
      if (digest === undefined || this.problems.has(name)) continue;
      call.check();
      try {
        const problem = await compareTree(open(digest), folder);
        if (problem !== "") this.problems.set(name, problem);
      } catch (err) {
        // a blob that went meanwhile says nothing about the layer
        if (!(isNotFound(err) || isMissing(err))) throw err;
      }
    }
  }

  async #check(snapshot: SnapshotInfo, ask: () => Promise<Mount[]>, blame = snapshot.name): Promise<void> {
    let places: Places;
    try {
      places = placesOf(await ask());
    } catch (err) {
      // removed since the list was read
      if (!isNotFound(err)) this.problems.set(blame, `cannot be mounted: ${messageOf(err)}`);
      return;
    }
    this.#checked.add(blame);
    for (const path of places.own) await this.#look(blame, path);
    const chain = this.#ancestors(snapshot.parent);
    for (const [i, path] of places.parents.entries()) {
      const owner = places.parents.length === chain.length ? (chain[i] ?? blame) : blame;
      if (owner !== blame && this.#checked.has(owner)) continue;
      this.#checked.add(owner);
      await this.#look(owner, path);
    }
  }

  /** A name and what it was built on. */
  #ancestors(name: string): string[] {
    const out: string[] = [];
    for (let at = name; at !== ""; at = this.#byName.get(at)?.parent ?? "") out.push(at);
    return out;
  }

  async #look(name: string, path: string): Promise<void> {
    if (this.#byName.get(name)?.kind === "committed") this.#folders.set(name, path);
    try {
      const stat = await lstat(path);
      if (!stat.isDirectory() && !stat.isFile() && !stat.isBlockDevice())
        this.problems.set(name, `"${path}" is not a folder`);
    } catch (err) {
      this.problems.set(
        name,
        isMissing(err) ? `its folder "${path}" is missing (${this.#name})` : `"${path}": ${messageOf(err)}`,
      );
    }
  }
}

function isMissing(err: unknown): boolean {
  return err instanceof Error && "code" in err && err.code === "ENOENT";
}

/** Blobs of layers by the digest of their archives. */
function layerBlobs(
  namespace: NamespaceInventory,
  damaged: ReadonlyMap<string, string>,
): ReadonlyMap<string, string> {
  const out = new Map<string, string>();
  for (const { digest, labels } of namespace.blobs) {
    const diffId = labels.get("containerd.io/uncompressed");
    if (diffId !== undefined && !damaged.has(digest)) out.set(diffId, digest);
  }
  return out;
}

/** The blob that gives the snapshot `name` on `parent`: names of unpacked layers are made of what is in them. */
function blobOf(name: string, parent: string, blobs: ReadonlyMap<string, string>): string | undefined {
  if (parent === "") return blobs.get(name);
  for (const [diffId, digest] of blobs) {
    const hash = createHash("sha256").update(`${parent} ${diffId}`).digest("hex");
    if (name === `sha256:${hash}`) return digest;
  }
  return undefined;
}

function placesOf(mounts: readonly Mount[]): Places {
  const own: string[] = [];
  const parents: string[] = [];
  for (const mount of mounts) {
    if (mount.type !== "overlay") {
      if (mount.source.startsWith("/")) own.push(mount.source);
      continue;
    }
    for (const option of mount.options) {
      const [key, value] = split(option, "=");
      if (key === "upperdir" || key === "workdir") own.push(value);
      // a backslash keeps a colon from ending a folder's name
      if (key === "lowerdir")
        parents.push(...value.split(/(?<!\\):/).map((path) => path.replace(/\\(.)/g, "$1")));
      if (key === "lowerdir+") parents.push(value);
    }
  }
  return { own, parents };
}

function split(text: string, at: string): [string, string] {
  const i = text.indexOf(at);
  return i < 0 ? [text, ""] : [text.slice(0, i), text.slice(i + 1)];
}
