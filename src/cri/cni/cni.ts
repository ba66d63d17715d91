/**
 * Attaches network namespaces to networks by CNI plugins (CNI specification 1.1).
 *
 * What ADD did is written before it starts and with its result after, in the same form as the reference library does
 * (`<cache>/results/NETWORK-CONTAINER-IFNAME`), so that DEL works after a crash, after the configuration has changed, and by
 * other tools.
 */
import { mkdir, readdir, readFile, unlink } from "node:fs/promises";
import { join } from "node:path";
import { failedPrecondition, invalidArgument, wrap } from "../../core/errors.ts";
import { writeFileAtomic } from "../../platform/fs/atomic-write.ts";
import { type CniNetwork, isObject, type JsonObject, parseNetwork } from "./conflist.ts";
import { type PluginCall, type PluginRunner, runPlugin } from "./plugin-exec.ts";

/** Where things are. */
export interface CniSettings {
  /** Folders of plugins, in order. */
  readonly binDirs: readonly string[];
  /** Folder of what is attached. */
  readonly cacheDir: string;
  /** Longest time of one plugin. Milliseconds. */
  readonly timeoutMs: number;
}

/** One interface of one container on one network. */
export interface CniAttachment {
  readonly containerId: string;
  /** Path of the network namespace; "" when it is gone (only for `remove`). */
  readonly netns: string;
  readonly ifName: string;
  /** CNI_ARGS, such as K8S_POD_NAME. */
  readonly args: ReadonlyMap<string, string>;
  /** Values of capabilities (portMappings, bandwidth, ...) for the plugins that want them. */
  readonly capabilities: JsonObject;
}

/** What a network gave: addresses with their prefix length, as the plugins said it, and the whole result. */
export interface CniResult {
  readonly addresses: readonly string[];
  readonly raw: JsonObject;
}

/** For commands that are about no container. */
const NOBODY: CniAttachment = { containerId: "", netns: "", ifName: "", args: new Map(), capabilities: {} };

/** A container id becomes part of a file name. */
const CONTAINER_ID = /^[A-Za-z0-9][\w.-]*$/;

/** See the file's comment. */
export class Cni {
  readonly #settings: CniSettings;

  constructor(settings: CniSettings) {
    this.#settings = settings;
  }

