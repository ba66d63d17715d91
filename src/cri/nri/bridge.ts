/** {@link NriHooks} over the plugins. With no plugin there, nothing is gathered and every call returns at once. */
import type { LinuxContainerResources } from "../../api/gen/cri/runtime/v1/api_pb.ts";
import { failedPrecondition, isNotFound } from "../../core/errors.ts";
import type { Nri, NriContainerNotice, NriHost, NriPodNotice, NriSideEffects } from "../../core/nri/nri.ts";
import type { NriContainer, NriEviction, NriPod, NriResources, NriUpdate } from "../../core/nri/types.ts";
import { packSpec, RESOURCES_URL, toExactJson, unpackSpec } from "../../oci/spec/json.ts";
import { resourcesOf } from "../../oci/spec/options.ts";
import type { Spec } from "../../oci/spec/types.ts";
import { stopContainer } from "../containers/stop.ts";
import type { Cri } from "../cri.ts";
import type { Container, Pod } from "../model.ts";
import { classFiles, withClasses } from "../spec/classes.ts";
import { withCdiDevices } from "../spec/devices.ts";
import { oomScore } from "../spec/resources.ts";
import { adjustSpec } from "./adjust-spec.ts";
import type { ContainerDraft, NriHooks } from "./hooks.ts";
import { fromCri, layOver, toCri } from "./resources.ts";
import { toNriContainer, toNriPod } from "./view.ts";

/** What plugins ask for must not hold up the request that brought it. Milliseconds. */
const UPDATE_MS = 10_000;
const STOP_MS = 30_000;

export function createNriHooks(cri: Cri, nri: Nri): NriHooks {
  return new Bridge(cri, nri);
}

class Bridge implements NriHooks, NriHost {
  readonly #cri: Cri;
  readonly #nri: Nri;

  constructor(cri: Cri, nri: Nri) {
    this.#cri = cri;
    this.#nri = nri;
  }

  start(): Promise<void> {
    return this.#nri.start(this);
  }

  creating(): Promise<Disposable> {
    return this.#nri.creating();
  }

  runPod(pod: Pod): Promise<void> {
    return this.#podNotice("run", pod);
  }

  async updatePod(
    pod: Pod,
    overhead: LinuxContainerResources | undefined,
    resources: LinuxContainerResources | undefined,
  ): Promise<void> {
    if (!this.#nri.active) return;
    await this.#nri.updatePod(
      await this.#pod(pod),
      overhead === undefined ? undefined : fromCri(overhead),
      resources === undefined ? undefined : fromCri(resources),
    );
  }

  postUpdatePod(pod: Pod): Promise<void> {
    return this.#podNotice("post-update", pod);
  }

  stopPod(pod: Pod): Promise<void> {
    return this.#podNotice("stop", pod);
  }

  removePod(pod: Pod): Promise<void> {
    return this.#podNotice("remove", pod);
  }

  async createContainer(pod: Pod, draft: ContainerDraft, spec: Spec): Promise<Spec> {
    if (!this.#nri.active) return spec;
    const { host, deps } = this.#cri;
    const { adjust, ...effects } = await this.#nri.createContainer(
      await this.#pod(pod),
      toNriContainer({ ...draft, state: "created" }, spec),
    );
    const warn = (message: string): void => deps.log.warn(message, { container: draft.id });
    const changed = await adjustSpec(spec, adjust, {
      swapController: host.swapController,
      oomScore: (wanted) => oomScore(wanted, host, deps.config),
      injectCdi: (target, names) => {
        const devices = names.map((name) => ({ $typeName: "runtime.v1.CDIDevice" as const, name }));
        const config = { ...draft.config, CDIDevices: devices, annotations: {} };
        return withCdiDevices(target, config, deps.config, warn);
      },
      async setClasses(target, blockio, rdt) {
        const annotations: Record<string, string> = {};
        if (blockio !== "") annotations["io.kubernetes.cri.blockio-class"] = blockio;
        if (rdt !== "") annotations["io.kubernetes.cri.rdt-class"] = rdt;
        if (blockio === "" && rdt === "") return;
        // only what the plugin names, and never the pod's: those were applied before
        const podConfig = { ...pod.config, annotations: {} };
        // a class that is off does not fail the container: the plugin cannot know
        const ignore = { ignoreBlockioNotEnabledErrors: true, ignoreRdtNotEnabledErrors: true };
        const settings = { ...deps.config, ...classFiles(deps.daemon.settings), ...ignore };
        await withClasses(target, { ...draft.config, annotations }, podConfig, settings, warn);
      },
    });
    await this.#effects(effects);
    return changed;
  }

  postCreate(container: Container): Promise<void> {
    return this.#notice("post-create", container);
  }

  startContainer(container: Container): Promise<void> {
    return this.#notice("start", container);
  }

  postStart(container: Container): Promise<void> {
    return this.#notice("post-start", container);
  }

