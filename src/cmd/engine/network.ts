/**
 * Networks of containers made by `gantry run`. The spec has two OCI hooks that call this executable: `createRuntime` attaches
 * the new network namespace, `poststop` gives everything back. So every start is the same, be it by a client, by the
 * restart monitor or after a reboot, and no daemon has to be there.
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { invalidArgument, messageOf, notFound } from "../../core/errors.ts";
import { noLog } from "../../core/log.ts";
import { Cni, type CniAttachment } from "../../cri/cni/cni.ts";
import { type CniNetwork, loadNetworks, parseNetwork } from "../../cri/cni/conflist.ts";
import type { Spec } from "../../oci/spec/types.ts";
import { deleteNetns, isPinned, pinNetns } from "../../platform/net/netns.ts";
import { reExec } from "../../platform/runtime.ts";
import { containerDir, engineRoot } from "./paths.ts";
import { formatPort, type PortMapping, parsePorts } from "./ports.ts";

/** Name of the network that needs no configuration. */
export const DEFAULT_NETWORK = "bridge";
const IF_NAME = "eth0";
/** Time one plugin gets, and both hooks in all (seconds: OCI's unit). */
const PLUGIN_MS = 60_000;
const HOOK_SECONDS = 150;

/** The network `bridge`: a bridge of our own with address translation and published ports. */
function defaultNetwork(): CniNetwork {
  const subnet = process.env["GANTRY_SUBNET"] || "10.89.0.0/16";
  return parseNetwork(
    JSON.stringify({
      cniVersion: "1.0.0",
      name: "gantry-bridge",
      plugins: [
        {
          type: "bridge",
          bridge: process.env["GANTRY_BRIDGE"] || "gantry0",
          isGateway: true,
          ipMasq: true,
          hairpinMode: true,
          ipam: {
            type: "host-local",
            dataDir: join(engineRoot(), "networks"),
            ranges: [[{ subnet }]],
            routes: [{ dst: "0.0.0.0/0" }],
          },
        },
        { type: "portmap", capabilities: { portMappings: true } },
      ],
    }),
  );
}

/** A network by its name: `bridge`, or one of /etc/cni/net.d. @throws not-found */
export async function findNetwork(name: string): Promise<CniNetwork> {
  if (name === DEFAULT_NETWORK) return defaultNetwork();
  const dir = process.env["NETCONFPATH"] || "/etc/cni/net.d";
  const all = await loadNetworks(dir, 0, noLog).catch(() => []);
  const found = all.find((n) => n.name === name);
  if (found === undefined)
    throw notFound(`network "${name}"`, {
      hint: `there are: bridge, host, none${all.map((n) => `, ${n.name}`).join("")} (from ${dir})`,
    });
  return found;
}

/** Adds the hooks to a spec that has a network namespace of its own. */
export function addNetworkHooks(
  spec: Spec,
  container: { namespace: string; id: string; network: string; ports: readonly PortMapping[] },
): void {
  const kept = ["PATH", "CNI_PATH", "NETCONFPATH", "GANTRY_ENGINE_ROOT", "GANTRY_SUBNET", "GANTRY_BRIDGE"];
  const env = kept.flatMap((name) =>
    process.env[name] === undefined ? [] : [`${name}=${process.env[name]}`],
  );
  const hook = (verb: string): { path: string; args: string[]; env: string[]; timeout: number } => {
    const self = reExec([
      "network-hook",
      verb,
      container.namespace,
      container.id,
      container.network,
      ...container.ports.map(formatPort),
    ]);
    return {
      path: self.command,
      args: [self.argv0 ?? self.command, ...self.args],
      env,
      timeout: HOOK_SECONDS,
    };
  };
  spec.hooks = {
    ...spec.hooks,
    createRuntime: [...hooksAt(spec, "createRuntime"), hook("add")],
    poststop: [...hooksAt(spec, "poststop"), hook("del")],
  };
}

function hooksAt(spec: Spec, stage: string): unknown[] {
  const list = spec.hooks?.[stage];
  return Array.isArray(list) ? list : [];
}

/** The mode `network-hook VERB NAMESPACE ID NETWORK [PORT...]`, with the container's state on stdin. @returns the exit code */
export async function networkHook(args: readonly string[]): Promise<number> {
  const [verb, namespace = "", id = "", network = "", ...ports] = args;
  try {
    const state = JSON.parse(readFileSync(0, "utf8")) as { pid?: number };
    // the namespace is kept beyond the process: plugins need it to find what they made
    const netns = `/run/netns/gantry-${id.slice(0, 32)}`;
    const attachment: CniAttachment = {
      containerId: `${namespace}-${id}`,
      netns: isPinned(netns) ? netns : "",
      ifName: IF_NAME,
      args: new Map([["IgnoreUnknown", "1"]]),
      capabilities: ports.length === 0 ? {} : { portMappings: ports.flatMap(parsePorts) },
    };
    const config = await findNetwork(network);
    const cni = new Cni({ binDirs: binDirs(), cacheDir: join(engineRoot(), "cni"), timeoutMs: PLUGIN_MS });
    // what a start before a power cut took is given back first
    await cni.remove(config, attachment);
    deleteNetns(netns);
    if (verb === "del") return 0;
    if (verb !== "add" || typeof state.pid !== "number")
      throw invalidArgument(`network-hook "${verb}": want add or del, and a state with a pid`);
    pinNetns(state.pid, netns);
    const { addresses } = await cni.add(config, { ...attachment, netns });
    const dir = containerDir(namespace, id);
    mkdirSync(dir, { recursive: true, mode: 0o700 });
    writeFileSync(join(dir, "network.json"), JSON.stringify({ network, addresses }));
    const hostname = readFileSync(join(dir, "hostname"), "utf8").trim();
    // written in place: the container has this very file mounted
    writeFileSync(join(dir, "hosts"), hostsFile(hostname, addresses));
    return 0;
  } catch (err) {
    process.stderr.write(`gantry: network of container "${id}": ${messageOf(err)}\n`);
    return 1;
  }
}

/** Text of a container's /etc/hosts. */
export function hostsFile(hostname: string, addresses: readonly string[]): string {
  const own = addresses.map((a) => `${a.split("/")[0]}\t${hostname}\n`);
  return `127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n${own.join("") || `127.0.1.1\t${hostname}\n`}`;
}

/** Addresses that the last start got, without their prefix length. */
export function addressesOf(namespace: string, id: string): string[] {
  try {
    const { addresses } = JSON.parse(
      readFileSync(join(containerDir(namespace, id), "network.json"), "utf8"),
    ) as { addresses: string[] };
    return addresses.map((a) => a.split("/")[0] ?? a);
  } catch {
    return [];
  }
}

/** Folders of CNI plugins. */
function binDirs(): string[] {
  const path = process.env["CNI_PATH"] ?? "";
  return path === "" ? ["/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni"] : path.split(":");
}
