/** UpdateContainerResources and UpdatePodSandboxResources. */
import type { LinuxContainerResources } from "../../api/gen/cri/runtime/v1/api_pb.ts";
import type { Call } from "../../core/call.ts";
import { failedPrecondition, isNotImplemented, messageOf } from "../../core/errors.ts";
import { packSpec, RESOURCES_URL, toExactJson, unpackSpec } from "../../oci/spec/json.ts";
import { resourcesOf } from "../../oci/spec/options.ts";
import type { Cri } from "../cri.ts";
import { applyResources } from "../spec/resources.ts";
import { RECORD } from "../store/records.ts";

const UPDATE_MS = 60_000;

/** Changes resources of a created or running container; what the request leaves empty stays as it is. */
export async function updateContainer(
  cri: Cri,
  call: Call,
  idOrPrefix: string,
  asked: LinuxContainerResources | undefined,
): Promise<void> {
  const { id } = cri.store.container(idOrPrefix);
  using _lock = await cri.locks.acquire(id, call.signal);
  const container = cri.store.container(id);
  if (container.state !== "created" && container.state !== "running")
    throw failedPrecondition(
      `container "${id}" is in CONTAINER_${container.state.toUpperCase()} state: resources can be changed of created and running ones`,
    );
  if (asked === undefined) return;
  const { deps, store, records } = cri;
  const work = deps.call.within(UPDATE_MS);
  const wanted = await cri.nri.updateContainer(container, asked);
  const record = await deps.metadata.containers.get(work, id);
  const spec = unpackSpec(record.spec);
  const resources = resourcesOf(spec);
  applyResources(resources, wanted, cri.host, deps.config, (message) =>
    deps.log.warn(message, { container: id }),
  );
  if (container.state === "running") {
    // without the device rules: they are not the request's to change
    const { devices: _devices, ...change } = resources;
    const value = new TextEncoder().encode(toExactJson(change));
    await deps.tasks.update(work, id, { typeUrl: RESOURCES_URL, value }, new Map());
  }
  const old = container.config.linux?.resources;
  const merged = old === undefined ? wanted : mergeResources(old, wanted);
  const { config } = container;
  const linux = config.linux ?? { $typeName: "runtime.v1.LinuxContainerConfig" as const };
  const changed = { ...container, config: { ...config, linux: { ...linux, resources: merged } } };
  const extensions = new Map(record.extensions);
  extensions.set(RECORD, records.containerRecord(changed));
  await deps.metadata.containers.update(work, { ...record, spec: packSpec(spec), extensions }, [
    "spec",
    `extensions.${RECORD}`,
  ]);
  await store.changeContainer(id, { config: changed.config });
  const now = store.findContainer(id);
  if (now !== undefined)
    await cri.nri
      .postUpdate(now)
      .catch((err: unknown) => deps.log.warn("nri: container updated", { id, err: messageOf(err) }));
}

/** Non-empty values of `next` over those of `old`. */
export function mergeResources(
  old: LinuxContainerResources,
  next: LinuxContainerResources,
): LinuxContainerResources {
  return {
    ...old,
    cpuPeriod: next.cpuPeriod || old.cpuPeriod,
    cpuQuota: next.cpuQuota || old.cpuQuota,
    cpuShares: next.cpuShares || old.cpuShares,
    memoryLimitInBytes: next.memoryLimitInBytes || old.memoryLimitInBytes,
    memorySwapLimitInBytes: next.memorySwapLimitInBytes || old.memorySwapLimitInBytes,
    oomScoreAdj: next.oomScoreAdj || old.oomScoreAdj,
    cpusetCpus: next.cpusetCpus || old.cpusetCpus,
    cpusetMems: next.cpusetMems || old.cpusetMems,
    hugepageLimits: next.hugepageLimits.length > 0 ? next.hugepageLimits : old.hugepageLimits,
    unified: { ...old.unified, ...next.unified },
  };
}

/** Notes the pod's resources: runtimes that size a machine by them, and NRI, are told. */
export async function updatePodResources(
  cri: Cri,
  call: Call,
  idOrPrefix: string,
  overhead: LinuxContainerResources | undefined,
  resources: LinuxContainerResources | undefined,
): Promise<void> {
  const { id } = cri.store.pod(idOrPrefix);
  using _lock = await cri.locks.acquire(id, call.signal);
  const pod = cri.store.pod(id);
  if (pod.state !== "ready") throw failedPrecondition(`sandbox container "${id}" is not running`);
  await cri.nri.updatePod(pod, overhead, resources);
  const linux = pod.config.linux ?? {
    $typeName: "runtime.v1.LinuxPodSandboxConfig" as const,
    cgroupParent: "",
    sysctls: {},
  };
  const changed = {
    ...linux,
    ...(overhead === undefined ? {} : { overhead }),
    ...(resources === undefined ? {} : { resources }),
  };
  const next = await cri.store.changePod(id, { config: { ...pod.config, linux: changed } });
  if (next === undefined) return;
  await cri.records.savePodConfig(next).catch((err: unknown) => {
    if (!isNotImplemented(err)) throw err;
  });
  await cri.nri
    .postUpdatePod(next)
    .catch((err: unknown) => cri.deps.log.warn("nri: pod updated", { id, err: messageOf(err) }));
}
