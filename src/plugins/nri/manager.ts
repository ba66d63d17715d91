/** All plugins: who is there, and the requests that go to each of them in turn. */
import type { Duplex } from "node:stream";
import type { MessageInitShape } from "@bufbuild/protobuf";
import {
  type ContainerAdjustmentSchema,
  Event,
  type OwningPluginsSchema,
  Plugin as PluginService,
} from "../../api/gen/nri/v1alpha1/api_pb.ts";
import { messageOf, unknownError } from "../../core/errors.ts";
import type { Logger } from "../../core/log.ts";
import type { Nri, NriContainerNotice, NriHost, NriPodNotice, NriSideEffects } from "../../core/nri/nri.ts";
import type { NriAdjustment, NriContainer, NriPod, NriResources } from "../../core/nri/types.ts";
import type { ChildHandle } from "../../platform/process/spawn.ts";
import { AdjustmentCollector, UpdateCollector } from "./collect.ts";
import { installedPlugins, launch } from "./launch.ts";
import {
  type ContainerInit,
  type PodInit,
  type Preset,
  RemotePlugin,
  type ResourcesInit,
  type UpdateInit,
  wire,
} from "./remote.ts";
import { SyncGate } from "./sync-gate.ts";
import { type ValidatorConfig, validate } from "./validator.ts";

/** The plugin's settings. Milliseconds. */
export interface NriConfig {
  readonly disable: boolean;
  readonly socketPath: string;
  readonly pluginPath: string;
  readonly pluginConfigPath: string;
  readonly registrationMs: number;
  readonly requestMs: number;
  readonly disableConnections: boolean;
  readonly validator: ValidatorConfig;
}

/** Connections that have not registered yet. */
const PENDING_MAX = 32;

const method = PluginService.method;
// Every notice has a message of its own, all with the same fields.
type PodNotice = typeof method.runPodSandbox;
type ContainerNotice = typeof method.startContainer;

const POD_NOTICES = {
  run: [Event.RUN_POD_SANDBOX, method.runPodSandbox],
  stop: [Event.STOP_POD_SANDBOX, method.stopPodSandbox],
  remove: [Event.REMOVE_POD_SANDBOX, method.removePodSandbox],
  "post-update": [Event.POST_UPDATE_POD_SANDBOX, method.postUpdatePodSandbox],
} as const;
const CONTAINER_NOTICES = {
  "post-create": [Event.POST_CREATE_CONTAINER, method.postCreateContainer],
  start: [Event.START_CONTAINER, method.startContainer],
  "post-start": [Event.POST_START_CONTAINER, method.postStartContainer],
  "post-update": [Event.POST_UPDATE_CONTAINER, method.postUpdateContainer],
  remove: [Event.REMOVE_CONTAINER, method.removeContainer],
} as const;

/** See the file's comment. */
export class NriManager implements Nri {
  readonly #config: NriConfig;
  readonly #version: string;
  readonly #log: Logger;
  readonly #gate = new SyncGate();
  readonly #children = new Map<RemotePlugin, ChildHandle>();
  readonly #pending = new Set<RemotePlugin>();
  #plugins: readonly RemotePlugin[] = [];
  #host: NriHost | undefined;
  #listen: (() => Promise<void>) | undefined;
  #synchronizing: Promise<unknown> = Promise.resolve();

  /** @param listen opens the socket; its connections come to {@link connect} */
  constructor(config: NriConfig, version: string, log: Logger, listen?: () => Promise<void>) {
    this.#config = config;
    this.#version = version;
    this.#log = log;
    this.#listen = listen;
  }

  get active(): boolean {
    // a plugin that is being synchronized must find what is created meanwhile
    return this.#plugins.length > 0 || this.#pending.size > 0 || this.#config.validator.enable;
  }

  /** Names of the plugins in order. */
  get plugins(): readonly string[] {
    return this.#plugins.map(({ id }) => id);
  }

