/**
 * What an earlier life of the daemon left, made right before anything is served: records are read, compared with the tasks
 * that run, and watched. What needs outside help (networks of interrupted pods) goes on in the background.
 */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { isNotFound, messageOf } from "../../core/errors.ts";
import type { ProcessState } from "../../core/tasks/tasks.ts";
import { nowNs } from "../../lib/time.ts";
import { removeTree } from "../../platform/fs/remove-tree.ts";
import { unmountTree } from "../../platform/mounts/mounts.ts";
import { endPlugins } from "../cni/orphans.ts";
import type { Cri } from "../cri.ts";
import type { Container, Pod } from "../model.ts";
import { endedState } from "../monitor.ts";
import { pinnedAlive } from "../pods/pinned.ts";
import { stopPod } from "../pods/stop.ts";
import { reserveLabel } from "../spec/selinux-labels.ts";
import { KIND_LABEL } from "../store/records.ts";

/** Longest time for what is not waited for. Milliseconds. */
const SWEEP_MS = 300_000;

/** Call when tasks of the earlier life are known again. Resolves when every state is right. */
export async function recover(cri: Cri): Promise<void> {
  const { deps, records, store } = cri;
  const started = performance.now();
  const [pods, containers, tasks] = await Promise.all([
    records.loadPods(),
    records.loadContainers(),
    deps.tasks.glance?.(deps.call) ?? deps.tasks.list(deps.call),
  ]);
  const states = new Map(tasks.map((t) => [t.containerId, t]));
  store.load(pods, containers);
  await cri.namespaces.sweep(new Set(pods.map((p) => p.netnsPath)));
  await Promise.all([
    ...pods.map((pod) => settle(cri, pod.id, () => recoverPod(cri, pod, states.get(pod.id)))),
    ...containers.map((c) => settle(cri, c.id, () => recoverContainer(cri, c, states.get(c.id)))),
  ]);
  if (pods.length > 0)
    deps.log.info("pods of an earlier life", {
      pods: pods.length,
      containers: containers.length,
      ms: Math.round(performance.now() - started),
    });
  void sweep(cri).catch((err: unknown) => deps.log.warn("sweep what an earlier life left", { err }));
}

/** One bad object stops neither the others nor the start (R3). */
async function settle(cri: Cri, id: string, work: () => Promise<void>): Promise<void> {
  await work().catch((err: unknown) => cri.deps.log.error("recover", { id, err }));
}

async function recoverPod(cri: Cri, pod: Pod, task: ProcessState | undefined): Promise<void> {
  const { store } = cri;
  if (!cri.podNames.take(pod.name, pod.id))
    cri.deps.log.warn("two pods have one name", { name: pod.name, id: pod.id });
  if (pod.processLabel !== "") reserveLabel(pod.processLabel);
  switch (pod.state) {
    case "creating":
    case "unknown":
      // its maker was killed: shown as not ready, cleaned up by the sweep, removed by the kubelet
      await store.changePod(pod.id, { state: "unknown" });
      return;
    case "not-ready":
      return;
    case "ready":
      if (pod.pinned === true) {
        if (!pinnedAlive(pod)) await store.changePod(pod.id, { state: "not-ready", exitedAt: nowNs() });
        return;
      }
      if (alive(task)) return cri.monitor.watchPod(pod.id);
      await store.changePod(pod.id, { state: "not-ready", exitedAt: nowNs(), pid: 0 });
      if (task !== undefined) await cri.monitor.destroyTask(pod.id);
  }
}

async function recoverContainer(
  cri: Cri,
  container: Container,
  seen: ProcessState | undefined,
): Promise<void> {
  const { store, monitor, deps } = cri;
  const { id, state } = container;
  // what waits for its start runs, too, as far as one can see
  const unsure = state === "created" && seen !== undefined;
  const task = unsure ? await deps.tasks.get(deps.call, id, "").catch(() => seen) : seen;
  if (!cri.containerNames.take(container.name, id))
    cri.deps.log.warn("two containers have one name", { name: container.name, id });
  if (state === "exited") {
    if (task !== undefined) await monitor.destroyTask(id);
    return;
  }
  if (task?.status === "created" || (task === undefined && state === "created")) {
    // the daemon was killed before the start
    if (task !== undefined) await monitor.destroyTask(id);
    return;
  }
  if (task === undefined) {
    await store.changeContainer(id, endedState(undefined, false));
    return;
  }
  if (state === "created" || container.pid === 0)
    await store.changeContainer(id, {
      state: "running",
      startedAt: container.startedAt ?? nowNs(),
      pid: task.pid,
    });
  // one that has ended meanwhile is dealt with as if it ended now; its shim tells why once our socket is open
  monitor.watchContainer(id);
}

/** Runs, or its shim is too slow to say (R7): watched, not given up. */
function alive(task: ProcessState | undefined): boolean {
  return task !== undefined && task.status !== "stopped" && task.status !== "created";
}

/** Removes what belongs to nobody. */
async function sweep(cri: Cri): Promise<void> {
  const { deps, store, network } = cri;
  const { call, root, state, log, metadata } = deps;
  const cut = store.pods().filter((pod) => pod.state === "unknown");
  const plugins = await endPlugins(new Set(cut.map((pod) => pod.id)));
  if (plugins > 0) log.info("network plugins of an earlier life were ended", { plugins });
  for (const pod of cut) {
    await stopPod(cri, call.within(SWEEP_MS), pod).catch((err: unknown) =>
      log.warn("clean up a pod that was not finished", { id: pod.id, err: messageOf(err) }),
    );
  }
  for (const id of await network.rememberedIds()) {
    if (store.findPod(id) !== undefined) continue;
    log.info("networks of a pod that is gone", { id });
    await network
      .detachUnknown(id)
      .catch((err: unknown) => log.warn("detach a pod that is gone", { id, err: messageOf(err) }));
  }
  await network.collect(store.pods().filter((p) => p.netnsPath !== "" && p.state !== "not-ready"));
  for (const record of await metadata.containers.list(call, [`labels."${KIND_LABEL}"==sandbox`])) {
    if (store.findPod(record.id) !== undefined) continue;
    await cri.monitor.destroyTask(record.id);
    await metadata.containers.delete(call, record.id).catch((err: unknown) => {
      if (!isNotFound(err)) throw err;
    });
  }
  const owned = {
    sandboxes: (id: string) => store.findPod(id) !== undefined || cri.making.has(id),
    containers: (id: string) => store.findContainer(id) !== undefined || cri.making.has(id),
    "image-volumes": (id: string) => store.findPod(id) !== undefined || cri.making.has(id),
  };
  for (const base of [root, state]) {
    for (const [kind, known] of Object.entries(owned)) {
      for (const id of await readdir(join(base, kind)).catch(() => [])) {
        if (!/^[0-9a-f]{64}$/.test(id) || known(id)) continue;
        const dir = join(base, kind, id);
        await unmountTree(dir);
        await removeTree(dir).catch((err: unknown) =>
          log.warn("remove a folder that is nobody's", { dir, err }),
        );
      }
    }
  }
}
