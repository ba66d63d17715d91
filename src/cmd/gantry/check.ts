/** `gantry check`: finds damaged blobs and snapshots, and with --repair lets go of them so that the next pull heals. */
import { contentClient } from "../../client/content.ts";
import { introspectionClient } from "../../client/introspection.ts";
import { snapshotterClient } from "../../client/snapshots.ts";
import { invalidArgument, isNotFound, messageOf } from "../../core/errors.ts";
import { nodeId } from "../../core/gc/nodes.ts";
import { parseDigest } from "../../core/ids/digest.ts";
import { parseNamespace } from "../../core/ids/namespace.ts";
import type { Transport } from "../../rpc/types.ts";
import { checkBlobs, fileBytes, localStore } from "./check-blobs.ts";
import { checkSnapshots } from "./check-snapshots.ts";
import type { Damage } from "./damage.ts";
import { Holders } from "./holders.ts";
import { type NamespaceInventory, readInventory } from "./inventory.ts";
import { commonFlags, type OwnCommand, runCommand, show } from "./options.ts";

interface Finding extends Damage {
  readonly images: readonly string[];
  /** What was done about it; "" when nothing. */
  repaired: string;
}

const command: OwnCommand = {
  usage: `usage: gantry check [--repair] [FLAGS]

Reads every blob and compares it with its digest and size, looks for the folders of every snapshot, and compares the files of every
layer with its blob (type, owner, mode, size, content). Run it beside the daemon, as root: files are read from its root folder;
without access to that, blobs are read over the API and layers are not compared.
Exit code 0: nothing is damaged; 1: something is, or the check failed.

      --repair           let go of what is damaged (blobs; snapshots that no container uses), so that a pull fetches it again
      --quick            do not compare the files of layers
${commonFlags}
examples:
  gantry check
  gantry check --repair -n k8s.io
  gantry check -o json
`,
  async run(args, transport, call) {
    if (args.positionals.length > 0)
      throw invalidArgument(`unexpected argument "${args.positionals[0]}"`, {
        hint: "add --help for the usage",
      });
    const inventory = await readInventory(transport, call, args.namespace);
    const root = (await introspectionClient(transport).plugins(call, ["id==content"]))
      .find((plugin) => plugin.type === "io.containerd.content.v1")
      ?.exports.get("root");
    const local = localStore(root);
    const open = local === undefined || args.quick ? undefined : (digest: string) => fileBytes(local, digest);
    const findings: Finding[] = [];
    const unread = [...inventory.unread];
    const damagedBlobs = await checkBlobs(transport, call, inventory.namespaces, root);
    for (const namespace of inventory.namespaces) {
      const holders = new Holders(namespace);
      const ns = namespace.call.namespace;
      const damages: Damage[] = namespace.blobs
        .filter((blob) => damagedBlobs.has(blob.digest))
        .map(({ digest }) => ({
          kind: "blob",
          namespace: ns,
          object: digest,
          problem: damagedBlobs.get(digest) ?? "",
        }));
      damages.push(...(await checkSnapshots(transport, namespace, unread, damagedBlobs, open)));
      for (const damage of damages) {
        if (await isGone(transport, namespace, damage)) continue;
        const node = nodeId(damage.kind === "blob" ? "content" : "snapshot", ns, damage.object);
        findings.push({ ...damage, images: holders.images(node), repaired: "" });
      }
    }
    if (args.repair) await repair(transport, inventory.namespaces, findings);
    report(args.json, inventory.namespaces, findings, unread);
    return findings.length === 0 && unread.length === 0 ? 0 : 1;
  },
};

/** True for what was removed while the check ran: records go before files. */
async function isGone(transport: Transport, { call }: NamespaceInventory, damage: Damage): Promise<boolean> {
  const slash = damage.object.indexOf("/");
  const asked =
    damage.kind === "blob"
      ? contentClient(transport).info(call, parseDigest(damage.object))
      : snapshotterClient(transport, damage.object.slice(0, slash)).stat(
          call,
          damage.object.slice(slash + 1),
        );
  return await asked.then(
    () => false,
    (err: unknown) => isNotFound(err),
  );
}