  /**
   * Runs the chain with ADD. When a plugin fails, the chain is run with DEL before this throws, so that no address stays taken.
   * @throws the first failure, with what undoing met when that failed too
   */
  async add(network: CniNetwork, attachment: CniAttachment, signal?: AbortSignal): Promise<CniResult> {
    check(attachment);
    await this.#remember(network, attachment, undefined);
    let result: JsonObject | undefined;
    try {
      for (const plugin of network.plugins) {
        const config = configOf(network, plugin, attachment, result);
        result =
          (await runPlugin(plugin.type, config, callOf("ADD", attachment), this.#runner(signal))) ?? result;
      }
      result ??= { cniVersion: network.cniVersion };
      await this.#remember(network, attachment, result);
    } catch (err) {
      const failed = wrap(err, `network "${network.name}" of "${attachment.containerId}"`);
      await this.remove(network, attachment).catch((late: unknown) => {
        throw wrap(failed, `${wrap(late, "undo").message}; first failure`);
      });
      throw failed;
    }
    return { addresses: addressesOf(result), raw: result };
  }

  /** Asks every plugin whether the attachment is as it should be. Nothing is asked before protocol 0.4.0. @throws internal */
  async check(network: CniNetwork, attachment: CniAttachment, signal?: AbortSignal): Promise<void> {
    if (network.cniVersion.startsWith("0.3.") || network.disableCheck) return;
    const cached = await this.#recall(network.name, attachment);
    if (cached?.result === undefined)
      throw failedPrecondition(
        `check network "${network.name}": "${attachment.containerId}" is not attached`,
      );
    for (const plugin of cached.network.plugins) {
      const config = configOf(cached.network, plugin, attachment, cached.result);
      await runPlugin(plugin.type, config, callOf("CHECK", attachment), this.#runner(signal));
    }
  }

  /** Runs the chain backwards with DEL and forgets the attachment. Not being attached is fine. @throws internal */
  async remove(network: CniNetwork, attachment: CniAttachment, signal?: AbortSignal): Promise<void> {
    check(attachment);
    const cached = await this.#recall(network.name, attachment);
    const used = cached?.network ?? network;
    const told =
      cached === undefined
        ? attachment
        : { ...attachment, args: cached.args, capabilities: cached.capabilities };
    const previous = used.cniVersion.startsWith("0.3.") ? undefined : cached?.result;
    for (const plugin of [...used.plugins].reverse()) {
      const config = configOf(used, plugin, told, previous);
      await runPlugin(plugin.type, config, callOf("DEL", told), this.#runner(signal));
    }
    await unlink(this.#cacheFile(network.name, attachment)).catch(ignoreMissing);
  }

  /**
   * Asks every plugin whether it could add now (protocol 1.1; nothing is asked before).
   * @throws unavailable or internal with the plugin's words
   */
  async status(network: CniNetwork, signal?: AbortSignal): Promise<void> {
    if (!hasCommand11(network)) return;
    for (const plugin of network.plugins)
      await runPlugin(
        plugin.type,
        configOf(network, plugin, NOBODY, undefined),
        callOf("STATUS", NOBODY),
        this.#runner(signal),
      );
  }

  /**
   * Tells every plugin which attachments exist; it frees what it holds for others (protocol 1.1; nothing is told before).
   * All plugins are told, whatever one of them answers.
   * @throws the first failure
   */
  async collect(
    network: CniNetwork,
    valid: readonly Pick<CniAttachment, "containerId" | "ifName">[],
    signal?: AbortSignal,
  ): Promise<void> {
    if (!hasCommand11(network) || network.disableGc) return;
    const attachments = valid.map((a) => ({ containerID: a.containerId, ifname: a.ifName }));
    let failure: unknown;
    for (const plugin of network.plugins) {
      const config = {
        ...configOf(network, plugin, NOBODY, undefined),
        "cni.dev/valid-attachments": attachments,
      };
      await runPlugin(plugin.type, config, callOf("GC", NOBODY), this.#runner(signal)).catch(
        (err: unknown) => {
          failure ??= err;
        },
      );
    }
    if (failure !== undefined) throw failure;
  }

  /** Versions of the protocol that a plugin speaks. */
  async versions(type: string, signal?: AbortSignal): Promise<string[]> {
    const answer = await runPlugin(
      type,
      { cniVersion: "1.0.0" },
      callOf("VERSION", NOBODY),
      this.#runner(signal),
    );
    const versions = answer?.["supportedVersions"];
    return Array.isArray(versions) ? versions.filter((v) => typeof v === "string") : [];
  }

  /** What is remembered of a network. */
  async attachments(network: string): Promise<{ containerId: string; ifName: string }[]> {
    const dir = join(this.#settings.cacheDir, "results");
    const names = await readdir(dir).catch(() => []);
    const found: { containerId: string; ifName: string }[] = [];
    for (const name of names.filter((n) => n.startsWith(`${network}-`))) {
      const value: unknown = JSON.parse(await readFile(join(dir, name), "utf8"));
      if (!isObject(value) || value["networkName"] !== network) continue;
      const { containerId, ifName } = value;
      if (typeof containerId === "string" && typeof ifName === "string") found.push({ containerId, ifName });
    }
    return found;
  }

  /** The network that a file of the cache speaks of. @throws when it cannot be read */
  async remembered(file: string): Promise<CniNetwork | undefined> {
    return remembered(JSON.parse(await readFile(file, "utf8")))?.network;
  }

  #runner(signal: AbortSignal | undefined): PluginRunner {
    return { binDirs: this.#settings.binDirs, timeoutMs: this.#settings.timeoutMs, signal };
  }

  #cacheFile(network: string, { containerId, ifName }: CniAttachment): string {
    return join(this.#settings.cacheDir, "results", `${network}-${containerId}-${ifName}`);
  }

  async #remember(network: CniNetwork, a: CniAttachment, result: JsonObject | undefined): Promise<void> {
    await mkdir(join(this.#settings.cacheDir, "results"), { recursive: true, mode: 0o700 });
    const record = {
      kind: "cniCacheV1",
      containerId: a.containerId,
      config: Buffer.from(network.text).toString("base64"),
      ifName: a.ifName,
      networkName: network.name,
      netns: a.netns,
      cniArgs: [...a.args],
      capabilityArgs: a.capabilities,
      ...(result === undefined ? {} : { result }),
    };
    // not made durable: after a power cut no namespace is left, and the pod's record, which is durable, has it detached
    const options = { mode: 0o600, durable: false };
    await writeFileAtomic(this.#cacheFile(network.name, a), JSON.stringify(record), options);
  }

  /** Undefined when nothing, or nothing readable, is remembered. */
  async #recall(network: string, attachment: CniAttachment): Promise<Remembered | undefined> {
    try {
      return remembered(JSON.parse(await readFile(this.#cacheFile(network, attachment), "utf8")));
    } catch {
      return undefined;
    }
  }
}

interface Remembered {
  readonly network: CniNetwork;
  readonly args: ReadonlyMap<string, string>;
  readonly capabilities: JsonObject;
  readonly result: JsonObject | undefined;
}

function remembered(value: unknown): Remembered | undefined {
  if (!isObject(value) || typeof value["config"] !== "string") return undefined;
  const { config, cniArgs: pairs, capabilityArgs, result } = value;
  const args = new Map<string, string>();
  for (const pair of Array.isArray(pairs) ? pairs : [])
    if (Array.isArray(pair)) args.set(String(pair[0]), String(pair[1]));
  return {
    network: parseNetwork(Buffer.from(config, "base64").toString("utf8"), "cache"),
    args,
    capabilities: isObject(capabilityArgs) ? capabilityArgs : {},
    result: isObject(result) ? result : undefined,
  };
}

/** What a plugin reads: its own part, named and versioned by the list, with the result so far and the values it asked for. */
function configOf(
  network: CniNetwork,
  plugin: CniNetwork["plugins"][number],
  attachment: CniAttachment,
  previous: JsonObject | undefined,
): JsonObject {
  const values = Object.entries(attachment.capabilities).filter(([name]) => plugin.capabilities.has(name));
  return {
    ...plugin.raw,
    name: network.name,
    cniVersion: network.cniVersion,
    ...(values.length === 0 ? {} : { runtimeConfig: Object.fromEntries(values) }),
    ...(previous === undefined ? {} : { prevResult: previous }),
  };
}

/** STATUS and GC came with protocol 1.1. */
function hasCommand11({ cniVersion }: CniNetwork): boolean {
  const [major = 0, minor = 0] = cniVersion.split(".").map(Number);
  return major > 1 || (major === 1 && minor >= 1);
}

function callOf(command: PluginCall["command"], attachment: CniAttachment): PluginCall {
  const { containerId, netns, ifName } = attachment;
  const args = [...attachment.args].map(([key, value]) => `${key}=${value}`).join(";");
  return { command, containerId, netns, ifName, args };
}

function addressesOf(result: JsonObject): string[] {
  const ips = result["ips"];
  if (!Array.isArray(ips)) return [];
  return ips.flatMap((ip: unknown) =>
    isObject(ip) && typeof ip["address"] === "string" ? [ip["address"]] : [],
  );
}

/** @throws invalid-argument */
function check({ containerId, ifName, args }: CniAttachment): void {
  if (!CONTAINER_ID.test(containerId))
    throw invalidArgument(`container id "${containerId}": not usable for networks`);
  // the kernel's own limits of interface names (IFNAMSIZ)
  if (ifName === "" || ifName.length > 15 || /[/:\s]/.test(ifName) || ifName === "." || ifName === "..")
    throw invalidArgument(`interface name "${ifName}": not usable`);
  for (const [key, value] of args)
    if (/[;=]/.test(key) || value.includes(";"))
      throw invalidArgument(`network argument "${key}=${value}": contains a separator`);
}

function ignoreMissing(err: unknown): void {
  if (!(err instanceof Error && "code" in err && err.code === "ENOENT")) throw err;
}
