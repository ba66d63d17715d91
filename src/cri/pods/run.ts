/**
 * RunPodSandbox.
 *
 *     name -> record (intent) -> network namespace -> network  \
 *                             -> image, snapshot, files         > task -> NRI -> ready -> events
 *
 * The record names everything that may be made, so a daemon that is killed at any step finds it all again. The process is
 * made while the network is set up, unless the runtime or a sysctl needs the network first.
 */
import { createHash } from "node:crypto";
import { join } from "node:path";
import type { PodSandboxConfig } from "../../api/gen/cri/runtime/v1/api_pb.ts";
import type { Call, NamespacedCall } from "../../core/call.ts";
import { invalidArgument, isNotFound } from "../../core/errors.ts";
import { nowNs } from "../../lib/time.ts";
import { UndoStack } from "../../lib/undo-stack.ts";
import { packSpec } from "../../oci/spec/json.ts";
import { onHostNetwork } from "../cni/pod-network.ts";
import type { RuntimeHandler } from "../config.ts";
import type { Cri } from "../cri.ts";
import { succeeded } from "../metrics.ts";
import type { Pod } from "../model.ts";
import { buildSandboxSpec } from "../spec/sandbox.ts";
import { snapshotLabels, userMappings } from "../spec/userns.ts";
import { limit, step } from "../step.ts";
import type { Progress } from "../store/creations.ts";
import { KIND_LABEL } from "../store/records.ts";
import { makePodFiles, removePodFiles } from "./files.ts";
import { newId, podName } from "./names.ts";
import { canPin, pinPod } from "./pinned.ts";

/** The whole making of a pod. Milliseconds. */
const TOTAL_MS = 600_000;
/** Deadlines of the steps. */
const NETNS_MS = 30_000;
const CNI_MS = 240_000;
const IMAGE_MS = 300_000;
const SNAPSHOT_MS = 60_000;
const TASK_MS = 120_000;
const NRI_MS = 60_000;
/** Undoing. */
const UNDO_MS = 180_000;

/** Makes a pod, or joins its making. @returns the id */
export async function runPod(
  cri: Cri,
  call: Call,
  config: PodSandboxConfig,
  handlerName: string,
): Promise<string> {
  const name = podName(config.metadata);
  userMappings(config.linux?.securityContext?.namespaceOptions?.usernsOptions);
  const handler = cri.handlers.get(handlerName);
  const fingerprint = createHash("sha256")
    .update(handlerName)
    .update(cri.deps.codec.encodePodConfig(config))
    .digest("hex");
  const id = newId();
  return await cri.podNames.run(call, name, fingerprint, id, (progress) =>
    make(cri, { id, name, config, handlerName, handler, progress }),
  );
}

interface Making {
  readonly id: string;
  readonly name: string;
  readonly config: PodSandboxConfig;
  readonly handlerName: string;
  readonly handler: RuntimeHandler;
  readonly progress: Progress;
}

