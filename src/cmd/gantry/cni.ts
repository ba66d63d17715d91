/**
 * `gantry cni add|check|del|status|gc|version`: runs CNI plugins by hand, as the `cnitool` of the CNI project does: the same
 * environment, container ids and cache, so that either tool undoes what the other did.
 */
import { createHash } from "node:crypto";
import { invalidArgument, messageOf, notFound } from "../../core/errors.ts";
import { noLog } from "../../core/log.ts";
import { Cni, type CniAttachment } from "../../cri/cni/cni.ts";
import { type CniNetwork, isObject, type JsonObject, loadNetworks } from "../../cri/cni/conflist.ts";
import { report } from "../engine/report.ts";

const USAGE = `usage: gantry cni COMMAND NETWORK [NETNS]

  add NETWORK NETNS     attach a network namespace; prints the result
  check NETWORK NETNS   ask whether the attachment is as it should be
  del NETWORK NETNS     detach it
  status NETWORK        ask whether the network could take a container now
  gc NETWORK            let plugins free what no container of this tool's uses
  version PLUGIN        versions of the protocol that a plugin speaks

NETWORK is the name inside a configuration file, NETNS the path of a namespace (/var/run/netns/NAME).

environment:
  NETCONFPATH   folder of configurations (default /etc/cni/net.d)
  CNI_PATH      folders of plugins, colons between (default /opt/cni/bin)
  CNI_ARGS      KEY=VALUE;KEY=VALUE for the plugins
  CAP_ARGS      JSON object with values of capabilities
  CNI_IFNAME    name of the interface (default eth0)
`;

/** As the CNI library's, so that its tools find what this one attached. */
const CACHE = "/var/lib/cni";
const TIMEOUT_MS = 120_000;

/** Runs the mode. @returns the exit code */
export async function main(args: string[]): Promise<number> {
  if (args.length === 0 || args.includes("--help") || args.includes("-h")) {
    process.stdout.write(USAGE);
    return args.length === 0 ? 1 : 0;
  }
  try {
    return await run(args);
  } catch (err) {
    return report(err);
  }
}

async function run([command = "", name = "", netns = "", more]: string[]): Promise<number> {
  const needsNetns = command === "add" || command === "check" || command === "del";
  if (name === "" || more !== undefined || needsNetns !== (netns !== ""))
    throw invalidArgument(`want "gantry cni ${command || "COMMAND"} NETWORK${needsNetns ? " NETNS" : ""}"`, {
      hint: "gantry cni --help",
    });
  const cni = new Cni({
    binDirs: (process.env["CNI_PATH"] || "/opt/cni/bin").split(":"),
    cacheDir: CACHE,
    timeoutMs: TIMEOUT_MS,
  });
  if (command === "version") return print(await cni.versions(name));
  const network = await find(name);
  switch (command) {
    case "add":
      return print((await cni.add(network, attachment(netns))).raw);
    case "check":
      await cni.check(network, attachment(netns));
      return 0;
    case "del":
      await cni.remove(network, attachment(netns));
      return 0;
    case "status":
      await cni.status(network);
      return 0;
    case "gc":
      await cni.collect(network, await cni.attachments(network.name));
      return 0;
    default:
      throw invalidArgument(`unknown command "${command}"`, { hint: "gantry cni --help" });
  }
}

async function find(name: string): Promise<CniNetwork> {
  const dir = process.env["NETCONFPATH"] || "/etc/cni/net.d";
  const all = await loadNetworks(dir, 0, noLog);
  const found = all.find((n) => n.name === name);
  if (found === undefined)
    throw notFound(`network "${name}" in "${dir}"`, {
      hint: `there are: ${all.map((n) => n.name).join(", ")}`,
    });
  return found;
}

/** The container id is made from the path of the namespace, as cnitool does. */
export function containerIdOf(netns: string): string {
  return `cnitool-${createHash("sha512").update(netns).digest().subarray(0, 10).toString("hex")}`;
}

function attachment(netns: string): CniAttachment {
  return {
    containerId: containerIdOf(netns),
    netns,
    ifName: process.env["CNI_IFNAME"] || "eth0",
    args: argsOf(process.env["CNI_ARGS"] ?? ""),
    capabilities: capabilitiesOf(process.env["CAP_ARGS"] ?? ""),
  };
}

function argsOf(text: string): ReadonlyMap<string, string> {
  const args = new Map<string, string>();
  for (const pair of text.split(";")) {
    if (pair === "") continue;
    const [key = "", value, ...rest] = pair.split("=");
    if (key === "" || value === undefined || rest.length > 0)
      throw invalidArgument(`CNI_ARGS "${text}": want KEY=VALUE;KEY=VALUE`);
    args.set(key, value);
  }
  return args;
}

function capabilitiesOf(text: string): JsonObject {
  if (text === "") return {};
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (err) {
    throw invalidArgument(`CAP_ARGS: ${messageOf(err)}`, { cause: err });
  }
  if (!isObject(value)) throw invalidArgument("CAP_ARGS: want a JSON object");
  return value;
}

function print(value: unknown): number {
  process.stdout.write(`${JSON.stringify(value, undefined, 4)}\n`);
  return 0;
}
