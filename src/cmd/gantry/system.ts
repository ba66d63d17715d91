/** `gantry system df`: what uses the disk, and what could be freed. */
import { snapshotterClient } from "../../client/snapshots.ts";
import type { Call } from "../../core/call.ts";
import { invalidArgument, messageOf } from "../../core/errors.ts";
import { nodeId } from "../../core/gc/nodes.ts";
import { formatSize } from "../../lib/human.ts";
import { Semaphore } from "../../lib/semaphore.ts";
import type { Transport } from "../../rpc/types.ts";
import { Holders } from "./holders.ts";
import { type Inventory, type NamespaceInventory, readInventory } from "./inventory.ts";
import { commonFlags, type OwnCommand, runCommand, show } from "./options.ts";

/** One line. Sizes in bytes. */
interface Use {
  readonly type: string;
  count: number;
  active: number;
  size: bigint;
  reclaimable: bigint;
}

const command: OwnCommand = {
  usage: `usage: gantry system df [FLAGS]

Shows what uses the disk. ACTIVE are images with containers, blobs and snapshots that something keeps, running containers.
RECLAIMABLE would be free without images that no container uses, and without containers that do not run.

${commonFlags}
examples:
  gantry system df
  gantry system df -n k8s.io -o json
`,
  async run(args, transport, call) {
    const [verb, more] = args.positionals;
    if (verb !== "df" || more !== undefined)
      throw invalidArgument('want "system df"', { hint: "add --help for the usage" });
    const inventory = await readInventory(transport, call, args.namespace);
    const unread = [...inventory.unread];
    const uses = await measure(inventory, transport, call, unread);
    for (const text of unread) process.stderr.write(`gantry: not read: ${text}\n`);
    show(
      args.json,
      uses,
      ["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"],
      uses.map((use) => [
        use.type,
        String(use.count),
        String(use.active),
        formatSize(use.size),
        `${formatSize(use.reclaimable)} (${use.size === 0n ? 0 : Number((use.reclaimable * 100n) / use.size)}%)`,
      ]),
    );
    return 0;
  },
};

/** Runs the mode. */
export function main(args: string[]): Promise<number> {
  return runCommand(command, args);
}

async function measure(
  inventory: Inventory,
  transport: Transport,
  call: Call,
  unread: string[],
): Promise<Use[]> {
  const images = use("images");
  const blobs = use("blobs");
  const ingests = use("unfinished downloads");
  const containers = use("containers");
  const snapshots = new Map<string, Use>();
  // a blob that two namespaces have is on disk once
  const sizes = new Map<string, { size: bigint; kept: boolean; used: boolean; image: boolean }>();
  for (const namespace of inventory.namespaces) {
    const ns = namespace.call.namespace;
    const holders = new Holders(namespace);
    const inUse = usedImages(namespace);
    images.count += namespace.images.length;
    images.active += inUse.size;
    for (const blob of namespace.blobs) {
      const kept = holders.of(nodeId("content", ns, blob.digest));
      const byImage = kept.filter(({ root }) => root.startsWith("image\0"));
      const entry = sizes.get(blob.digest) ?? { size: blob.size, kept: false, used: false, image: false };
      entry.kept ||= kept.length > 0;
      entry.image ||= byImage.length > 0;
      entry.used ||=
        kept.length > byImage.length ||
        byImage.some(({ root }) => inUse.has(root.slice(root.lastIndexOf("\0") + 1)));
      sizes.set(blob.digest, entry);
    }
    for (const ingest of namespace.ingests) {
      ingests.count++;
      ingests.size += ingest.offset;
      ingests.reclaimable += ingest.offset;
    }
    containers.count += namespace.containers.length;
    containers.active += namespace.running.size;
    await measureSnapshots(namespace, holders, transport, call, { containers, snapshots, unread });
  }
  for (const { size, kept, used, image } of sizes.values()) {
    blobs.count++;
    if (kept) blobs.active++;
    blobs.size += size;
    if (!used) blobs.reclaimable += size;
    if (image) images.size += size;
    if (image && !used) images.reclaimable += size;
  }
  return [images, blobs, ingests, containers, ...snapshots.values()];
}

interface SnapshotTotals {
  readonly containers: Use;
  readonly snapshots: Map<string, Use>;
  readonly unread: string[];
}

/** A container's own layer counts with the containers, everything else with its snapshotter. */
async function measureSnapshots(
  namespace: NamespaceInventory,
  holders: Holders,
  transport: Transport,
  call: Call,
  totals: SnapshotTotals,
): Promise<void> {
  const owners = new Map<string, string>(
    namespace.containers.map((c) => [`${c.snapshotter}/${c.snapshotKey}`, c.id] as const),
  );
  const turns = new Semaphore(8);
  for (const [name, list] of namespace.snapshots) {
    const client = snapshotterClient(transport, name);
    const total = totals.snapshots.get(name) ?? use(`snapshots (${name})`);
    if (list.length > 0) totals.snapshots.set(name, total);
    await Promise.all(
      list.map(async (snapshot) => {
        using _turn = await turns.acquire(call.signal);
        const usage = await client.usage(namespace.call, snapshot.name).catch((err: unknown) => {
          totals.unread.push(`size of snapshot "${name}/${snapshot.name}": ${messageOf(err)}`);
          return { size: 0n };
        });
        const key = `${name}/${snapshot.name}`;
        const owner = owners.get(key);
        if (owner !== undefined) {
          totals.containers.size += usage.size;
          if (!namespace.running.has(owner)) totals.containers.reclaimable += usage.size;
          return;
        }
        const kept = holders.of(nodeId("snapshot", namespace.call.namespace, key));
        total.count++;
        if (kept.length > 0) total.active++;
        total.size += usage.size;
        if (!kept.some(({ root }) => !root.startsWith("image\0"))) total.reclaimable += usage.size;
      }),
    );
  }
}

function usedImages(namespace: NamespaceInventory): Set<string> {
  const names = new Set(namespace.images.map((image) => image.name));
  return new Set(namespace.containers.map((c) => c.image).filter((image) => names.has(image)));
}

function use(type: string): Use {
  return { type, count: 0, active: 0, size: 0n, reclaimable: 0n };
}
