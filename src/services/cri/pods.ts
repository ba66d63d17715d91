/** Pods: run, stop, remove, status. */
import { invalidArgument, isNotFound } from "../../core/errors.ts";
import type { Cri } from "../../cri/cri.ts";
import { succeeded } from "../../cri/metrics.ts";
import type { Pod } from "../../cri/model.ts";
import { removePod } from "../../cri/pods/remove.ts";
import { runPod } from "../../cri/pods/run.ts";
import { stopPod } from "../../cri/pods/stop.ts";
import { nowNs } from "../../lib/time.ts";
import { toContainerStatus, toPodStatus } from "./convert.ts";
import { podInfo } from "./info.ts";
import type { RuntimeMethods } from "./methods.ts";

export function podMethods(cri: Cri): RuntimeMethods {
  return {
    async runPodSandbox(r, { call }) {
      if (r.config === undefined) throw invalidArgument("sandbox config is missing");
      return { podSandboxId: await runPod(cri, call, r.config, r.runtimeHandler) };
    },
    async stopPodSandbox(r, { call }) {
      const pod = find(cri, r.podSandboxId);
      if (pod !== undefined) await stopPod(cri, call, pod);
      return {};
    },
    async removePodSandbox(r, { call }) {
      const pod = find(cri, r.podSandboxId);
      if (pod !== undefined)
        await succeeded(cri.metrics.sandboxRemove, () => removePod(cri, call, pod), pod.handler);
      return {};
    },
    async podSandboxStatus(r) {
      const pod = cri.store.pod(r.podSandboxId);
      return {
        status: toPodStatus(pod),
        info: r.verbose ? await podInfo(cri, pod) : {},
        containersStatuses: cri.store.containers(pod.id).map(toContainerStatus),
        timestamp: nowNs(),
      };
    },
  };
}

/** Stop and remove of what is not there succeed. */
function find(cri: Cri, id: string): Pod | undefined {
  try {
    return cri.store.pod(id);
  } catch (err) {
    if (isNotFound(err)) return undefined;
    throw err;
  }
}
