/**
 * NRI (Node Resource Interface): plugins of other people that watch pods and containers and adjust containers while they are
 * made. Implemented by plugins/nri over ttrpc; the pod domain calls it and gives it {@link NriHost}.
 */
import { defineKind } from "../plugin/plugin.ts";
import type { NriAdjustment, NriContainer, NriEviction, NriPod, NriResources, NriUpdate } from "./types.ts";

/** What plugins ask of the engine. */
export interface NriHost {
  /** Everything there is, for a plugin that joins. */
  snapshot(): Promise<{ readonly pods: readonly NriPod[]; readonly containers: readonly NriContainer[] }>;
  /** Changes resources of containers. @returns the updates that failed */
  update(updates: readonly NriUpdate[]): Promise<NriUpdate[]>;
  /** Ends containers. Failures are logged by the host. */
  evict(evictions: readonly NriEviction[]): Promise<void>;
}

/** Things that happened which plugins are only told of. A plugin that answers with an error fails the request. */
export type NriPodNotice = "run" | "stop" | "remove" | "post-update";
export type NriContainerNotice = "post-create" | "start" | "post-start" | "post-update" | "remove";

/** What plugins want done besides, to other containers. */
export interface NriSideEffects {
  readonly update: readonly NriUpdate[];
  readonly evict: readonly NriEviction[];
}

/**
 * The plugins that are there now, called in order of their index. A plugin that does not answer in time, or breaks the
 * protocol, is closed and left out; one that answers with an error fails the call with its words.
 */
export interface Nri {
  /** False while there is no plugin: callers need not gather what a plugin would see. */
  readonly active: boolean;
  /** Starts pre-installed plugins and opens the socket; called once, when the pods of an earlier life are known. */
  start(host: NriHost): Promise<void>;
  /**
   * Held from before the `run` notice or {@link createContainer} until the pod or container is in the snapshot: no plugin is
   * synchronized meanwhile, so none misses it. Waits (seconds at most) while one is being synchronized.
   */
  creating(): Promise<Disposable>;
  pod(notice: NriPodNotice, pod: NriPod): Promise<void>;
  updatePod(
    pod: NriPod,
    overhead: NriResources | undefined,
    resources: NriResources | undefined,
  ): Promise<void>;
  container(notice: NriContainerNotice, pod: NriPod, container: NriContainer): Promise<void>;
  /** @throws when two plugins want different things, a plugin refuses, or a validator rejects the sum */
  createContainer(
    pod: NriPod,
    container: NriContainer,
  ): Promise<NriSideEffects & { readonly adjust: NriAdjustment }>;
  /** @returns the resources to set, and what else plugins want */
  updateContainer(
    pod: NriPod,
    container: NriContainer,
    resources: NriResources,
  ): Promise<NriSideEffects & { readonly resources: NriResources }>;
  stopContainer(pod: NriPod, container: NriContainer): Promise<NriSideEffects>;
}

export const NRI = defineKind<Nri>("io.containerd.nri.v1");
