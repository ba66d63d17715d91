/** CreateContainer: image, snapshot, spec, record. The process is made by StartContainer. */
import { createHash } from "node:crypto";
import { mkdir } from "node:fs/promises";
import { isAbsolute, join, normalize, sep } from "node:path";
import type { ContainerConfig, PodSandboxConfig } from "../../api/gen/cri/runtime/v1/api_pb.ts";
import type { Call, NamespacedCall } from "../../core/call.ts";
import { failedPrecondition, invalidArgument, isNotFound, messageOf, wrap } from "../../core/errors.ts";
import { nowNs } from "../../lib/time.ts";
import { UndoStack } from "../../lib/undo-stack.ts";
import { packSpec } from "../../oci/spec/json.ts";
import { removeTree } from "../../platform/fs/remove-tree.ts";
import type { Cri } from "../cri.ts";
import type { Container, CriImage, Pod } from "../model.ts";
import { containerName, newId } from "../pods/names.ts";
import { classFiles } from "../spec/classes.ts";
import { NAMESPACE_MODE } from "../spec/constants.ts";
import { buildContainerSpec } from "../spec/container.ts";
import { snapshotLabels } from "../spec/userns.ts";
import { limit, step } from "../step.ts";
import type { Progress } from "../store/creations.ts";
import { KIND_LABEL } from "../store/records.ts";
import { signalName } from "./signals.ts";

/** The whole making of a container. Milliseconds. */
const TOTAL_MS = 300_000;
/** Deadlines of the steps. */
const IMAGE_MS = 120_000;
const SNAPSHOT_MS = 60_000;
const SPEC_MS = 120_000;
const NRI_MS = 60_000;
const UNDO_MS = 60_000;

/** Makes a container, or joins its making. @returns the id */
export async function createContainer(
  cri: Cri,
  call: Call,
  podId: string,
  config: ContainerConfig | undefined,
  podConfig: PodSandboxConfig | undefined,
): Promise<string> {
  if (config === undefined) throw invalidArgument("container config is missing");
  const pod = cri.store.pod(podId);
  const name = containerName(config.metadata, pod.config.metadata);
  if (pod.state !== "ready") throw failedPrecondition(`sandbox container "${pod.id}" is not running`);
  const fingerprint = createHash("sha256")
    .update(pod.id)
    .update(cri.deps.codec.encodeContainerConfig(config))
    .digest("hex");
  const id = newId();
  return await cri.containerNames.run(call, name, fingerprint, id, (progress) =>
    make(cri, { id, name, config, pod, logDirectory: podConfig?.logDirectory ?? "", progress }).finally(() =>
      cri.making.delete(id),
    ),
  );
}

interface Making {
  readonly id: string;
  readonly name: string;
  readonly config: ContainerConfig;
  readonly pod: Pod;
  readonly logDirectory: string;
  readonly progress: Progress;
}

