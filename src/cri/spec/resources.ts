/** Limits of a container: CRI's resources as those of a spec. Also used when a container is updated. */
import type { LinuxContainerResources } from "../../api/gen/cri/runtime/v1/api_pb.ts";
import { failedPrecondition } from "../../core/errors.ts";
import type { Resources } from "../../oci/spec/types.ts";
import type { HostFacts, SpecSettings } from "./input.ts";

type Host = Pick<HostFacts, "swapController" | "hugetlbController">;
type Settings = Pick<SpecSettings, "disableHugetlbController" | "tolerateMissingHugetlbController">;

/**
 * Lays what a request sets over `resources`, which is changed; 0 and "" mean "not set". Without a swap limit of its own a
 * container may not swap: its swap limit (memory and swap together) is its memory limit.
 * @throws failed-precondition for huge pages without a controller
 */
export function applyResources(
  resources: Resources,
  request: LinuxContainerResources | undefined,
  host: Host,
  settings: Settings,
  warn: (message: string) => void = () => {},
): void {
  if (request === undefined) return;
  const cpu = { ...resources.cpu };
  if (request.cpuPeriod !== 0n) cpu.period = request.cpuPeriod;
  if (request.cpuQuota !== 0n) cpu.quota = request.cpuQuota;
  if (request.cpuShares !== 0n) cpu.shares = request.cpuShares;
  if (request.cpusetCpus !== "") cpu.cpus = request.cpusetCpus;
  if (request.cpusetMems !== "") cpu.mems = request.cpusetMems;
  resources.cpu = cpu;
  const memory = { ...resources.memory };
  const limit = request.memoryLimitInBytes;
  const swap = request.memorySwapLimitInBytes;
  if (limit !== 0n) memory.limit = limit;
  if (host.swapController && (swap !== 0n || limit !== 0n)) memory.swap = swap === 0n ? limit : swap;
  resources.memory = memory;
  applyHugepages(resources, request, host, settings, warn);
  const unified = Object.entries(request.unified);
  if (unified.length > 0) resources.unified = { ...resources.unified, ...Object.fromEntries(unified) };
}

function applyHugepages(
  resources: Resources,
  request: LinuxContainerResources,
  host: Host,
  settings: Settings,
  warn: (message: string) => void,
): void {
  if (settings.disableHugetlbController || request.hugepageLimits.length === 0) return;
  if (host.hugetlbController) {
    const limits = request.hugepageLimits.map(({ pageSize, limit }) => ({ pageSize, limit }));
    resources.hugepageLimits = [...(resources.hugepageLimits ?? []), ...limits];
    return;
  }
  if (!settings.tolerateMissingHugetlbController)
    throw failedPrecondition("huge pages limits are specified but hugetlb cgroup controller is missing", {
      hint: "set tolerate_missing_hugetlb_controller to true to ignore this",
    });
  warn("hugetlb cgroup controller is absent: huge page limits are left out");
}

/**
 * oom_score_adj that can be set: where the kernel does not let us go below our own value, ours.
 * @param wanted what CRI asks for
 */
export function oomScore(
  wanted: number,
  host: Pick<HostFacts, "oomScoreAdj" | "canLowerOomScore">,
  settings: Pick<SpecSettings, "restrictOomScoreAdj">,
): number {
  const restricted = settings.restrictOomScoreAdj || !host.canLowerOomScore;
  return restricted ? Math.max(wanted, host.oomScoreAdj) : wanted;
}
