/** Attaches pods to the networks of their handler and detaches them, whatever happened to the pod meanwhile. */
import { readdir, unlink } from "node:fs/promises";
import { join } from "node:path";
import type { PodSandboxConfig } from "../../api/gen/cri/runtime/v1/api_pb.ts";
import { internal, messageOf, unavailable, wrap } from "../../core/errors.ts";
import type { Logger } from "../../core/log.ts";
import { retry } from "../../lib/retry.ts";
import { deleteNetns, isPinned, pinNetns } from "../../platform/net/netns.ts";
import type { CniConfig, RuntimeHandler } from "../config.ts";
import type { Pod } from "../model.ts";
import { podCapabilities } from "./capabilities.ts";
import { Cni, type CniAttachment, type CniResult } from "./cni.ts";
import type { CniNetwork } from "./conflist.ts";
import { NetworkFolder } from "./networks.ts";

/** Longest time of one plugin that adds, and of one that removes. Milliseconds. */
const ADD_MS = 180_000;
const DEL_MS = 60_000;
const STATUS_MS = 5_000;
/** Tries of DEL before a stop is told as failed (and tried again by the kubelet). */
const DEL_TRIES = 3;

/** What a pod got. */
export interface Attached {
  /** Addresses, primary first. */
  readonly ips: readonly string[];
  /** Result of each network by interface. */
  readonly results: Readonly<Record<string, unknown>>;
}

/** See the file's comment. */
export class PodNetwork {
  readonly #config: CniConfig;
  readonly #log: Logger;
  readonly #adding: Cni;
  readonly #removing: Cni;
  readonly #cacheDir: string;
  readonly #folders = new Map<string, NetworkFolder>();

  /** @param cacheDir where attachments are remembered; must outlive a reboot's /run */
  constructor(config: CniConfig, handlers: Iterable<RuntimeHandler>, cacheDir: string, log: Logger) {
    this.#config = config;
    this.#log = log;
    this.#cacheDir = cacheDir;
    this.#adding = new Cni({ binDirs: config.binDirs, cacheDir, timeoutMs: ADD_MS });
    this.#removing = new Cni({ binDirs: config.binDirs, cacheDir, timeoutMs: DEL_MS });
    const asking = new Cni({ binDirs: config.binDirs, cacheDir, timeoutMs: STATUS_MS });
    const ask = (network: CniNetwork): Promise<void> => asking.status(network);
    this.#folders.set("", new NetworkFolder(config.confDir, config.maxConfNum, log, ask));
    for (const handler of handlers) {
      if (handler.cniConfDir === "") continue;
      this.#folders.set(handler.name, new NetworkFolder(handler.cniConfDir, handler.cniMaxConfNum, log, ask));
    }
  }

