/** SELinux labels of pods and containers. Everything is "" where the kernel has no SELinux or the configuration is off. */
import type { SELinuxOption } from "../../api/gen/cri/runtime/v1/api_pb.ts";
import { invalidArgument } from "../../core/errors.ts";
import type { HostFacts, SelinuxLabels, SpecSettings } from "./input.ts";

const NONE: SelinuxLabels = { processLabel: "", mountLabel: "" };
const LEVEL = /^s0(?:-s0)?(?::c\d{1,4}(?:[.,]c\d{1,4})*)?$/;

/** Labels of a pod. @throws invalid-argument for a malformed level */
export async function podLabels(
  options: SELinuxOption | undefined,
  settings: SpecSettings,
  host: Pick<HostFacts, "selinux">,
): Promise<SelinuxLabels> {
  if (options !== undefined && options.level !== "" && !LEVEL.test(options.level))
    throw invalidArgument(`the format of 'level' "${options.level}" is not correct`);
  if (!settings.enableSelinux || !host.selinux) return NONE;
  const { allocateLabels } = await import("./selinux-labels.ts");
  return allocateLabels(options, settings.selinuxCategoryRange);
}

/** Labels of a container: its own options, else its pod's. @throws invalid-argument */
export async function containerLabels(
  options: SELinuxOption | undefined,
  pod: SelinuxLabels,
  settings: SpecSettings,
  host: Pick<HostFacts, "selinux">,
): Promise<SelinuxLabels> {
  const asked =
    options !== undefined && [options.user, options.role, options.type, options.level].some((t) => t !== "");
  if (asked) return podLabels(options, settings, host);
  return { processLabel: pod.processLabel, mountLabel: pod.mountLabel };
}

/** Labels a bind source; file systems without labels are left as they are. */
export async function relabel(path: string, label: string): Promise<void> {
  const { relabelTree } = await import("./selinux-labels.ts");
  await relabelTree(path, label);
}
