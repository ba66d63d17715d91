/**
 * A snapshotter in another process (`[proxy_plugins.NAME] type = "snapshot"`). Names, labels and parents stay in our
 * metadata; the process is called with containerd's keys, `NAMESPACE/ID/NAME`, which no two snapshots share, so that one
 * process may serve any number of namespaces without knowing them.
 */
import { mkdir } from "node:fs/promises";
import { snapshotterClient } from "../../client/snapshots.ts";
import { background, type NamespacedCall } from "../../core/call.ts";
import { isFailedPrecondition, isNotFound, isNotImplemented, messageOf } from "../../core/errors.ts";
import type { Namespace } from "../../core/ids/namespace.ts";
import type { Logger } from "../../core/log.ts";
import type { Mount } from "../../core/mounts/mount.ts";
import { SNAPSHOTTER } from "../../core/plugin/kinds.ts";
import { type AnyPluginDefinition, definePlugin, noConfig } from "../../core/plugin/plugin.ts";
import type { ProxyPlugin } from "../../core/plugin/proxy.ts";
import type {
  BackendSnapshot,
  CommitTarget,
  SnapshotBackend,
  Snapshotter,
  Usage,
} from "../../core/snapshots/snapshotter.ts";
import { createGrpcTransport } from "../../rpc/grpc/transport.ts";
import { RemoteNamesFile } from "./remote-names.ts";

/** Label of a prepare for a layer that a remote snapshotter may have already. */
const TARGET_REF = "containerd.io/snapshot.ref";

/** How long the process may take to answer. Milliseconds. */
export interface ProxyLimits {
  /** Prepare, view, commit, mounts: a lazy snapshotter fetches here. */
  readonly change: number;
  /** Everything else. */
  readonly read: number;
}

/** Our snapshots by id over a snapshotter that wants names. */
export class ProxyBackend implements SnapshotBackend {
  readonly name: string;
  readonly capabilities: readonly string[];
  readonly exports: ReadonlyMap<string, string>;
  readonly #remote: Snapshotter;
  readonly #names: RemoteNamesFile;
  readonly #limits: ProxyLimits;
  readonly #log: Logger;
  /** Mounts that `prepare` answered, until they are asked for. */
  readonly #fresh = new Map<bigint, Mount[]>();
  /** Snapshots the process would not remove yet, because a child of theirs was there. */
  readonly #held = new Map<bigint, NamespacedCall>();
  #cleaning: Promise<void> | undefined;

  constructor(
    plugin: ProxyPlugin,
    remote: Snapshotter,
    names: RemoteNamesFile,
    limits: ProxyLimits,
    log: Logger,
  ) {
    this.name = plugin.name;
    this.capabilities = plugin.capabilities;
    this.exports = new Map(Object.entries(plugin.exports));
    this.#remote = remote;
    this.#names = names;
    this.#limits = limits;
    this.#log = log;
  }

