/** Containers: create, start, stop, remove, status, log rotation. */
import { failedPrecondition, isNotFound } from "../../core/errors.ts";
import { checkpointContainer } from "../../cri/containers/checkpoint.ts";
import { createContainer } from "../../cri/containers/create.ts";
import { removeContainer } from "../../cri/containers/remove.ts";
import { startContainer } from "../../cri/containers/start.ts";
import { stopContainer } from "../../cri/containers/stop.ts";
import type { Cri } from "../../cri/cri.ts";
import { succeeded } from "../../cri/metrics.ts";
import type { Container } from "../../cri/model.ts";
import { toContainerStatus } from "./convert.ts";
import { containerInfo } from "./info.ts";
import type { RuntimeMethods } from "./methods.ts";

export function containerMethods(cri: Cri): RuntimeMethods {
  const { metrics } = cri;
  return {
    async createContainer(r, { call }) {
      const create = () => createContainer(cri, call, r.podSandboxId, r.config, r.sandboxConfig);
      const containerId = await succeeded(metrics.containerCreate, create, runtimeOf(cri, r.podSandboxId));
      return { containerId };
    },
    async startContainer(r, { call }) {
      const runtime = runtimeOf(cri, find(cri, r.containerId)?.podId);
      await succeeded(metrics.containerStart, () => startContainer(cri, call, r.containerId), runtime);
      return {};
    },
    async stopContainer(r, { call }) {
      const container = find(cri, r.containerId);
      if (container === undefined) return {};
      const stop = () => stopContainer(cri, call, container, milliseconds(r.timeout));
      await succeeded(metrics.containerStop, stop, runtimeOf(cri, container.podId));
      return {};
    },
    async removeContainer(r, { call }) {
      const container = find(cri, r.containerId);
      if (container === undefined) return {};
      const runtime = runtimeOf(cri, container.podId);
      await succeeded(metrics.containerRemove, () => removeContainer(cri, call, container.id), runtime);
      return {};
    },
    async containerStatus(r) {
      const container = cri.store.container(r.containerId);
      return {
        status: toContainerStatus(container),
        info: r.verbose ? await containerInfo(cri, container) : {},
      };
    },
    async checkpointContainer(r, { call }) {
      await checkpointContainer(cri, call, r.containerId, r.location, milliseconds(r.timeout));
      return {};
    },
    async reopenContainerLog(r, { call }) {
      const container = cri.store.container(r.containerId);
      if (container.state !== "running") throw failedPrecondition("container is not running");
      await cri.deps.tasks.update(
        cri.deps.call.until(call.signal),
        container.id,
        undefined,
        new Map([["gantry.log.reopen", ""]]),
      );
      return {};
    },
  };
}

/** Seconds of a request; more than a timer takes is as good as for ever. */
function milliseconds(seconds: bigint): number {
  return seconds > 2_000_000n ? 2_000_000_000 : Math.max(0, Number(seconds)) * 1_000;
}

/** For metrics: "" when it is not known. */
function runtimeOf(cri: Cri, podId: string | undefined): string {
  return (podId === undefined ? undefined : cri.store.findPod(podId))?.runtime.name ?? "";
}

function find(cri: Cri, id: string): Container | undefined {
  try {
    return cri.store.container(id);
  } catch (err) {
    if (isNotFound(err)) return undefined;
    throw err;
  }
}
