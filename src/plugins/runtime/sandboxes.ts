/**
 * Sandboxes that a shim implements (`sandboxer` "shim"): each has a bundle and a shim of its own, which serves the sandbox API
 * and the tasks of the sandbox's containers. The bundle is all that a restarted daemon needs to find it again.
 */
import { join } from "node:path";
import type { Call, NamespacedCall } from "../../core/call.ts";
import {
  alreadyExists,
  internal,
  isNotFound,
  isUnavailable,
  messageOf,
  notFound,
  notImplemented,
  wrap,
} from "../../core/errors.ts";
import type { EventPublisher } from "../../core/events/events.ts";
import { parseNamespace } from "../../core/ids/namespace.ts";
import type { Logger } from "../../core/log.ts";
import type {
  CreateSandbox,
  SandboxController,
  SandboxExit,
  SandboxStatus,
  SandboxStore,
} from "../../core/sandbox/sandbox.ts";
import { KeyedMutex } from "../../lib/keyed-mutex.ts";
import { nowNs } from "../../lib/time.ts";
import { removeStaleSocket } from "../../platform/net/unix.ts";
import { fromAnyMaybe, fromTimestamp, toAny, toRecord, toTimestamp } from "../../rpc/convert/basic.ts";
import { fromPlatform, toMount } from "../../rpc/convert/oci.ts";
import { callOptions } from "../../rpc/headers.ts";
import {
  type Bundle,
  bundleOf,
  createBundle,
  deleteBundle,
  listBundles,
  readAddress,
  shimPathOf,
} from "./bundle.ts";
import { KILLED } from "./dead-shim.ts";
import { deleteShim } from "./launch.ts";
import { connectSandbox, endShim, isLost, type LiveSandbox, settle } from "./live-sandbox.ts";
import { resolveShim, type ShimCommand } from "./resolve.ts";
import { ShimLogs } from "./shim-logs.ts";
import type { ShimStarter } from "./shim-manager.ts";

const DEFAULT_RUNTIME = "io.containerd.runc.v2";

/** Where the bundles of sandboxes are; the task plugin looks there too. */
export function sandboxFolders(daemon: { readonly state: string; readonly root: string }): {
  readonly state: string;
  readonly root: string;
} {
  const name = "io.containerd.sandbox.controller.v1.shim";
  return { state: join(daemon.state, name), root: join(daemon.root, name) };
}

/** What the controller works with. */
export interface ShimSandboxOptions {
  readonly state: string;
  readonly root: string;
  readonly shims: ShimStarter;
  readonly store: SandboxStore;
  readonly events: EventPublisher;
  /** Milliseconds. */
  readonly timeouts: { readonly load: number; readonly cleanup: number; readonly shutdown: number };
  readonly call: Call;
  readonly log: Logger;
}

/** See the file's comment. */
export class ShimSandboxes implements SandboxController {
  readonly #options: ShimSandboxOptions;
  readonly #live = new Map<string, LiveSandbox>();
  readonly #locks = new KeyedMutex();
  readonly #logs: ShimLogs;
  #stopping = false;

  constructor(options: ShimSandboxOptions) {
    this.#options = options;
    this.#logs = new ShimLogs(options.state);
  }

