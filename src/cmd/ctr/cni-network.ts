/**
 * --cni: a network namespace of the container's own, attached to the host's first CNI network. What belongs to a container is
 * named by its label, so that removing the container gives it back.
 */

import { randomBytes } from "node:crypto";
import type { Labels } from "../../core/any.ts";
import type { NamespacedCall } from "../../core/call.ts";
import { noLog } from "../../core/log.ts";
import { Cni, type CniAttachment } from "../../cri/cni/cni.ts";
import { type CniNetwork, loadNetworks, parseNetwork } from "../../cri/cni/conflist.ts";
import { createNetns, deleteNetns } from "../../platform/net/netns.ts";
import { toStderr } from "../shared/output.ts";

/** Label of a container with a network: path of its namespace. */
const LABEL = "gantry.cni/netns";
/** Label with the network's name. */
const NETWORK_LABEL = "gantry.cni/network";
const NETNS_DIR = "/var/run/netns";
const IF_NAME = "eth0";
/** Time one plugin gets. Milliseconds. */
const PLUGIN_MS = 60_000;

/** A network that a container is to get. */
export interface ContainerNetwork extends AsyncDisposable {
  /** Path of the namespace. */
  readonly netns: string;
  readonly labels: readonly string[];
  /** Attaches it. @throws what the plugins say */
  attach(call: NamespacedCall, id: string): Promise<void>;
  /** From now on it belongs to the container: disposing leaves it. */
  keep(): void;
}

/** Reads the configuration and makes the namespace. Disposing takes everything back unless it was kept. */
export async function prepareNetwork(signal: AbortSignal): Promise<ContainerNetwork> {
  const [network] = await loadNetworks(process.env["NETCONFPATH"] ?? "/etc/cni/net.d", 1, {
    ...noLog,
    warn: (message, fields) => toStderr(`ctr: warning: ${message}: ${String(fields?.["err"])}\n`),
  });
  if (network === undefined) throw new Error("unreachable: loadNetworks throws");
  const netns = `${NETNS_DIR}/ctr-${randomBytes(8).toString("hex")}`;
  await createNetns(netns, signal);
  let attached: CniAttachment | undefined;
  let kept = false;
  return {
    netns,
    labels: [`${LABEL}=${netns}`, `${NETWORK_LABEL}=${network.name}`],
    async attach(call, id) {
      attached = attachmentOf(call, id, netns);
      await cni().add(network, attached, call.signal);
    },
    keep() {
      kept = true;
    },
    async [Symbol.asyncDispose]() {
      if (kept) return;
      await giveBack(network, attached, netns);
    },
  };
}

/** Gives back what a removed container had; containers without a network have nothing. */
export async function releaseNetwork(call: NamespacedCall, id: string, labels: Labels): Promise<void> {
  const netns = labels.get(LABEL);
  // a label is what anybody may write: only what we make is removed
  if (netns === undefined || !/^\/var\/run\/netns\/ctr-[0-9a-f]{16}$/.test(netns)) return;
  const name = labels.get(NETWORK_LABEL) ?? "";
  // the configuration that ADD used is remembered with its result
  const network = parseNetwork(JSON.stringify({ cniVersion: "1.0.0", name, plugins: [{ type: "none" }] }));
  await giveBack(network, attachmentOf(call, id, netns), netns);
}

async function giveBack(
  network: CniNetwork,
  attached: CniAttachment | undefined,
  netns: string,
): Promise<void> {
  try {
    if (attached !== undefined) await cni().remove(network, attached);
  } catch (err) {
    toStderr(
      `ctr: warning: ${err instanceof Error ? err.message : String(err)}; an address may stay taken\n`,
    );
  }
  deleteNetns(netns);
}

function attachmentOf(call: NamespacedCall, id: string, netns: string): CniAttachment {
  return {
    containerId: `${call.namespace}-${id}`,
    netns,
    ifName: IF_NAME,
    args: new Map([["IgnoreUnknown", "1"]]),
    capabilities: {},
  };
}

function cni(): Cni {
  const path = process.env["CNI_PATH"] ?? "";
  return new Cni({
    binDirs: path === "" ? ["/opt/cni/bin", "/usr/lib/cni"] : path.split(":"),
    cacheDir: "/var/lib/cni",
    timeoutMs: PLUGIN_MS,
  });
}
