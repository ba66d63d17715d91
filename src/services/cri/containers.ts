/** Containers: create, start, stop, remove, status, log rotation. */
import { failedPrecondition, isNotFound } from "../../core/errors.ts";
import { checkpointContainer } from "../../cri/containers/checkpoint.ts";
import { createContainer } from "../../cri/containers/create.ts";
import { removeContainer } from "../../cri/containers/remove.ts";
import { startContainer } from "../../cri/containers/start.ts";
import { stopContainer } from "../../cri/containers/stop.ts";
import type { Cri } from "../../cri/cri.ts";
import type { Container } from "../../cri/model.ts";
import { toContainerStatus } from "./convert.ts";
import { containerInfo } from "./info.ts";
import type { RuntimeMethods } from "./methods.ts";

export function containerMethods(cri: Cri): RuntimeMethods {
  return {
    async createContainer(r, { call }) {
      return { containerId: await createContainer(cri, call, r.podSandboxId, r.config, r.sandboxConfig) };
    },
    async startContainer(r, { call }) {
      await startContainer(cri, call, r.containerId);
      return {};
    },
    async stopContainer(r, { call }) {
      const container = find(cri, r.containerId);
      if (container !== undefined) await stopContainer(cri, call, container, milliseconds(r.timeout));
      return {};
    },
    async removeContainer(r, { call }) {
      const container = find(cri, r.containerId);
      if (container !== undefined) await removeContainer(cri, call, container.id);
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

function find(cri: Cri, id: string): Container | undefined {
  try {
    return cri.store.container(id);
  } catch (err) {
    if (isNotFound(err)) return undefined;
    throw err;
  }
}
