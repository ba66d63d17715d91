/** `gantry status`: the engine at a glance. */
import { introspectionClient, serverVersion } from "../../client/introspection.ts";
import { failedPrecondition, messageOf } from "../../core/errors.ts";
import { formatSize } from "../../lib/human.ts";
import { readProcFile } from "../../platform/process/proc.ts";
import { toJson } from "../ctr/table.ts";
import { readInventory } from "./inventory.ts";
import { commonFlags, type OwnCommand, runCommand } from "./options.ts";
import { count } from "./words.ts";

const command: OwnCommand = {
  usage: `usage: gantry status [FLAGS]

Shows the engine at a glance: version, plugins that failed, and for each namespace containers, images and what arrives now.
Exit code 1 when a plugin failed.

${commonFlags}
examples:
  gantry status
  gantry status -o json
`,
  async run(args, transport, call) {
    if (args.positionals.length > 0) throw failedPrecondition(`unexpected argument "${args.positionals[0]}"`);
    const [version, server] = await Promise.all([
      serverVersion(transport, call),
      introspectionClient(transport).server(call),
    ]);
    const inventory = await readInventory(transport, call, args.namespace);
    const failed = inventory.plugins.filter((p) => p.state === "error");
    const facts = {
      version: version.version,
      revision: version.revision,
      pid: server.pid,
      memory: residentOf(server.pid),
      plugins: inventory.plugins.filter((p) => p.state === "ok").length,
      failed: failed.map((p) => ({ plugin: `${p.type}.${p.id}`, error: messageOf(p.error) })),
      deprecations: server.deprecations.map((d) => d.message),
      namespaces: inventory.namespaces.map((ns) => ({
        name: ns.call.namespace,
        running: ns.running.size,
        containers: ns.containers.length,
        pods: new Set(
          ns.containers.map((c) => c.labels.get("io.kubernetes.pod.uid")).filter((uid) => uid !== undefined),
        ).size,
        images: ns.images.length,
        content: ns.blobs.reduce((sum, b) => sum + b.size, 0n),
        arriving: ns.ingests.map((i) => ({ what: i.ref, done: i.offset, total: i.total })),
      })),
    };
    process.stdout.write(args.json ? toJson(facts, 2) : render(facts));
    return failed.length === 0 ? 0 : 1;
  },
};

/** Runs the mode. */
export function main(args: string[]): Promise<number> {
  return runCommand(command, args);
}

interface Facts {
  readonly version: string;
  readonly pid: number;
  readonly memory: number;
  readonly plugins: number;
  readonly failed: readonly { plugin: string; error: string }[];
  readonly deprecations: readonly string[];
  readonly namespaces: readonly {
    readonly name: string;
    readonly running: number;
    readonly containers: number;
    readonly pods: number;
    readonly images: number;
    readonly content: bigint;
    readonly arriving: readonly { what: string; done: bigint; total: bigint }[];
  }[];
}

function render(f: Facts): string {
  const lines = [
    `engine      ${f.version}, pid ${f.pid}${f.memory > 0 ? `, ${formatSize(f.memory)} resident` : ""}`,
    `plugins     ${f.plugins} run${f.failed.length === 0 ? "" : `, ${f.failed.length} FAILED`}`,
    ...f.failed.map((p) => `            ${p.plugin}: ${p.error}`),
    ...f.deprecations.map((d) => `deprecated  ${d}`),
  ];
  for (const ns of f.namespaces) {
    const pods = ns.pods > 0 ? `${count(ns.pods, "pod")}, ` : "";
    lines.push(
      `${ns.name.padEnd(11)} ${pods}${ns.running} of ${count(ns.containers, "container")} run, ${count(ns.images, "image")}, ${formatSize(ns.content)} of content`,
    );
    for (const a of ns.arriving)
      lines.push(
        `            arriving: ${a.what} ${formatSize(a.done)}${a.total > 0n ? ` of ${formatSize(a.total)}` : ""}`,
      );
  }
  return `${lines.join("\n")}\n`;
}

/** Resident bytes of a process of this host; 0 when it cannot be seen. */
function residentOf(pid: number): number {
  const text = readProcFile(`/proc/${pid}/status`) ?? "";
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(text)?.[1] ?? 0) * 1024;
}
