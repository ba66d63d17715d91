/** `gantry gc explain REF`: who keeps an object, and since when. */
import { invalidArgument, notFound } from "../../core/errors.ts";
import { type NodeId, parseNode } from "../../core/gc/nodes.ts";
import { formatAge } from "../../lib/human.ts";
import { formatRfc3339, nowNs } from "../../lib/time.ts";
import { type Holder, Holders } from "./holders.ts";
import { readInventory } from "./inventory.ts";
import { commonFlags, type OwnCommand, runCommand, show } from "./options.ts";

const command: OwnCommand = {
  usage: `usage: gantry gc explain [FLAGS] REF

Shows what keeps an object from the garbage collector: each root (image, container, lease, label) with its way to the object.
REF is an image name, a digest (or its first hex digits), a container id, a lease, an ingest, or a snapshot as KEY or SNAPSHOTTER/KEY.

${commonFlags}
examples:
  gantry gc explain docker.io/library/nginx:latest
  gantry gc explain sha256:4bcff63911fc
  gantry gc explain -o json -n k8s.io overlayfs/sha256:0e182002b05f
`,
  async run(args, transport, call) {
    const [verb, ref, more] = args.positionals;
    if (verb !== "explain" || ref === undefined || ref === "" || more !== undefined)
      throw invalidArgument('want "gc explain REF"', { hint: "add --help for the usage" });
    const inventory = await readInventory(transport, call, args.namespace);
    for (const text of inventory.unread) process.stderr.write(`gantry: not read: ${text}\n`);
    const found: { node: NodeId; holders: Holder[] }[] = [];
    for (const namespace of inventory.namespaces) {
      const holders = new Holders(namespace);
      for (const node of holders.nodes.keys())
        if (matches(node, ref)) found.push({ node, holders: holders.of(node) });
    }
    if (found.length === 0) throw notFound(`"${ref}": no image, blob, snapshot, container, lease or ingest`);
    show(
      args.json,
      found.map(plain),
      ["NAMESPACE", "OBJECT", "KEPT BY", "SINCE", "WAY"],
      found.flatMap(rows),
    );
    return 0;
  },
};

/** Runs the mode. */
export function main(args: string[]): Promise<number> {
  return runCommand(command, args);
}

function matches(node: NodeId, ref: string): boolean {
  const { kind, key } = parseNode(node);
  if (key === ref) return true;
  if (kind === "snapshot") return key.slice(key.indexOf("/") + 1) === ref;
  const hex = ref.replace(/^sha256:/, "");
  return kind === "content" && /^[0-9a-f]{6,64}$/.test(hex) && key.startsWith(`sha256:${hex}`);
}

function rows({ node, holders }: { node: NodeId; holders: readonly Holder[] }): string[][] {
  const { namespace } = parseNode(node);
  if (holders.length === 0)
    return [[namespace, name(node), "nothing: the next collection removes it", "", ""]];
  return holders.map(({ root, since, why, path }) => [
    namespace,
    name(node),
    root === node
      ? `itself${why === "" ? "" : ` (${why})`}`
      : `${name(root)}${why === "" ? "" : ` (${why})`}`,
    `${formatRfc3339(since)} (${formatAge(nowNs() - since)})`,
    path.map(short).join(" > "),
  ]);
}

function plain({ node, holders }: { node: NodeId; holders: readonly Holder[] }): unknown {
  return {
    ...parseNode(node),
    holders: holders.map(({ root, since, why, path }) => ({
      ...parseNode(root),
      since: formatRfc3339(since),
      ...(why === "" ? {} : { why }),
      path: path.map(parseNode),
    })),
  };
}

function name(node: NodeId): string {
  const { kind, key } = parseNode(node);
  return `${kind} ${key}`;
}

/** The same, with digests cut: ways are read by people. */
function short(node: NodeId): string {
  return name(node).replace(/(sha256:[0-9a-f]{12})[0-9a-f]+/g, "$1");
}
