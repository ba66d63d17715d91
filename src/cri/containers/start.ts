/** StartContainer: makes the task in the pod's shim and starts it. */
import { mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Call } from "../../core/call.ts";
import { failedPrecondition, messageOf, wrap } from "../../core/errors.ts";
import { nowNs } from "../../lib/time.ts";
import { createFifo } from "../../platform/fs/fifo.ts";
import { removeTree } from "../../platform/fs/remove-tree.ts";
import type { Cri } from "../cri.ts";
import type { Container } from "../model.ts";
import { limit, step } from "../step.ts";
import { targetPid } from "./create.ts";

const TASK_MS = 120_000;
const NRI_MS = 60_000;
/** Exit code of a container that could not be started. */
const START_FAILED = 128;

/** Starts a created container. @throws failed-precondition in any other state */
export async function startContainer(cri: Cri, call: Call, idOrPrefix: string): Promise<void> {
  const { id } = cri.store.container(idOrPrefix);
  using _lock = await cri.locks.acquire(id, call.signal);
  const container = cri.store.container(id);
  if (container.state !== "created")
    throw failedPrecondition(
      `failed to set starting state for container "${id}": container is in CONTAINER_${container.state.toUpperCase()} state`,
    );
  const pod = cri.store.pod(container.podId);
  if (pod.state !== "ready") throw failedPrecondition(`sandbox container "${pod.id}" is not running`);
  const handler = cri.handlers.get(pod.handler);
  const { deps, store } = cri;
  // goes on when the caller gives up: half a start helps nobody
  using whole = limit(deps.call.under(call.span), 2 * TASK_MS);
  const work = whole.call;
  const progress = { step: "start" };
  try {
    targetPid(cri, pod, container.config);
    await step(work, progress, "nri", NRI_MS, () => cri.nri.startContainer(container));
    const stdio = await makeStdio(cri, container);
    const rootfs = await step(work, progress, "mounts of the snapshot", TASK_MS, (c) =>
      deps.metadata.snapshotter(container.snapshotter).mounts(c, container.snapshotKey),
    );
    using _place = await cri.startGate.enter("container");
    await step(work, progress, "failed to create containerd task", TASK_MS, (c) =>
      deps.tasks.create(c, {
        containerId: id,
        rootfs,
        ...stdio,
        options: pod.runtime.options,
        runtimePath: handler.path === "" ? undefined : handler.path,
      }),
    );
    // before, not after: a short process may have ended when the answer comes
    const startedAt = nowNs();
    const pid = await step(work, progress, "failed to start containerd task", TASK_MS, (c) =>
      deps.tasks.start(c, id, ""),
    );
    await store.changeContainer(id, { state: "running", startedAt, pid });
  } catch (err) {
    await cri.monitor
      .destroyTask(id)
      .catch((late: unknown) => deps.log.warn("undo a start", { id, err: messageOf(late) }));
    await store.changeContainer(id, {
      state: "exited",
      exitCode: START_FAILED,
      reason: "StartError",
      message: messageOf(err),
      finishedAt: nowNs(),
      startedAt: 0n,
      pid: 0,
    });
    store.tell("stopped", container.podId, id);
    throw wrap(err, `failed to start container "${id}"`);
  }
  cri.monitor.watchContainer(id);
  store.tell("started", container.podId, id);
  const running = store.findContainer(id);
  if (running !== undefined)
    await cri.nri
      .postStart(running)
      .catch((err: unknown) => deps.log.warn("nri: container started", { id, err: messageOf(err) }));
}

/** Folder of a container's stdin. */
export function ioDir(cri: Cri, id: string): string {
  return join(cri.deps.state, "containers", id);
}

/** The shim writes the log itself; without a log path attached clients still get the output. */
async function makeStdio(cri: Cri, container: Container) {
  const { config, logPath, id } = container;
  // as much as the shim takes
  const max = Math.min(cri.deps.config.maxContainerLogLineSize, 1 << 20);
  if (logPath !== "") await mkdir(dirname(logPath), { recursive: true, mode: 0o755 });
  const path = logPath === "" ? "/dev/null" : logPath;
  const address = `cri-log://${path.split("/").map(encodeURIComponent).join("/")}?max=${max}`;
  let stdin = "";
  if (config.stdin) {
    const dir = ioDir(cri, id);
    await removeTree(dir);
    await mkdir(dir, { recursive: true, mode: 0o700 });
    stdin = join(dir, "stdin");
    createFifo(stdin, 0o600);
  }
  return { stdin, stdout: address, stderr: config.tty ? "" : address, terminal: config.tty };
}
