/** `gantry doctor`: looks for what is wrong with the engine on this host, explains it, and repairs what is safe to repair. */
import { parseArgs } from "node:util";
import { introspectionClient } from "../../client/introspection.ts";
import { Call } from "../../core/call.ts";
import { messageOf } from "../../core/errors.ts";
import { createGrpcTransport } from "../../rpc/grpc/transport.ts";
import { toJson } from "../ctr/table.ts";
import { messageFor, nextStep } from "../shared/explain.ts";
import { placesOf } from "./daemon-folders.ts";
import { hostFindings } from "./doctor-host.ts";
import { leftovers } from "./doctor-leftovers.ts";
import type { DoctorContext, Finding } from "./finding.ts";
import { readInventory } from "./inventory.ts";
import { flagError } from "./options.ts";
import { count } from "./words.ts";

const usage = `usage: gantry doctor [FLAGS]

Looks at the daemon, the host and what earlier containers may have left: failed plugins, stuck calls, processes that hang in the
kernel, mounts, loop devices, folders, network namespaces and snapshots that belong to nothing, an old runc, missing kernel features, CNI.
Exit code 1 when there is a problem that was not repaired.

  --repair               mend what nobody can be using: left mounts, loop devices, folders and network namespaces
  -a, --address PATH     socket of the daemon (default /run/containerd/containerd.sock, or CONTAINERD_ADDRESS)
  -c, --config FILE      configuration of the daemon, for its folders (default: the running one's, /etc/containerd/config.toml)
  --root DIR, --state DIR  its folders (default: the running daemon's, else the configuration's)
  --debug-socket PATH    its debug socket, for stuck calls (default: the configuration's, /run/containerd/debug.sock)
  -o, --output FORMAT    "table" or "json"
  -h, --help             this text

examples:
  gantry doctor
  gantry doctor --repair
`;

/** Longest time the daemon may take to answer a simple question. Milliseconds. */
const ANSWER_MS = 5_000;
const INVENTORY_MS = 60_000;

/** Runs the mode. @returns the exit code */
export async function main(args: string[]): Promise<number> {
  try {
    const { values } = parseArgs({
      args,
      options: {
        repair: { type: "boolean", default: false },
        address: { type: "string", short: "a" },
        config: { type: "string", short: "c" },
        root: { type: "string" },
        state: { type: "string" },
        "debug-socket": { type: "string" },
        output: { type: "string", short: "o", default: "table" },
        help: { type: "boolean", short: "h", default: false },
      },
    });
    if (values.help) {
      process.stdout.write(usage);
      return 0;
    }
    const address = (
      values.address ??
      (process.env["CONTAINERD_ADDRESS"] || "/run/containerd/containerd.sock")
    ).replace(/^unix:\/\//, "");
    const { config, root, state, "debug-socket": debugSocket } = values;
    const places = await placesOf(address, { config, root, state, debugSocket });
    const findings = await examine(address, places);
    return await report(findings, values.repair, values.output === "json");
  } catch (err) {
    const bad = err instanceof TypeError ? flagError(err) : err;
    process.stderr.write(`gantry doctor: ${messageFor(bad)}\n`);
    const next = nextStep(bad);
    if (next !== undefined) process.stderr.write(`  ${next}\n`);
    return 2;
  }
}

/** Every finding, worst and best, in the order of the checks. */
export async function examine(address: string, context: DoctorContext): Promise<Finding[]> {
  const out: Finding[] = [];
  const transport = createGrpcTransport({ path: address });
  try {
    const call = new Call({});
    const plugins = await introspectionClient(transport).plugins(call.within(ANSWER_MS), []);
    const failed = plugins.filter((p) => p.state === "error");
    out.push({ check: "daemon", level: "ok", text: `answers on ${address}, ${plugins.length} plugins` });
    for (const p of failed)
      out.push({
        check: "plugins",
        level: "problem",
        text: `${p.type}.${p.id} did not start: ${messageOf(p.error)}`,
        next: "mend the cause and restart the daemon, or put it into disabled_plugins",
      });
    const inventory = await readInventory(transport, call.within(INVENTORY_MS), "");
    for (const text of inventory.unread) out.push({ check: "metadata", level: "problem", text });
    out.push(...(await leftovers(inventory, context)));
  } catch (err) {
    out.push({
      check: "daemon",
      level: "problem",
      text: `does not answer on ${address}: ${messageOf(err)}`,
      next: "systemctl status containerd; journalctl -u containerd -n 50",
    });
  } finally {
    await transport.close();
  }
  out.push(...(await hostFindings(context)));
  return out;
}

async function report(findings: readonly Finding[], repair: boolean, json: boolean): Promise<number> {
  const done: (Finding & { repaired?: boolean; repairError?: string })[] = [];
  for (const f of findings) {
    if (!repair || f.repair === undefined) {
      done.push(f);
      continue;
    }
    try {
      await f.repair();
      done.push({ ...f, repaired: true });
    } catch (err) {
      done.push({ ...f, repairError: messageOf(err) });
    }
  }
  if (json)
    process.stdout.write(
      toJson(
        done.map(({ check, level, text, next, repaired }) => ({ check, level, text, next, repaired })),
        2,
      ),
    );
  else for (const f of done) process.stdout.write(lineOf(f));
  const open = done.filter((f) => f.level === "problem" && f.repaired !== true);
  if (!json) {
    const mendable = open.filter((f) => f.repair !== undefined).length;
    const warnings = done.filter((f) => f.level === "warning" && f.repaired !== true).length;
    process.stdout.write(
      `\n${count(open.length, "problem")}, ${count(warnings, "warning")}${mendable > 0 ? `; "gantry doctor --repair" mends ${mendable}` : ""}\n`,
    );
  }
  return open.length === 0 ? 0 : 1;
}

function lineOf(f: Finding & { repaired?: boolean; repairError?: string }): string {
  const mark =
    f.repaired === true ? "mended " : { ok: "ok     ", warning: "warning", problem: "PROBLEM" }[f.level];
  const more = [
    f.level !== "ok" && f.repaired !== true && f.next !== undefined ? `\n          ${f.next}` : "",
    f.repairError === undefined ? "" : `\n          not mended: ${f.repairError}`,
  ];
  return `${mark}  ${f.check}: ${f.text}${more.join("")}\n`;
}
