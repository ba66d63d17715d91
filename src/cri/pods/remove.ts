/** RemovePodSandbox: stopped by force, then everything of it. */
import type { Call } from "../../core/call.ts";
import { isNotFound, messageOf } from "../../core/errors.ts";
import { removeContainer } from "../containers/remove.ts";
import type { Cri } from "../cri.ts";
import type { Pod } from "../model.ts";
import { releaseLabel } from "../spec/selinux-labels.ts";
import { removePodFiles } from "./files.ts";
import { stopPod } from "./stop.ts";

const REMOVE_MS = 120_000;

/** Removes a pod with its containers; one that is gone is fine. */
export async function removePod(cri: Cri, call: Call, pod: Pod): Promise<void> {
  const { id } = pod;
  await stopPod(cri, call, pod);
  await Promise.all(cri.store.containers(id).map((c) => removeContainer(cri, call, c.id)));
  using _lock = await cri.locks.acquire(id, call.signal);
  const { deps, store } = cri;
  const last = store.findPod(id);
  if (last === undefined) return;
  const work = deps.call.detached(REMOVE_MS);
  await cri.nri
    .removePod(last)
    .catch((err: unknown) => deps.log.warn("nri: remove pod", { id, err: messageOf(err) }));
  await cri.monitor.destroyTask(id);
  const { metadata } = deps;
  const record = await metadata.containers.get(work, id).catch((err: unknown) => {
    if (isNotFound(err)) return undefined;
    throw err;
  });
  const snapshotter = record?.snapshotter || cri.handlers.snapshotterOf(last.handler);
  await metadata
    .snapshotter(snapshotter)
    .remove(work, id)
    .catch((err: unknown) => {
      if (!isNotFound(err)) throw err;
    });
  if (record !== undefined) await metadata.containers.delete(work, id);
  await deps.leases.delete(work, id).catch((err: unknown) => {
    if (!isNotFound(err)) throw err;
  });
  await removePodFiles(last.stateDir);
  releaseLabel(last.processLabel);
  store.tell("deleted", id, id);
  await store.removePod(id);
  cri.podNames.release(last.name, id);
}