  async updateContainer(
    container: Container,
    resources: LinuxContainerResources,
  ): Promise<LinuxContainerResources> {
    const both = await this.#both(container);
    if (both === undefined) return resources;
    const result = await this.#nri.updateContainer(both.pod, both.container, fromCri(resources));
    await this.#effects(result);
    return toCri(resources, result.resources);
  }

  postUpdate(container: Container): Promise<void> {
    return this.#notice("post-update", container);
  }

  async stopContainer(container: Container): Promise<void> {
    const both = await this.#both(container);
    if (both !== undefined) await this.#effects(await this.#nri.stopContainer(both.pod, both.container));
  }

  removeContainer(container: Container): Promise<void> {
    return this.#notice("remove", container);
  }

  // what plugins ask

  async snapshot(): Promise<{ pods: NriPod[]; containers: NriContainer[] }> {
    const { store } = this.#cri;
    const pods = store.pods().filter((pod) => pod.state === "ready");
    const known = new Set(pods.map(({ id }) => id));
    const containers: NriContainer[] = [];
    for (const container of store.containers()) {
      if (!known.has(container.podId)) continue;
      const spec = await this.#spec(container.id);
      if (spec !== undefined) containers.push(toNriContainer(container, spec));
    }
    return { pods: await Promise.all(pods.map((pod) => this.#pod(pod))), containers };
  }

  async update(updates: readonly NriUpdate[]): Promise<NriUpdate[]> {
    const failed: NriUpdate[] = [];
    for (const update of updates) {
      try {
        const resources = update.linux?.resources;
        if (resources !== undefined) await this.#update(update.containerId, resources);
      } catch (err) {
        this.#cri.deps.log.warn("update of a container that an NRI plugin asked for", {
          container: update.containerId,
          err,
        });
        if (!update.ignoreFailure) failed.push(update);
      }
    }
    return failed;
  }

  async evict(evictions: readonly NriEviction[]): Promise<void> {
    const { deps, store } = this.#cri;
    for (const { containerId, reason } of evictions) {
      deps.log.info("container is evicted: an NRI plugin asked for it", { container: containerId, reason });
      // not waited for: the request that brought it may hold the container
      (async () => stopContainer(this.#cri, deps.call, store.container(containerId), STOP_MS))().catch(
        (err: unknown) => deps.log.warn("evict container", { container: containerId, err }),
      );
    }
  }

  async #effects({ update, evict }: NriSideEffects): Promise<void> {
    if (evict.length > 0) await this.evict(evict);
    const [failed] = await this.update(update);
    if (failed !== undefined)
      throw failedPrecondition(
        `update of container "${failed.containerId}" that an NRI plugin asked for failed`,
      );
  }

  async #update(idOrPrefix: string, change: NriResources): Promise<void> {
    const { deps, store, locks, host } = this.#cri;
    const call = deps.call.within(UPDATE_MS);
    const { id } = store.container(idOrPrefix);
    using _lock = await locks.acquire(id, call.signal);
    const container = store.container(id);
    if (container.state !== "created" && container.state !== "running") return;
    const record = await deps.metadata.containers.get(call, id);
    const spec = unpackSpec(record.spec);
    const resources = resourcesOf(spec);
    layOver(resources, change, host.swapController);
    if (container.state === "running") {
      // without the device rules: they cannot be told apart from what the runtime added
      const { devices: _devices, ...rest } = resources;
      const value = new TextEncoder().encode(toExactJson(rest));
      await deps.tasks.update(call, id, { typeUrl: RESOURCES_URL, value }, new Map());
    }
    await deps.metadata.containers.update(call, { ...record, spec: packSpec(spec) }, ["spec"]);
  }

  async #podNotice(notice: NriPodNotice, pod: Pod): Promise<void> {
    if (this.#nri.active) await this.#nri.pod(notice, await this.#pod(pod));
  }

  async #notice(notice: NriContainerNotice, container: Container): Promise<void> {
    const both = await this.#both(container);
    if (both !== undefined) await this.#nri.container(notice, both.pod, both.container);
  }

  /** The container and its pod for plugins; undefined when there are none, or its pod or spec is gone. */
  async #both(container: Container): Promise<{ pod: NriPod; container: NriContainer } | undefined> {
    if (!this.#nri.active) return undefined;
    const pod = this.#cri.store.findPod(container.podId);
    const spec = await this.#spec(container.id);
    if (pod === undefined || spec === undefined) return undefined;
    return { pod: await this.#pod(pod), container: toNriContainer(container, spec) };
  }

  async #pod(pod: Pod): Promise<NriPod> {
    return toNriPod(pod, await this.#spec(pod.id));
  }

  async #spec(id: string): Promise<Spec | undefined> {
    const { deps } = this.#cri;
    try {
      const { spec } = await deps.metadata.containers.get(deps.call.within(UPDATE_MS), id);
      return spec === undefined ? undefined : unpackSpec(spec);
    } catch (err) {
      if (!isNotFound(err)) deps.log.warn("read the spec for NRI plugins", { id, err });
      return undefined;
    }
  }
}