  async create(call: NamespacedCall, snapshot: BackendSnapshot): Promise<void> {
    const key = remoteKey(call, snapshot, snapshot.name ?? "snapshot");
    const parent = this.#parentOf(snapshot);
    // written before the process makes anything: what a crash leaves is found by its id and removed
    await this.#names.set(snapshot.id, { namespace: call.namespace, key });
    const method = snapshot.kind === "view" ? this.#remote.view : this.#remote.prepare;
    const mounts = await method(call.within(this.#limits.change), key, parent, snapshot.labels);
    this.#fresh.set(snapshot.id, mounts);
  }

  async adopt(call: NamespacedCall, snapshot: BackendSnapshot, target: string): Promise<boolean> {
    const parent = this.#parentOf(snapshot);
    const filter = `labels."${TARGET_REF}"==${JSON.stringify(target)}`;
    const limited = call.within(this.#limits.read);
    for await (const info of this.#remote.walk(limited, [filter])) {
      // the filter is asked of the process, and not believed
      if (info.kind !== "committed" || info.parent !== parent || info.labels.get(TARGET_REF) !== target)
        continue;
      await this.#names.set(snapshot.id, { namespace: call.namespace, key: info.name, name: info.name });
      return true;
    }
    return false;
  }

  async mounts(call: NamespacedCall, snapshot: BackendSnapshot): Promise<Mount[]> {
    const fresh = this.#fresh.get(snapshot.id);
    this.#fresh.delete(snapshot.id);
    return (
      fresh ?? (await this.#remote.mounts(call.within(this.#limits.change), this.#names.get(snapshot.id).key))
    );
  }

  async usage(call: NamespacedCall, snapshot: BackendSnapshot): Promise<Usage> {
    const { key, name } = this.#names.get(snapshot.id);
    const limited = call.within(this.#limits.read);
    const first = snapshot.kind === "committed" ? (name ?? key) : key;
    try {
      return await this.#remote.usage(limited, first);
    } catch (err) {
      // committed while this was on its way
      const now = this.#names.get(snapshot.id).name;
      if (!isNotFound(err) || now === undefined || now === first) throw err;
      return await this.#remote.usage(limited, now);
    }
  }

  async commit(
    call: NamespacedCall,
    snapshot: BackendSnapshot,
    _sync: boolean,
    target?: CommitTarget,
  ): Promise<void> {
    const { key, namespace } = this.#names.get(snapshot.id);
    const name = remoteKey(call, snapshot, target?.name ?? "committed");
    await this.#names.set(snapshot.id, { namespace, key, name });
    const parent = target?.parent === undefined ? undefined : this.#committedName(target.parent);
    const labels = target?.labels ?? new Map<string, string>();
    this.#fresh.delete(snapshot.id);
    await this.#remote.commit(call.within(this.#limits.change), name, key, labels, parent);
  }

  /** The labels are ours; the process has those that concern it, all of them, after each change. */
  async update(call: NamespacedCall, snapshot: BackendSnapshot): Promise<void> {
    if (this.#names.isShared(snapshot.id)) return; // what several namespaces took over is the process's own
    const { key, name } = this.#names.get(snapshot.id);
    const current = snapshot.kind === "committed" ? (name ?? key) : key;
    await this.#remote
      .update(call.within(this.#limits.read), current, snapshot.labels, ["labels"])
      .catch((err: unknown) => {
        if (!isNotImplemented(err)) throw err;
      });
  }

  async remove(call: NamespacedCall, id: bigint): Promise<void> {
    this.#fresh.delete(id);
    if (!(await this.#remove(call, id))) {
      this.#held.set(id, call);
      return;
    }
    // a parent waits for the last of its children
    for (const [held, its] of [...this.#held].sort(([a], [b]) => (a < b ? 1 : -1)))
      if (await this.#remove(its, held)) this.#held.delete(held);
    this.#clean(call);
  }

  async ids(): Promise<bigint[]> {
    return this.#names.ids().filter((id) => !this.#held.has(id));
  }

  /** @returns false when a child holds it */
  async #remove(call: NamespacedCall, id: bigint): Promise<boolean> {
    const names = this.#names.find(id);
    if (names === undefined) return true;
    if (!this.#names.isShared(id)) {
      const own = call.detached(this.#limits.read).in(names.namespace as Namespace);
      try {
        for (const name of new Set([names.key, names.name ?? names.key])) await this.#removeName(own, name);
      } catch (err) {
        if (isFailedPrecondition(err)) return false;
        throw err;
      }
    }
    await this.#names.delete(id);
    return true;
  }

  async #removeName(call: NamespacedCall, name: string): Promise<void> {
    try {
      await this.#remote.remove(call, name);
    } catch (err) {
      if (!isNotFound(err)) throw err;
    }
  }

  /** Lets the process free what it removed: many only mark in `remove`. */
  #clean(call: NamespacedCall): void {
    this.#cleaning ??= this.#remote
      .cleanup(background.in(call.namespace).within(this.#limits.change))
      .catch((err: unknown) => {
        if (!isNotImplemented(err))
          this.#log.warn("clean up after removed snapshots", { err: messageOf(err) });
      })
      .finally(() => {
        this.#cleaning = undefined;
      });
  }

  #parentOf(snapshot: BackendSnapshot): string {
    const [parent] = snapshot.parents;
    return parent === undefined ? "" : this.#committedName(parent);
  }

  #committedName(id: bigint): string {
    const { key, name } = this.#names.get(id);
    return name ?? key;
  }
}

function remoteKey(call: NamespacedCall, snapshot: BackendSnapshot, name: string): string {
  return `${call.namespace}/${snapshot.id}/${name}`;
}

/** The plugin of one table. The socket is dialled by the first call, and again after it was lost. */
export function proxySnapshotter(plugin: ProxyPlugin): AnyPluginDefinition {
  return definePlugin({
    kind: SNAPSHOTTER,
    id: plugin.name,
    requires: {},
    config: noConfig,
    onFailure: "optional",
    async init(host) {
      await mkdir(host.root, { recursive: true, mode: 0o700 });
      const names = await RemoteNamesFile.open(host.root, host.log);
      const transport = createGrpcTransport({ path: plugin.address });
      host.onStop(() => transport.close());
      host.describe({
        exports: { ...plugin.exports, address: plugin.address },
        capabilities: plugin.capabilities,
        platforms: [plugin.platform],
      });
      const limits = {
        change: host.daemon.timeout("gantry.timeout.proxy.change", 600_000),
        read: host.daemon.timeout("gantry.timeout.proxy.read", 30_000),
      };
      return new ProxyBackend(plugin, snapshotterClient(transport, plugin.name), names, limits, host.log);
    },
  });
}
