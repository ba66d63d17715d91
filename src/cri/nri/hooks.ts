/**
 * Where the pod domain meets NRI plugins: the calls that pods/ and containers/ make at each step. With no plugin every one of
 * them returns at once. `createNriHooks` (bridge.ts) is the real one.
 */
import type { LinuxContainerResources } from "../../api/gen/cri/runtime/v1/api_pb.ts";
import type { Spec } from "../../oci/spec/types.ts";
import type { Container, Pod } from "../model.ts";

/** A container that is about to be made: what is known before it is stored. */
export type ContainerDraft = Pick<
  Container,
  "id" | "podId" | "config" | "imageRef" | "imageId" | "createdAt"
>;

/** Steps of pods and containers that plugins take part in. A rejection fails the CRI request. */
export interface NriHooks {
  /**
   * Begins once CRI knows the pods of an earlier life (after recovery): starts pre-installed plugins, opens the socket.
   */
  start(): Promise<void>;
  /**
   * Take before `runPod` or `createContainer`, dispose when the pod or container is in the store (or given up):
   * `using _ = await hooks.creating()`. A plugin that joins meanwhile sees it in one of the two ways.
   */
  creating(): Promise<Disposable>;
  /** After network and pause process, before the pod is ready and visible. A rejection: undo the pod. */
  runPod(pod: Pod): Promise<void>;
  /** Before the new resources are applied. */
  updatePod(
    pod: Pod,
    overhead: LinuxContainerResources | undefined,
    resources: LinuxContainerResources | undefined,
  ): Promise<void>;
  postUpdatePod(pod: Pod): Promise<void>;
  /** After all containers were stopped, while the pod is still there; rejections are logged, not thrown. */
  stopPod(pod: Pod): Promise<void>;
  /** Before the record goes; rejections are logged, not thrown. */
  removePod(pod: Pod): Promise<void>;
  /**
   * With the finished spec, before anything of the container is stored or visible.
   * @returns the spec as plugins changed it (the same object when they did not)
   */
  createContainer(pod: Pod, draft: ContainerDraft, spec: Spec): Promise<Spec>;
  /** After the container is stored. Rejections are logged, not thrown. */
  postCreate(container: Container): Promise<void>;
  /** Before the task is started. */
  startContainer(container: Container): Promise<void>;
  /** After it runs. Rejections are logged, not thrown. */
  postStart(container: Container): Promise<void>;
  /** Before UpdateContainerResources is applied. @returns the resources to apply */
  updateContainer(container: Container, resources: LinuxContainerResources): Promise<LinuxContainerResources>;
  postUpdate(container: Container): Promise<void>;
  /** Once for each container, when its process has ended (by itself or stopped). Rejections are logged, not thrown. */
  stopContainer(container: Container): Promise<void>;
  /** Before the record goes. Rejections are logged, not thrown. */
  removeContainer(container: Container): Promise<void>;
}

const nothing: Disposable = { [Symbol.dispose]() {} };

/** Without NRI. */
export const noNriHooks: NriHooks = {
  async start() {},
  creating: async () => nothing,
  async runPod() {},
  async updatePod() {},
  async postUpdatePod() {},
  async stopPod() {},
  async removePod() {},
  createContainer: async (_pod, _draft, spec) => spec,
  async postCreate() {},
  async startContainer() {},
  async postStart() {},
  updateContainer: async (_container, resources) => resources,
  async postUpdate() {},
  async stopContainer() {},
  async removeContainer() {},
};
