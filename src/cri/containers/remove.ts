/** RemoveContainer: by force when it runs, everything of it. */
import type { Call } from "../../core/call.ts";
import { isNotFound, messageOf } from "../../core/errors.ts";
import { removeTree } from "../../platform/fs/remove-tree.ts";
import type { Cri } from "../cri.ts";
import { ioDir } from "./start.ts";
import { stopContainer } from "./stop.ts";

const REMOVE_MS = 120_000;

/** Removes a container; one that is gone is fine. */
export async function removeContainer(cri: Cri, call: Call, id: string): Promise<void> {
  const { deps, store, records } = cri;
  const { metadata } = deps;
  const found = store.findContainer(id);
  if (found === undefined) return;
  await stopContainer(cri, call, found, 0);
  using _lock = await cri.locks.acquire(id, call.signal);
  const container = store.findContainer(id);
  if (container === undefined) return;
  // what is begun is finished whether the caller waits or not
  const work = deps.call.detached(REMOVE_MS);
  await cri.monitor.destroyTask(id);
  await cri.nri
    .removeContainer(container)
    .catch((err: unknown) => deps.log.warn("nri: remove container", { id, err: messageOf(err) }));
  await metadata
    .snapshotter(container.snapshotter)
    .remove(work, container.snapshotKey)
    .catch((err: unknown) => {
      if (!isNotFound(err)) throw err;
    });
  await Promise.all([removeTree(ioDir(cri, id)), removeTree(records.containerDir(id))]);
  await metadata.containers.delete(work, id).catch((err: unknown) => {
    if (!isNotFound(err)) throw err;
  });
  store.removeContainer(id);
  cri.forget(id);
  cri.containerNames.release(container.name, id);
  store.tell("deleted", container.podId, id);
}