  async create(call: NamespacedCall, request: CreateSandbox): Promise<void> {
    const { id, runtime, spec } = request.sandbox;
    using _lock = await this.#locks.acquire(keyOf(call.namespace, id), call.signal);
    if (this.#live.has(keyOf(call.namespace, id))) throw alreadyExists(`sandbox ${id}`);
    const { state, root, shims } = this.#options;
    const shim = resolveShim(runtime.name === "" ? DEFAULT_RUNTIME : runtime.name, undefined);
    const bundle = bundleOf(state, root, call.namespace, id);
    const bytes = spec?.value ?? new Uint8Array();
    await createBundle(bundle, bytes, { remapped: false, own: shim.own });
    let live: LiveSandbox | undefined;
    try {
      this.#logs.follow(bundle, shim.own);
      const { address } = await shims.start({
        bundle,
        shim,
        spec: bytes,
        options: runtime.options,
        cgroup: "",
      });
      live = this.#connect({ bundle, shim, address });
      await live.api.createSandbox(
        {
          sandboxId: id,
          bundlePath: bundle.path,
          rootfs: request.rootfs.map(toMount),
          netnsPath: request.netns,
          annotations: toRecord(request.annotations),
          ...(request.options === undefined ? {} : { options: toAny(request.options) }),
        },
        callOptions(call),
      );
    } catch (err) {
      if (live !== undefined) await endShim(live, this.#options.timeouts.shutdown);
      await this.#cleanUp(bundle, shim);
      throw wrap(err, `create sandbox "${id}"`);
    }
    this.#live.set(keyOf(call.namespace, id), live);
    this.#watch(live);
  }

  async start(call: NamespacedCall, id: string) {
    // clients of containerd 1.7 make the record only and leave the rest to Start
    if (!this.#live.has(keyOf(call.namespace, id))) {
      const sandbox = await this.#options.store.get(call, id);
      await this.create(call, { sandbox, rootfs: [], netns: "", annotations: new Map() });
    }
    const live = this.#find(call, id);
    const started = await live.api.startSandbox({ sandboxId: id }, callOptions(call));
    return {
      pid: started.pid,
      createdAt: fromTimestamp(started.createdAt),
      labels: new Map<string, string>(),
      ...where(live),
      spec: fromAnyMaybe(started.spec),
    };
  }

  async platform(call: NamespacedCall, id: string) {
    const { platform } = await this.#find(call, id).api.platform({ sandboxId: id }, callOptions(call));
    if (platform === undefined) throw internal(`platform of sandbox "${id}": empty answer`);
    return fromPlatform(platform);
  }

  async stop(call: NamespacedCall, id: string, timeoutSecs: number): Promise<void> {
    const live = this.#find(call, id);
    await live.api.stopSandbox({ sandboxId: id, timeoutSecs }, callOptions(call)).catch((err: unknown) => {
      if (!isNotFound(err) && live.exit === undefined) throw err;
    });
  }

  async wait(call: NamespacedCall, id: string): Promise<SandboxExit> {
    const live = this.#find(call, id);
    const aborted = Promise.withResolvers<never>();
    const stop = (): void => {
      try {
        call.check();
      } catch (err) {
        aborted.reject(err);
      }
    };
    call.signal.addEventListener("abort", stop, { once: true });
    try {
      return await Promise.race([live.ended.promise, aborted.promise]);
    } finally {
      call.signal.removeEventListener("abort", stop);
    }
  }

  async status(call: NamespacedCall, id: string, verbose: boolean): Promise<SandboxStatus> {
    const live = this.#find(call, id);
    const gone = (): SandboxStatus => ({
      pid: 0,
      state: "SANDBOX_NOTREADY",
      info: new Map(),
      createdAt: 0n,
      exitedAt: live.exit?.exitedAt,
      ...where(live),
    });
    try {
      const s = await live.api.sandboxStatus({ sandboxId: id, verbose }, callOptions(call));
      return {
        pid: s.pid,
        state: s.state,
        info: verbose ? new Map(Object.entries(s.info)) : new Map(),
        createdAt: fromTimestamp(s.createdAt),
        exitedAt: s.exitedAt === undefined ? undefined : fromTimestamp(s.exitedAt),
        extra: fromAnyMaybe(s.extra),
        ...where(live),
      };
    } catch (err) {
      if (live.exit !== undefined && isUnavailable(err)) return gone();
      throw err;
    }
  }

  async shutdown(call: NamespacedCall, id: string): Promise<void> {
    using _lock = await this.#locks.acquire(keyOf(call.namespace, id), call.signal);
    const live = this.#find(call, id);
    const limited = live.call.detached(this.#options.timeouts.shutdown);
    await live.api.shutdownSandbox({ sandboxId: id }, callOptions(limited)).catch((err: unknown) => {
      // a shim that ends may answer with a closed connection
      if (!isNotFound(err) && !isUnavailable(err)) throw err;
    });
    this.#live.delete(keyOf(call.namespace, id));
    settle(live, { status: 0, exitedAt: nowNs() });
    await live.transport.close();
    this.#logs.end(live.bundle);
    await deleteBundle(live.bundle);
  }

  async metrics(call: NamespacedCall, id: string) {
    const { metrics } = await this.#find(call, id).api.sandboxMetrics({ sandboxId: id }, callOptions(call));
    const timestamp = metrics?.timestamp === undefined ? nowNs() : fromTimestamp(metrics.timestamp);
    return { timestamp, data: fromAnyMaybe(metrics?.data) };
  }

  update(call: NamespacedCall, sandbox: { readonly id: string }): Promise<void> {
    this.#find(call, sandbox.id);
    return Promise.reject(notImplemented(`update sandbox "${sandbox.id}": shims have no such method`));
  }

  /** Finds the sandboxes of an earlier daemon again; cleans up after those whose shim died meanwhile. */
  async load(): Promise<void> {
    const { state, root, log } = this.#options;
    this.#logs.open();
    const bundles = await listBundles(state, root);
    await Promise.all(
      bundles.map((bundle) =>
        this.#loadOne(bundle).catch((err: unknown) => log.error("load sandbox", { id: bundle.id, err })),
      ),
    );
  }

  async #loadOne(bundle: Bundle): Promise<void> {
    const { store } = this.#options;
    const call = this.#options.call.in(parseNamespace(bundle.namespace));
    const record = await store.get(call, bundle.id).catch((err: unknown) => {
      if (isNotFound(err)) return undefined;
      throw err;
    });
    const shim = resolveShim(record?.runtime.name || DEFAULT_RUNTIME, shimPathOf(bundle));
    const address = readAddress(bundle);
    if (address === undefined) return await this.#cleanUp(bundle, shim);
    const live = this.#connect({ bundle, shim, address });
    const lost = await isLost(live, this.#options.timeouts.load);
    if (record === undefined) {
      // nobody knows it any more: its client ended between the record and the rest
      await endShim(live, this.#options.timeouts.shutdown);
      return await this.#cleanUp(bundle, shim);
    }
    this.#live.set(keyOf(bundle.namespace, bundle.id), live);
    // who started it is gone with the last daemon, and its exit is still to be told
    void live.ended.promise
      .then((exit) => this.#tellExit(call, bundle.id, exit))
      .catch((err: unknown) =>
        this.#options.log.warn("exit of a sandbox was not told", { id: bundle.id, err }),
      );
    this.#logs.follow(bundle, shim.own);
    if (lost) await this.#lose(live);
    else this.#watch(live);
  }

  /** The bundle stays until Shutdown: the events its shim could not hand over are in there. */
  async #lose(live: LiveSandbox): Promise<void> {
    await live.transport.close();
    await this.#runDelete(live.bundle, live.shim);
    settle(live, { status: KILLED, exitedAt: nowNs() });
  }

  #tellExit(call: NamespacedCall, sandboxId: string, exit: SandboxExit): void {
    const exitedAt = toTimestamp(exit.exitedAt);
    this.#options.events.send(call, "/sandboxes/exit", { sandboxId, exitStatus: exit.status, exitedAt });
  }

  #connect(parts: Pick<LiveSandbox, "bundle" | "shim" | "address">): LiveSandbox {
    return connectSandbox(this.#options.call.in(parseNamespace(parts.bundle.namespace)), parts);
  }

  /** A Wait that stays open tells the end, and the loss of the shim. */
  #watch(live: LiveSandbox): void {
    live.api
      .waitSandbox({ sandboxId: live.bundle.id }, callOptions(live.call))
      .then((answer) => settle(live, { status: answer.exitStatus, exitedAt: fromTimestamp(answer.exitedAt) }))
      .catch(async (err: unknown) => {
        if (this.#stopping || this.#live.get(keyOf(live.bundle.namespace, live.bundle.id)) !== live) return;
        const { log } = this.#options;
        log.warn("lost the shim of a sandbox", { id: live.bundle.id, reason: messageOf(err) });
        await this.#lose(live);
      });
  }

  async #runDelete(bundle: Bundle, shim: ShimCommand): Promise<void> {
    const { shims, timeouts, log } = this.#options;
    await deleteShim(shim, bundle, shims.launch, timeouts.cleanup).catch((err: unknown) =>
      log.debug("shim delete", { id: bundle.id, reason: messageOf(err) }),
    );
  }

  async #cleanUp(bundle: Bundle, shim: ShimCommand): Promise<void> {
    await this.#runDelete(bundle, shim);
    this.#logs.end(bundle);
    const socket = readAddress(bundle)?.address;
    // one that stays is in nobody's way: the next shim of that name removes it
    if (socket !== undefined) await removeStaleSocket(socket).catch(() => {});
    await deleteBundle(bundle).catch((err: unknown) =>
      this.#options.log.warn("remove bundle", { id: bundle.id, err }),
    );
  }

  #find(call: NamespacedCall, id: string): LiveSandbox {
    const found = this.#live.get(keyOf(call.namespace, id));
    if (found === undefined) throw notFound(`sandbox ${id}`);
    return found;
  }

  /** Closes connections; shims stay. */
  async close(): Promise<void> {
    this.#stopping = true;
    this.#logs.endAll();
    await Promise.all([...this.#live.values()].map((live) => live.transport.close()));
  }
}

function where({ address }: LiveSandbox): { readonly address: string; readonly version: number } {
  return { address: `ttrpc+unix://${address.address}`, version: address.version };
}

const keyOf = (namespace: string, id: string): string => `${namespace}/${id}`;
