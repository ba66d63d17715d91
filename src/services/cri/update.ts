/** Resources of containers and pods. */

import { updateContainer, updatePodResources } from "../../cri/containers/update.ts";
import type { Cri } from "../../cri/cri.ts";
import type { RuntimeMethods } from "./methods.ts";

export function updateMethods(cri: Cri): RuntimeMethods {
  return {
    async updateContainerResources(r, { call }) {
      await updateContainer(cri, call, r.containerId, r.linux);
      return {};
    },
    async updatePodSandboxResources(r, { call }) {
      await updatePodResources(cri, call, r.podSandboxId, r.overhead, r.resources);
      return {};
    },
  };
}