  async start(host: NriHost): Promise<void> {
    this.#host = host;
    const installed = installedPlugins(this.#config.pluginPath, this.#config.pluginConfigPath, this.#log);
    await Promise.all(
      installed.map(async (plugin) => {
        try {
          const { socket, child } = launch(plugin);
          await this.#join(socket, plugin, child);
        } catch (err) {
          this.#log.warn("start NRI plugin", { path: plugin.path, err });
        }
      }),
    );
    if (!this.#config.disableConnections) await this.#listen?.();
    this.#listen = undefined;
  }

  /** A plugin connected by itself. */
  connect(socket: Duplex): void {
    if (this.#host === undefined || this.#pending.size >= PENDING_MAX) {
      socket.destroy();
      return;
    }
    this.#join(socket).catch((err: unknown) => this.#log.warn("NRI plugin did not join", { err }));
  }

  async close(): Promise<void> {
    for (const plugin of [...this.#plugins, ...this.#pending]) plugin.close();
  }

  creating(): Promise<Disposable> {
    return this.#gate.create();
  }

  async pod(notice: NriPodNotice, pod: NriPod): Promise<void> {
    const [event, call] = POD_NOTICES[notice];
    for (const plugin of this.#asked(event))
      await plugin.request(
        call as PodNotice,
        { pod: wire<PodInit>(pod) },
        { event, pod: wire<PodInit>(pod) },
      );
  }

  async updatePod(
    pod: NriPod,
    overhead: NriResources | undefined,
    resources: NriResources | undefined,
  ): Promise<void> {
    for (const plugin of this.#asked(Event.UPDATE_POD_SANDBOX)) {
      await plugin.request(method.updatePodSandbox, {
        pod: wire<PodInit>(pod),
        ...(overhead === undefined ? {} : { overheadLinuxResources: wire<ResourcesInit>(overhead) }),
        ...(resources === undefined ? {} : { linuxResources: wire<ResourcesInit>(resources) }),
      });
    }
  }

  async container(notice: NriContainerNotice, pod: NriPod, container: NriContainer): Promise<void> {
    const [event, call] = CONTAINER_NOTICES[notice];
    const both = { pod: wire<PodInit>(pod), container: wire<ContainerInit>(container) };
    for (const plugin of this.#asked(event))
      await plugin.request(call as ContainerNotice, both, { event, ...both });
  }

  async createContainer(
    pod: NriPod,
    container: NriContainer,
  ): Promise<NriSideEffects & { readonly adjust: NriAdjustment }> {
    const collected = new AdjustmentCollector(container);
    const plugins = new Map<string, string>();
    for (const plugin of this.#plugins) {
      if (plugin.closed) continue;
      plugins.set(plugin.name, plugin.index);
      if (!plugin.wants(Event.CREATE_CONTAINER)) continue;
      const reply = await plugin.request(method.createContainer, {
        pod: wire<PodInit>(pod),
        container: wire<ContainerInit>(collected.container),
      });
      if (reply !== undefined) collected.apply(reply, plugin.id);
    }
    const { owners, adjust } = collected;
    await validate(this.#config.validator, { pod, container, owners, plugins: new Set(plugins.keys()) });
    await this.#validators(pod, container, collected, plugins);
    return { adjust, update: collected.updates(), evict: collected.evict };
  }

  async updateContainer(
    pod: NriPod,
    container: NriContainer,
    resources: NriResources,
  ): Promise<NriSideEffects & { readonly resources: NriResources }> {
    const collected = new UpdateCollector();
    collected.seed(container.id, resources);
    for (const plugin of this.#asked(Event.UPDATE_CONTAINER)) {
      const reply = await plugin.request(method.updateContainer, {
        pod: wire<PodInit>(pod),
        container: wire<ContainerInit>(container),
        linuxResources: wire<ResourcesInit>(collected.resourcesOf(container.id)),
      });
      if (reply !== undefined) collected.apply(reply, plugin.id);
    }
    return {
      resources: collected.resourcesOf(container.id),
      update: collected.updates(container.id),
      evict: collected.evict,
    };
  }

  async stopContainer(pod: NriPod, container: NriContainer): Promise<NriSideEffects> {
    const collected = new UpdateCollector();
    for (const plugin of this.#asked(Event.STOP_CONTAINER)) {
      const reply = await plugin.request(method.stopContainer, {
        pod: wire<PodInit>(pod),
        container: wire<ContainerInit>(container),
      });
      if (reply !== undefined) collected.apply({ evict: [], ...reply }, plugin.id);
    }
    return { update: collected.updates(), evict: collected.evict };
  }

  #asked(event: Event): RemotePlugin[] {
    return this.#plugins.filter((plugin) => !plugin.closed && plugin.wants(event));
  }

  /** Plugins that look at the sum of all changes; they are asked at the same time. */
  async #validators(
    pod: NriPod,
    container: NriContainer,
    collected: AdjustmentCollector,
    plugins: ReadonlyMap<string, string>,
  ): Promise<void> {
    await Promise.all(
      this.#asked(Event.VALIDATE_CONTAINER_ADJUSTMENT).map(async (plugin) => {
        const reply = await plugin.request(method.validateContainerAdjustment, {
          pod: wire<PodInit>(pod),
          container: wire<ContainerInit>(container),
          adjust: wire<MessageInitShape<typeof ContainerAdjustmentSchema>>(collected.adjust),
          update: collected.updates().map((each) => wire<UpdateInit>(each)),
          owners: wire<MessageInitShape<typeof OwningPluginsSchema>>(collected.owners.toMessage()),
          plugins: [...plugins].map(([name, index]) => ({ name, index })),
        });
        if (reply?.reject === true)
          throw unknownError(
            `validator plugin "${plugin.id}" rejected container adjustment: ${reply.reason}`,
          );
      }),
    );
  }

  /** Registration, configuration, synchronization; then it gets every request. */
  async #join(socket: Duplex, preset?: Preset, child?: ChildHandle): Promise<void> {
    const host = this.#host;
    if (host === undefined) return;
    const plugin: RemotePlugin = new RemotePlugin(
      socket,
      {
        runtimeName: "containerd",
        runtimeVersion: this.#version,
        registrationMs: this.#config.registrationMs,
        requestMs: this.#config.requestMs,
        log: this.#log,
        onUpdate: async (request) => {
          if (request.evict.length > 0) await host.evict(request.evict);
          return host.update(request.update);
        },
        onClose: () => this.#gone(plugin),
      },
      preset,
    );
    this.#pending.add(plugin);
    if (child !== undefined) {
      this.#children.set(plugin, child);
      void child.exited.then(() => plugin.close());
    }
    try {
      await plugin.start();
      // one after the other, so that one that hangs holds up creations once only
      const turn = this.#synchronizing.then(() => this.#synchronize(host, plugin));
      this.#synchronizing = turn.catch(() => {});
      await turn;
    } catch (err) {
      plugin.close();
      throw unknownError(`NRI plugin "${plugin.id}": ${messageOf(err)}`, { cause: err });
    } finally {
      this.#pending.delete(plugin);
    }
  }

  async #synchronize(host: NriHost, plugin: RemotePlugin): Promise<void> {
    using _ = await this.#gate.synchronize(this.#config.registrationMs);
    if (plugin.closed) throw unknownError("connection to plugin closed");
    const { pods, containers } = await host.snapshot();
    const updates = await plugin.synchronize(pods, containers);
    if (updates.length > 0) {
      const failed = await host.update(updates);
      if (failed.length > 0)
        this.#log.warn("updates of an NRI plugin failed", { plugin: plugin.id, count: failed.length });
    }
    if (plugin.closed) return;
    this.#plugins = [...this.#plugins, plugin].sort((a, b) =>
      a.index < b.index ? -1 : a.index > b.index ? 1 : 0,
    );
    this.#log.info("NRI plugin joined", { plugin: plugin.id });
  }

  #gone(plugin: RemotePlugin): void {
    this.#pending.delete(plugin);
    if (this.#plugins.includes(plugin)) {
      this.#plugins = this.#plugins.filter((each) => each !== plugin);
      this.#log.info("NRI plugin left", { plugin: plugin.id });
    }
    this.#children.get(plugin)?.kill(9);
    this.#children.delete(plugin);
  }
}
