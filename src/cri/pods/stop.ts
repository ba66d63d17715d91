/** StopPodSandbox: containers, process, network, mounts. Every step may have been done before. */
import type { Call } from "../../core/call.ts";
import { messageOf } from "../../core/errors.ts";
import type { Span } from "../../core/tracing/span.ts";
import { traced } from "../../core/tracing/traced.ts";
import { untilEnded } from "../../core/until-ended.ts";
import { nowNs } from "../../lib/time.ts";
import { stopContainer } from "../containers/stop.ts";
import type { Cri } from "../cri.ts";
import { succeeded } from "../metrics.ts";
import type { Pod } from "../model.ts";
import { unmountPodFiles } from "./files.ts";

/** Stops a pod. Callers at the same time share the work, which goes on when they give up. */
export async function stopPod(cri: Cri, call: Call, pod: Pod): Promise<void> {
  const work = cri.podStops.run(pod.id, () => stop(cri, pod.id, call.span));
  work.catch(() => {});
  await untilEnded(call, work);
}

async function stop(cri: Cri, id: string, span: Span | undefined): Promise<void> {
  const { deps, store } = cri;
  const call = deps.call.under(span);
  const found = store.findPod(id);
  if (found === undefined) return;
  await Promise.all(store.containers(id).map((c) => stopContainer(cri, call, c, 0)));
  const pod = store.findPod(id);
  if (pod === undefined) return;
  const wasReady = pod.state === "ready";
  if (pod.state !== "not-ready") {
    const destroy = async (): Promise<void> => {
      await cri.monitor.destroyTask(id);
      await cri.monitor.settled(id);
    };
    await succeeded(cri.metrics.sandboxRuntimeStop, destroy, pod.handler);
  }
  if (store.findPod(id)?.state !== "not-ready") {
    await store.changePod(id, { state: "not-ready", exitedAt: nowNs(), pid: 0 });
    if (wasReady) store.tell("stopped", id, id);
  }
  if (wasReady)
    await cri.nri
      .stopPod(store.findPod(id) ?? pod)
      .catch((err: unknown) => deps.log.warn("nri: stop pod", { id, err: messageOf(err) }));
  if (pod.netnsPath !== "" && pod.detached !== true) {
    const handler = deps.config.handlers.get(pod.handler || deps.config.defaultRuntimeName);
    await traced(call, "tear down the network (cni del)", () =>
      cri.metrics.network("tear_down_pod", () => cri.network.detach(pod, handler)),
    );
    cri.network.deleteNetns(pod.netnsPath);
    // the kubelet stops again before it removes: plugins need not be started again for nothing
    store.notePod(id, { detached: true });
  }
  await cri.imageMounts.release(id, cri.handlers.snapshotterOf(pod.handler));
  await unmountPodFiles(pod.stateDir);
}