/** Runs the mode. */
export function main(args: string[]): Promise<number> {
  return runCommand(command, args);
}

async function repair(
  transport: Transport,
  namespaces: readonly NamespaceInventory[],
  findings: Finding[],
): Promise<void> {
  for (const finding of findings) {
    const namespace = namespaces.find((one) => one.call.namespace === finding.namespace);
    if (namespace === undefined) continue;
    try {
      if (finding.kind === "blob") {
        await contentClient(transport).delete(namespace.call, parseDigest(finding.object));
        finding.repaired = "let go";
      } else finding.repaired = await removeSnapshot(transport, namespace, finding.object);
    } catch (err) {
      // gone already is what was wanted: a damaged blob may be shared, a snapshot removed with its parent
      finding.repaired = isNotFound(err) ? "let go" : `not repaired: ${messageOf(err)}`;
    }
  }
}

/** Removes a snapshot with everything built on it, unless a container uses some of that. */
async function removeSnapshot(
  transport: Transport,
  namespace: NamespaceInventory,
  object: string,
): Promise<string> {
  const snapshotter = object.slice(0, object.indexOf("/"));
  const list = namespace.snapshots.get(snapshotter) ?? [];
  const doomed = [object.slice(snapshotter.length + 1)];
  for (const name of doomed) doomed.push(...list.filter((s) => s.parent === name).map((s) => s.name));
  const user = namespace.containers.find(
    (c) => c.snapshotter === snapshotter && doomed.includes(c.snapshotKey),
  );
  if (user !== undefined) return `not repaired: container "${user.id}" uses it; remove that first`;
  const client = snapshotterClient(transport, snapshotter);
  for (const name of doomed.reverse())
    await client.remove(namespace.call, name).catch((err: unknown) => {
      if (!isNotFound(err)) throw err;
    });
  return doomed.length === 1 ? "let go" : `let go, with ${doomed.length - 1} built on it`;
}

function report(
  json: boolean,
  namespaces: readonly NamespaceInventory[],
  findings: readonly Finding[],
  unread: readonly string[],
): void {
  const count = (of: (one: NamespaceInventory) => number): number =>
    namespaces.reduce((sum, one) => sum + of(one), 0);
  const checked = {
    blobs: count((one) => one.blobs.length),
    snapshots: count((one) => [...one.snapshots.values()].reduce((sum, list) => sum + list.length, 0)),
  };
  for (const text of unread) process.stderr.write(`gantry: not checked: ${text}\n`);
  if (json) {
    show(true, { checked, damaged: findings, unread }, [], []);
    return;
  }
  if (findings.length > 0)
    show(
      false,
      findings,
      ["NAMESPACE", "KIND", "OBJECT", "PROBLEM", "IMAGES", "REPAIR"],
      findings.map((f) => [
        f.namespace,
        f.kind,
        f.object,
        f.problem,
        f.images.join(",") || "-",
        f.repaired || "-",
      ]),
    );
  process.stdout.write(
    `checked ${checked.blobs} blobs and ${checked.snapshots} snapshots: ${findings.length} damaged\n`,
  );
  const open = findings.some((f) => f.repaired === "");
  if (open) process.stdout.write('run "gantry check --repair", then pull again:\n');
  else if (findings.length > 0) process.stdout.write("pull again:\n");
  for (const pull of pulls(findings)) process.stdout.write(`  ${pull}\n`);
}

/** The commands that bring damaged images back. */
function pulls(findings: readonly Finding[]): string[] {
  return [
    ...new Set(
      findings.flatMap((f) =>
        f.images.map((image) => `ctr -n ${parseNamespace(f.namespace)} images pull ${image}`),
      ),
    ),
  ];
}