async function make(cri: Cri, making: Making): Promise<void> {
  const { id, name, config, handler, progress } = making;
  const { deps, store } = cri;
  using whole = limit(deps.call.under(progress.span), TOTAL_MS);
  const { call } = whole;
  const hostNetwork = onHostNetwork(config);
  const options = cri.handlers.options(handler);
  // a namespace inside the pod's user namespace is made by the runtime, with the process
  const userns = config.linux?.securityContext?.namespaceOptions?.usernsOptions;
  const madeByRuntime = !hostNetwork && userMappings(userns) !== undefined;
  const namespace = hostNetwork
    ? { path: "", ready: true }
    : madeByRuntime
      ? { path: cri.namespaces.name(), ready: true }
      : cri.namespaces.take();
  const pod: Pod = {
    id,
    name,
    config,
    handler: making.handlerName,
    runtime: { name: handler.type, options },
    state: "creating",
    createdAt: nowNs(),
    pid: 0,
    netnsPath: namespace.path,
    ips: [],
    ...(await cri.labels(config)),
    userns,
    pinned: canPin(deps, handler, { config, userns }),
    stateDir: join(deps.state, "sandboxes", id),
  };
  let dirty = false;
  await using undo = new UndoStack((err) => {
    dirty = true;
    deps.log.warn("undo a pod that could not be made", { id, name, err });
  });
  undo.push(() => cri.namespaces.fill());
  undo.push(async () => {
    if (!dirty) return await store.removePod(id);
    // what could not be undone is the kubelet's to try again, by stop and remove
    await store.changePod(id, { state: "unknown" });
  });
  undo.push(() => cri.network.deleteNetns(pod.netnsPath));
  using _creating = await step(call, progress, "nri", NRI_MS, () => cri.nri.creating());
  // held by the pod's lease: nothing refers to its snapshots before their containers are stored
  const leased = call.with({ lease: id }).in(call.namespace);
  undo.push(() => ignoreMissing(deps.leases.delete(deps.call.detached(UNDO_MS), id)));
  await step(call, progress, "store the record", SNAPSHOT_MS, async (c) => {
    await Promise.all([store.addPod(pod), deps.leases.create(c, id, new Map())]);
  });

  progress.step = "wait for its turn";
  using place = await cri.startGate.enter("pod");

  const attach = async (): Promise<void> => {
    undo.push(() => within(UNDO_MS, cri.network.detach(pod, handler)));
    const attached = await step(call, progress, "set up the network (cni add)", CNI_MS, (c) =>
      cri.metrics.network("set_up_pod", () => cri.network.attach(pod, handler, c.signal)),
    );
    store.notePod(id, { ips: attached.ips, cniResult: attached.results });
  };
  const network = async (): Promise<void> => {
    if (hostNetwork || madeByRuntime) return;
    if (!namespace.ready)
      await step(call, progress, "create network namespace", NETNS_MS, (c) =>
        cri.namespaces.create(pod.netnsPath, c.signal),
      );
    netnsReady.resolve();
    await attach();
  };
  const netnsReady = Promise.withResolvers<void>();
  netnsReady.promise.catch(() => {});
  if (hostNetwork || madeByRuntime) netnsReady.resolve();
  const networking = network();
  networking.catch((err: unknown) => netnsReady.reject(err));
  const networkFirst = needsNetworkFirst(handler, config);
  const processing = (async () => {
    undo.push(() => removePodFiles(pod.stateDir));
    const files = step(call, progress, "make the pod's files", SNAPSHOT_MS, () =>
      makePodFiles(pod.stateDir, config, cri.host.hostname),
    );
    if (pod.pinned === true) {
      await files;
      await (networkFirst ? networking : netnsReady.promise);
      return await step(call, progress, "make the pod's namespaces", NETNS_MS, (c) =>
        pinPod(c, pod, deps.config, cri.host),
      );
    }
    const prepared = prepareRootfs(cri, leased, making, undo);
    const [rootfs] = await Promise.all([prepared, files]);
    await (networkFirst ? networking : netnsReady.promise);
    const created = async (pid: number): Promise<void> => {
      if (!madeByRuntime) return;
      cri.network.pinNetns(pid, pod.netnsPath);
      await attach();
    };
    const netnsPath = madeByRuntime ? "" : pod.netnsPath;
    const start = () => startProcess(cri, call, making, { ...pod, netnsPath }, rootfs, undo, created);
    return await succeeded(cri.metrics.sandboxRuntimeCreate, start, handler.type);
  })();
  const results = await Promise.allSettled([networking, processing]);
  for (const result of results) if (result.status === "rejected") throw result.reason;
  place[Symbol.dispose]();
  const ready = store.findPod(id);
  if (ready === undefined) throw invalidArgument(`pod "${id}" was removed while it was made`);
  await step(call, progress, "nri", NRI_MS, () => cri.nri.runPod(ready));
  undo.commit();
  await store.changePod(id, { state: "ready" });
  if (pod.pinned !== true) cri.monitor.watchPod(id);
  if (!hostNetwork) cri.namespaces.fill();
  store.tell("created", id, id);
  store.tell("started", id, id);
}

