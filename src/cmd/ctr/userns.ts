/** User namespaces: --uidmap, --gidmap, --remap-labels. */
import { chmodSync, lchownSync, lstatSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { introspectionClient } from "../../client/introspection.ts";
import { snapshotterClient } from "../../client/snapshots.ts";
import type { NamespacedCall } from "../../core/call.ts";
import { invalidArgument, isAlreadyExists, isNotFound, notImplemented } from "../../core/errors.ts";
import { linuxOf } from "../../oci/spec/options.ts";
import type { IdMapping, Spec } from "../../oci/spec/types.ts";
import { withTempMount } from "../../platform/mounts/mounts.ts";
import { lgetxattr, lsetxattr } from "../../platform/syscalls/xattr.ts";
import type { Transport } from "../../rpc/types.ts";
import { listOf } from "./context.ts";

type Options = Readonly<Record<string, unknown>>;

/** Mappings of a user namespace. */
export interface Mappings {
  readonly uids: readonly IdMapping[];
  readonly gids: readonly IdMapping[];
}

const CAPABILITY_XATTR = "security.capability";
/** Revisions of file capabilities (linux/capability.h): 2 is for the machine's root, 3 names the root of a user namespace. */
const VFS_CAP_REVISION_2 = 0x02000000;
const VFS_CAP_REVISION_3 = 0x03000000;
const VFS_CAP_REVISION_MASK = 0xff000000;

/** Reads --uidmap and --gidmap; undefined without them. @throws invalid-argument */
export function mappingsOf(options: Options): Mappings | undefined {
  const uids = listOf(options, "uidmap").map((text) => parse("--uidmap", text));
  const gids = listOf(options, "gidmap").map((text) => parse("--gidmap", text));
  if (uids.length === 0 && gids.length === 0) return undefined;
  if (uids.length === 0 || gids.length === 0)
    throw invalidArgument("flags --uidmap and --gidmap: one needs the other");
  for (const [flag, map] of [
    ["--uidmap", uids],
    ["--gidmap", gids],
  ] as const) {
    if (shift(map, 0) === undefined)
      throw invalidArgument(`flag ${flag}: id 0 of the container is not mapped`);
    // the kernel takes 340 since 4.15
    if (map.length > 340) throw invalidArgument(`flag ${flag}: more than 340 ranges`);
  }
  return { uids, gids };
}

/** Gives the spec a user namespace. */
export function withUserNamespace(spec: Spec, { uids, gids }: Mappings): void {
  const linux = linuxOf(spec);
  linux.namespaces = [...(linux.namespaces ?? []).filter((n) => n.type !== "user"), { type: "user" }];
  linux.uidMappings = [...uids];
  linux.gidMappings = [...gids];
}

/**
 * Makes the image's files belong to the mapped users. A snapshotter that can does it while it mounts; else a copy of what an
 * image unpacks to is made once for these mappings, and kept for the next container.
 * @returns the parent of the container's snapshot, and the labels of that
 */
export async function remapSnapshot(
  transport: Transport,
  call: NamespacedCall,
  snapshotter: string,
  parent: string,
  mappings: Mappings,
  options: Options,
): Promise<{ parent: string; labels: ReadonlyMap<string, string> }> {
  const { uids, gids } = mappings;
  const labels = new Map([
    ["containerd.io/snapshot/uidmapping", format(uids)],
    ["containerd.io/snapshot/gidmapping", format(gids)],
  ]);
  const byLabels = await remapsByLabels(transport, call, snapshotter);
  if (options["remapLabels"] === true) {
    if (!byLabels)
      throw notImplemented(`flag --remap-labels: snapshotter "${snapshotter}" does not remap ids`, {
        hint: "leave it out: files are then given to the mapped users once per image",
      });
  }
  if (byLabels) return { parent, labels };
  const snapshots = snapshotterClient(transport, snapshotter);
  const remapped = `${parent}-${format(uids)}-${format(gids)}`;
  const exists = await snapshots.stat(call, remapped).then(
    () => true,
    (err: unknown) => {
      if (isNotFound(err)) return false;
      throw err;
    },
  );
  // the files have the right owners by then: nothing is left to shift
  if (exists) return { parent: remapped, labels: new Map() };
  const key = `remap-${process.pid}-${Date.now()} ${remapped}`;
  const mounts = await snapshots.prepare(call, key, parent, new Map());
  try {
    await withTempMount(mounts, (root) => chownTree(root, mappings));
    await snapshots.commit(call, remapped, key, new Map());
  } catch (err) {
    await snapshots.remove(call.detached(10_000), key).catch(() => {});
    if (!isAlreadyExists(err)) throw err;
  }
  return { parent: remapped, labels: new Map() };
}

async function remapsByLabels(
  transport: Transport,
  call: NamespacedCall,
  snapshotter: string,
): Promise<boolean> {
  const plugins = await introspectionClient(transport).plugins(call, ["type==io.containerd.snapshotter.v1"]);
  return plugins.some((p) => p.id === snapshotter && p.capabilities.includes("remap-ids"));
}

/**
 * Gives every file below `root` to the mapped user. Hard links are met once; set-id bits and file capabilities, which a change
 * of the owner clears, are put back.
 * @throws invalid-argument for a file whose owner is not mapped
 */
function chownTree(root: string, { uids, gids }: Mappings): void {
  const done = new Set<string>();
  const rootId = shift(uids, 0) ?? 0;
  const visit = (path: string): void => {
    const stat = lstatSync(path, { bigint: true });
    const linked = !stat.isDirectory() && stat.nlink > 1n;
    if (linked && done.has(`${stat.dev}:${stat.ino}`)) return;
    const uid = shift(uids, Number(stat.uid));
    const gid = shift(gids, Number(stat.gid));
    if (uid === undefined || gid === undefined)
      throw invalidArgument(
        `file "${path.slice(root.length)}": its owner ${stat.uid}:${stat.gid} is outside the mappings`,
      );
    const capability = stat.isFile() ? lgetxattr(path, CAPABILITY_XATTR) : undefined;
    lchownSync(path, uid, gid);
    if (!stat.isSymbolicLink() && (stat.mode & 0o6000n) !== 0n) chmodSync(path, Number(stat.mode & 0o7777n));
    if (capability !== undefined) lsetxattr(path, CAPABILITY_XATTR, capabilityOf(capability, rootId));
    // asked again: an overlay copies the file up, as another one, and its other names still have the old owner
    if (linked) {
      const now = lstatSync(path, { bigint: true });
      done.add(`${now.dev}:${now.ino}`);
    }
    if (stat.isDirectory()) for (const name of readdirSync(path)) visit(join(path, name));
  };
  visit(root);
}

/** A file capability of the machine's root as one of the mapped root's. */
export function capabilityOf(value: Uint8Array, rootId: number): Uint8Array {
  const magic = new DataView(value.buffer, value.byteOffset).getUint32(0, true);
  if (value.length !== 20 || (magic & VFS_CAP_REVISION_MASK) >>> 0 !== VFS_CAP_REVISION_2) return value;
  const out = new Uint8Array(new ArrayBuffer(24));
  out.set(value);
  const view = new DataView(out.buffer);
  view.setUint32(0, ((magic & ~VFS_CAP_REVISION_MASK) | VFS_CAP_REVISION_3) >>> 0, true);
  view.setUint32(20, rootId, true);
  return out;
}

function shift(map: readonly IdMapping[], id: number): number | undefined {
  const range = map.find((m) => id >= m.containerID && id < m.containerID + m.size);
  return range === undefined ? undefined : range.hostID + (id - range.containerID);
}

function parse(flag: string, text: string): IdMapping {
  const [containerID = -1, hostID = -1, size = 0] =
    /^(\d+):(\d+):(\d+)$/.exec(text)?.slice(1).map(Number) ?? [];
  const top = 0xffffffff;
  if (containerID < 0 || size < 1 || containerID + size > top || hostID + size > top)
    throw invalidArgument(`flag ${flag} "${text}": use CONTAINER-ID:HOST-ID:LENGTH, such as 0:100000:65536`);
  return { containerID, hostID, size };
}

function format(map: readonly IdMapping[]): string {
  return map.map((m) => `${m.containerID}:${m.hostID}:${m.size}`).join(",");
}