  /** Loads and watches every folder. */
  async open(): Promise<void> {
    // halves of files that a killed daemon left
    for (const name of await this.#cacheFiles())
      if (/\.tmp-[0-9a-f]+$/.test(name)) await unlink(join(this.#cacheDir, "results", name)).catch(() => {});
    await Promise.all([...this.#folders.values()].map((f) => f.open()));
  }

  close(): void {
    for (const folder of this.#folders.values()) folder[Symbol.dispose]();
  }

  /** Folders by handler; "" is the common one. */
  get folders(): ReadonlyMap<string, NetworkFolder> {
    return this.#folders;
  }

  /** The folder of a handler's pods. */
  folder(handler: RuntimeHandler): NetworkFolder {
    const own = this.#folders.get(handler.name) ?? this.#folders.get("");
    if (own === undefined) throw internal("network folders are not loaded");
    return own;
  }

  /** Keeps the namespace that the runtime made (it belongs to the pod's user namespace). */
  pinNetns(pid: number, path: string): void {
    pinNetns(pid, path);
  }

  /** Attaches to all networks. What was attached is detached when one fails. @throws unavailable when there is no network */
  async attach(pod: Pod, handler: RuntimeHandler, signal: AbortSignal): Promise<Attached> {
    const { networks, problem } = this.folder(handler).current;
    if (problem !== undefined)
      throw unavailable(`failed to setup network for sandbox "${pod.id}": ${problem}`);
    const run = (network: CniNetwork, index: number): Promise<CniResult> =>
      this.#adding.add(network, attachmentOf(pod, index), signal);
    let results: PromiseSettledResult<CniResult>[] = [];
    if (this.#config.setupSerially) {
      for (const [index, network] of networks.entries()) {
        const [result] = await Promise.allSettled([run(network, index)]);
        results.push(result);
        if (result.status === "rejected") break;
      }
    } else results = await Promise.allSettled(networks.map(run));
    const failed = results.find((r) => r.status === "rejected");
    if (failed !== undefined) {
      await this.detach(pod, handler).catch((err: unknown) =>
        this.#log.warn("detach a pod whose network could not be set up", { pod: pod.id, err }),
      );
      throw wrap(failed.reason, `failed to setup network for sandbox "${pod.id}"`);
    }
    const good = results.flatMap((r) => (r.status === "fulfilled" ? [r.value] : []));
    const ips = podAddresses(good[0]?.raw, this.#config.ipPref);
    if (ips.length === 0)
      throw internal(`failed to setup network for sandbox "${pod.id}": no address for its first interface`);
    return { ips, results: Object.fromEntries(good.map((r, i) => [`eth${i}`, r.raw])) };
  }

  /**
   * Detaches from whatever the pod was attached to, by what was remembered (also by an earlier daemon or before the
   * configuration changed); never attached is fine. A namespace that is gone is told to plugins as "".
   */
  async detach(pod: Pod, handler: RuntimeHandler | undefined): Promise<void> {
    const netns = pod.netnsPath !== "" && isPinned(pod.netnsPath) ? pod.netnsPath : "";
    const remembered = await this.#remembered(pod.id);
    const current = handler === undefined ? [] : this.folder(handler).current.networks;
    const targets = new Map<string, { network: CniNetwork; index: number }>();
    for (const each of remembered) targets.set(`${each.network.name} ${each.index}`, each);
    // nothing remembered: a cache that was lost; plugins take a DEL of what was never added
    if (remembered.length === 0)
      for (const [index, network] of current.entries())
        targets.set(`${network.name} ${index}`, { network, index });
    await Promise.all(
      [...targets.values()].map(({ network, index }) =>
        retry(() => this.#removing.remove(network, { ...attachmentOf(pod, index), netns }), {
          attempts: DEL_TRIES,
          initialDelayMs: 200,
        }).catch((err: unknown) => {
          throw wrap(err, `failed to destroy network for sandbox "${pod.id}"`);
        }),
      ),
    );
  }

  /** Tells the plugins which pods there are, so that they free what they hold for others. */
  async collect(pods: readonly Pod[]): Promise<void> {
    for (const folder of this.#folders.values())
      for (const [index, network] of folder.current.networks.entries())
        await this.#removing
          .collect(
            network,
            pods.map((pod) => ({ containerId: pod.id, ifName: `eth${index}` })),
          )
          .catch((err: unknown) => this.#log.warn("cni gc", { network: network.name, err: messageOf(err) }));
  }

  /** Detaches a pod that nothing but its id is known of any more. */
  async detachUnknown(podId: string): Promise<void> {
    for (const { network, index } of await this.#remembered(podId))
      await this.#removing.remove(network, {
        containerId: podId,
        netns: "",
        ifName: `eth${index}`,
        args: new Map(),
        capabilities: {},
      });
  }

  /** Unpins the namespace; it ends with its last process. */
  deleteNetns(path: string): void {
    if (path !== "") deleteNetns(path);
  }

  /** Why pods of a handler get no network now; undefined when they do. Never waits. */
  status(handler: RuntimeHandler): string | undefined {
    return this.folder(handler).problem;
  }

  /** Ids of pods that something is remembered of. */
  async rememberedIds(): Promise<string[]> {
    const ids = new Set<string>();
    for (const name of await this.#cacheFiles()) {
      const id = /-([0-9a-f]{64})-eth\d+$/.exec(name)?.[1];
      if (id !== undefined) ids.add(id);
    }
    return [...ids];
  }

  async #remembered(podId: string): Promise<{ network: CniNetwork; index: number }[]> {
    const out: { network: CniNetwork; index: number }[] = [];
    for (const name of await this.#cacheFiles()) {
      const match = new RegExp(`^(.+)-${podId}-eth(\\d+)$`).exec(name);
      if (match === null) continue;
      const network = await this.#removing
        .remembered(join(this.#cacheDir, "results", name))
        .catch((err: unknown) => {
          this.#log.warn("read a remembered network", { file: name, err: messageOf(err) });
          return undefined;
        });
      if (network !== undefined) out.push({ network, index: Number(match[2]) });
    }
    return out;
  }

  async #cacheFiles(): Promise<string[]> {
    return await readdir(join(this.#cacheDir, "results")).catch(() => []);
  }
}

function attachmentOf(pod: Pod, index: number): CniAttachment {
  const { metadata } = pod.config;
  return {
    containerId: pod.id,
    netns: pod.netnsPath,
    ifName: `eth${index}`,
    args: new Map([
      ["IgnoreUnknown", "1"],
      ["K8S_POD_NAMESPACE", metadata?.namespace ?? ""],
      ["K8S_POD_NAME", metadata?.name ?? ""],
      ["K8S_POD_INFRA_CONTAINER_ID", pod.id],
      ["K8S_POD_UID", metadata?.uid ?? ""],
    ]),
    capabilities: podCapabilities(pod.config),
  };
}

/** Addresses of the first interface, the preferred family first. */
export function podAddresses(result: unknown, preference: CniConfig["ipPref"]): string[] {
  if (typeof result !== "object" || result === null || !("ips" in result) || !Array.isArray(result.ips))
    return [];
  const interfaces = "interfaces" in result && Array.isArray(result.interfaces) ? result.interfaces : [];
  const inside = (index: unknown): boolean => {
    if (typeof index !== "number") return true;
    const it: unknown = interfaces[index];
    if (typeof it !== "object" || it === null) return true;
    const name = "name" in it ? it.name : undefined;
    return name === undefined || name === "eth0";
  };
  const ips = result.ips.flatMap((ip: unknown) => {
    if (typeof ip !== "object" || ip === null || !("address" in ip) || typeof ip.address !== "string")
      return [];
    if ("interface" in ip && !inside(ip.interface)) return [];
    return [ip.address.split("/")[0] ?? ""];
  });
  const six = (ip: string): boolean => ip.includes(":");
  if (preference === "cni") return ips;
  const first = preference === "ipv6" ? six : (ip: string) => !six(ip);
  const primary = ips.find(first) ?? ips[0];
  return primary === undefined ? [] : [primary, ...ips.filter((ip) => ip !== primary)];
}

/** Whether a pod uses the node's network. */
export function onHostNetwork(config: PodSandboxConfig): boolean {
  const network: number | undefined = config.linux?.securityContext?.namespaceOptions?.network;
  return network === 2;
}