/** Other runtimes may look at the interfaces when they start; a sysctl may name one. */
function needsNetworkFirst(handler: RuntimeHandler, config: PodSandboxConfig): boolean {
  if (handler.type !== "io.containerd.runc.v2") return true;
  return Object.keys(config.linux?.sysctls ?? {}).some((key) => key.startsWith("net."));
}

type Rootfs = Awaited<ReturnType<typeof prepareRootfs>>;

async function prepareRootfs(cri: Cri, call: NamespacedCall, making: Making, undo: UndoStack) {
  const { id, config, handler, progress } = making;
  const { metadata } = cri.deps;
  const name = cri.handlers.snapshotter(handler);
  const snapshotter = metadata.snapshotter(name);
  const labels = snapshotLabels(config.linux?.securityContext?.namespaceOptions?.usernsOptions);
  for (let turn = 0; ; turn++) {
    const pause = await step(call, progress, "get the sandbox image", IMAGE_MS, (c) =>
      cri.pause.get(c, name, !handler.disablePauseImagePull),
    );
    try {
      undo.push(() => ignoreMissing(snapshotter.remove(cri.deps.call.detached(UNDO_MS), id)));
      const mounts = await step(call, progress, "prepare the snapshot", SNAPSHOT_MS, (c) =>
        snapshotter.prepare(c, id, pause.image.chainId, labels),
      );
      return { pause, mounts, snapshotter: name };
    } catch (err) {
      // somebody removed its layers: once more from the start
      if (!isNotFound(err) || turn > 0) throw err;
      cri.pause.forget(name);
    }
  }
}

async function startProcess(
  cri: Cri,
  call: NamespacedCall,
  making: Making,
  pod: Pod,
  rootfs: Rootfs,
  undo: UndoStack,
  created: (pid: number) => Promise<void>,
): Promise<void> {
  const { id, config, handler, progress } = making;
  const { deps, store } = cri;
  const { metadata, tasks } = deps;
  const { pause } = rootfs;
  const spec = await buildSandboxSpec({
    namespace: call.namespace,
    id,
    config,
    image: pause.image.config.config,
    imageName: pause.name,
    netnsPath: pod.netnsPath,
    stateDir: pod.stateDir,
    labels: pod,
    settings: deps.config,
    handler: await cri.handlers.settings(handler),
    host: cri.host,
  });
  undo.push(() => ignoreMissing(metadata.containers.delete(deps.call.detached(UNDO_MS), id)));
  await step(call, progress, "store the container record", SNAPSHOT_MS, (c) =>
    metadata.containers.create(c, {
      id,
      labels: new Map([...Object.entries(config.labels), [KIND_LABEL, "sandbox"]]),
      image: pause.name,
      runtime: pod.runtime,
      spec: packSpec(spec),
      snapshotter: rootfs.snapshotter,
      snapshotKey: id,
      extensions: new Map(),
      sandbox: id,
    }),
  );
  undo.push(() => cri.monitor.destroyTask(id));
  const madePid = await step(call, progress, "create the pod's process", TASK_MS, (c) =>
    tasks.create(c, {
      containerId: id,
      rootfs: rootfs.mounts,
      stdin: "",
      stdout: "",
      stderr: "",
      terminal: false,
      options: pod.runtime.options,
      runtimePath: handler.path === "" ? undefined : handler.path,
    }),
  );
  await created(madePid);
  const pid = await step(call, progress, "start the pod's process", TASK_MS, (c) => tasks.start(c, id, ""));
  store.notePod(id, { pid });
}

async function ignoreMissing(work: Promise<unknown>): Promise<void> {
  await work.catch((err: unknown) => {
    if (!isNotFound(err)) throw err;
  });
}

/** Bounds an undo step that takes no call. */
async function within<T>(ms: number, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`still busy after ${ms} ms`)), ms);
  });
  return await Promise.race([work, limit]).finally(() => clearTimeout(timer));
}