async function make(cri: Cri, making: Making): Promise<void> {
  const { id, name, config, pod, progress } = making;
  const { deps, store, records } = cri;
  const { metadata } = deps;
  using whole = limit(deps.call.under(progress.span), TOTAL_MS);
  const { call } = whole;
  const handler = cri.handlers.get(pod.handler);
  using _creating = await step(call, progress, "nri", NRI_MS, () => cri.nri.creating());
  await using undo = new UndoStack((err) =>
    deps.log.warn("undo a container that could not be made", { id, name, err }),
  );
  const reference = config.image?.image ?? "";
  const image = await step(call, progress, `look up image "${reference}"`, IMAGE_MS, (c) =>
    cri.images.resolve(c, reference),
  );
  const snapshotter = cri.handlers.snapshotter(handler);
  const rootDir = records.containerDir(id);
  cri.making.add(id);
  undo.push(() => removeTree(rootDir));
  await mkdir(rootDir, { recursive: true, mode: 0o700 });
  const snapshots = metadata.snapshotter(snapshotter);
  const leased = (c: NamespacedCall): NamespacedCall => c.with({ lease: pod.id }).in(c.namespace);
  const labels = snapshotLabels(pod.userns);
  undo.push(() => ignoreMissing(snapshots.remove(deps.call.detached(UNDO_MS), id)));
  const rootfs = await step(call, progress, "prepare the snapshot", SNAPSHOT_MS, async (c) => {
    try {
      // held by the pod's lease until the record refers to it
      return await snapshots.prepare(leased(c), id, image.chainId, labels);
    } catch (err) {
      if (!isNotFound(err)) throw err;
      // pulled for another snapshotter, or its layers were removed
      await cri.images.unpack(c, image, snapshotter);
      return await snapshots.prepare(leased(c), id, image.chainId, labels);
    }
  });
  const prepared = await step(call, progress, "mount image volumes", SNAPSHOT_MS, (c) =>
    cri.imageMounts.prepare(c, pod.id, config, snapshotter),
  );
  const draft: Container = {
    id,
    name,
    podId: pod.id,
    config: prepared.config,
    imageRef: imageRef(image),
    imageId: image.id,
    snapshotter,
    snapshotKey: id,
    state: "created",
    createdAt: nowNs(),
    exitCode: 0,
    reason: "",
    message: "",
    pid: 0,
    logPath: logPathOf(making),
    stopSignal: signalName(config.stopSignal, image.config.config.stopSignal),
  };
  const built = await step(
    call,
    progress,
    "build the spec (looks at the sources of mounts)",
    SPEC_MS,
    async (c) =>
      buildContainerSpec({
        namespace: call.namespace,
        id,
        config: prepared.config,
        pod: { ...pod, namespacePaths: cri.namespacePaths(pod) },
        image: image.config.config,
        imageName: config.image?.userSpecifiedImage || reference,
        rootfs,
        rootDir,
        targetPid: targetPid(cri, pod, config),
        imageMounts: prepared.folders,
        settings: { ...deps.config, ...classFiles(deps.daemon.settings) },
        handler: await cri.handlers.settings(handler),
        host: cri.host,
        signal: c.signal,
        warn: (message) => deps.log.warn(message, { container: id }),
      }),
  );
  const spec = await step(call, progress, "nri", NRI_MS, () => cri.nri.createContainer(pod, draft, built));
  const user = spec.process?.user;
  const container: Container = {
    ...draft,
    ...(user === undefined
      ? {}
      : { user: { uid: user.uid, gid: user.gid, groups: user.additionalGids ?? [] } }),
  };
  undo.push(() => ignoreMissing(metadata.containers.delete(deps.call.detached(UNDO_MS), id)));
  await step(call, progress, "store the record", SNAPSHOT_MS, (c) =>
    metadata.containers.create(c, {
      id,
      labels: new Map([...Object.entries(config.labels), [KIND_LABEL, "container"]]),
      image: reference,
      runtime: pod.runtime,
      spec: packSpec(spec),
      snapshotter,
      snapshotKey: id,
      extensions: new Map([["gantry.cri.record", records.containerRecord(container)]]),
      sandbox: pod.id,
    }),
  );
  // the pod may have been stopped meanwhile
  if (store.findPod(pod.id)?.state !== "ready")
    throw failedPrecondition(`sandbox container "${pod.id}" is not running`);
  undo.commit();
  store.addContainer(container);
  store.tell("created", pod.id, id);
  await cri.nri
    .postCreate(container)
    .catch((err: unknown) => deps.log.warn("nri: container created", { id, err: messageOf(err) }));
}

/** What the status shows: the name by digest, else the id. */
function imageRef(image: CriImage): string {
  return image.references.find((r) => r.includes("@")) ?? image.id;
}

/** Below the pod's log directory, never beside it (S30). */
function logPathOf({ config, pod, logDirectory }: Making): string {
  const dir = logDirectory || pod.config.logDirectory;
  if (dir === "" || config.logPath === "") return "";
  const base = normalize(dir);
  // else it would begin wherever the daemon was started
  if (!isAbsolute(base)) throw invalidArgument(`log directory "${dir}": not an absolute path`);
  const path = join(base, config.logPath);
  if (config.logPath.includes("\0") || !path.startsWith(base.endsWith(sep) ? base : `${base}${sep}`))
    throw invalidArgument(`log path "${config.logPath}": leaves the log directory of the pod`);
  return path;
}

/** The process whose PID namespace is shared, for mode TARGET. */
export function targetPid(cri: Cri, pod: Pod, config: ContainerConfig): number | undefined {
  const options = config.linux?.securityContext?.namespaceOptions;
  const mode: number | undefined = options?.pid;
  if (options === undefined || mode !== NAMESPACE_MODE.target) return undefined;
  let target: Container;
  try {
    target = cri.store.container(options.targetId);
  } catch (err) {
    throw wrap(err, `invalid target container: "${options.targetId}"`);
  }
  if (target.podId !== pod.id)
    throw invalidArgument(
      `invalid target container: container "${target.id}" is in pod "${target.podId}", not in "${pod.id}"`,
    );
  if (target.state !== "running")
    throw failedPrecondition(
      `invalid target container: container "${target.id}" is not running - in state ${target.state}`,
    );
  return target.pid;
}

async function ignoreMissing(work: Promise<unknown>): Promise<void> {
  await work.catch((err: unknown) => {
    if (!isNotFound(err)) throw err;
  });
}
