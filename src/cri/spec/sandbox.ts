/** The spec of a pod's own process (pause). */
import { join } from "node:path";
import { invalidArgument } from "../../core/errors.ts";
import { DEFAULT_PATH, defaultSpec } from "../../oci/spec/default.ts";
import { linuxOf, mergeEnv, processOf, resourcesOf, withNamespace } from "../../oci/spec/options.ts";
import type { Spec } from "../../oci/spec/types.ts";
import { passedAnnotations, podAnnotations } from "./annotations.ts";
import { cgroupsPath } from "./cgroup-path.ts";
import { ANNOTATION, NAMESPACE_MODE, POD_FILES, SANDBOX_OOM_SCORE } from "./constants.ts";
import type { SandboxSpecInput } from "./input.ts";
import { bindSysfs, withNewNamespace, withoutNamespace } from "./namespaces.ts";
import { loadSeccomp, profileOf, withSeccomp } from "./profiles.ts";
import { oomScore } from "./resources.ts";
import { podSysctls } from "./sysctls.ts";
import { userOf } from "./user.ts";
import { userMappings } from "./userns.ts";
import { withLowestVersion } from "./version.ts";

/** CPU shares of the pod's own process, which does nothing. */
const SANDBOX_SHARES = 2;

/**
 * Builds the spec of the pod's process.
 * @throws invalid-argument, failed-precondition
 */
export async function buildSandboxSpec(input: SandboxSpecInput): Promise<Spec> {
  const { config, image, handler, host, settings } = input;
  const context = config.linux?.securityContext;
  const options = context?.namespaceOptions;
  const spec = defaultSpec(input.namespace, input.id);
  const process = processOf(spec);
  const linux = linuxOf(spec);
  delete process.rlimits;
  spec.root = { path: "rootfs", readonly: true };
  spec.hostname = config.hostname;
  process.args = [...image.entrypoint, ...image.cmd];
  if (process.args.length === 0)
    throw invalidArgument(`invalid empty entrypoint and cmd in image "${input.imageName}"`);
  process.env = mergeEnv([DEFAULT_PATH], image.env);
  process.cwd = image.workingDir === "" ? "/" : image.workingDir;
  // the pod's process has an image of the administrator's choice: numbers only, no look into it
  process.user = userOf(context, image.user, { passwd: undefined, group: undefined });
  linux.cgroupsPath = cgroupsPath(
    config.linux?.cgroupParent ?? "",
    input.id,
    input.namespace,
    handler.systemdCgroup,
  );

  const hostNetwork = (options?.network as number | undefined) === NAMESPACE_MODE.node;
  if (hostNetwork) {
    withoutNamespace(spec, "network");
    withoutNamespace(spec, "uts");
    delete spec.hostname;
  } else if (input.netnsPath !== "") withNamespace(spec, "network", input.netnsPath);
  if ((options?.pid as number | undefined) === NAMESPACE_MODE.node) withoutNamespace(spec, "pid");
  const hostIpc = (options?.ipc as number | undefined) === NAMESPACE_MODE.node;
  if (hostIpc) withoutNamespace(spec, "ipc");
  const userns = userMappings(options?.usernsOptions);
  if (userns !== undefined) {
    if (input.usernsPath === undefined) withNewNamespace(spec, "user");
    else withNamespace(spec, "user", input.usernsPath);
    linux.uidMappings = userns.uids;
    linux.gidMappings = userns.gids;
  }
  if (hostNetwork && userns !== undefined) bindSysfs(spec);

  const bind = ["rbind", "ro", "nosuid", "nodev", "noexec"];
  spec.mounts = [
    ...(spec.mounts ?? []).filter((m) => m.destination !== "/run" && m.destination !== "/dev/shm"),
    {
      destination: "/dev/shm",
      source: hostIpc ? "/dev/shm" : join(input.stateDir, POD_FILES.shm),
      type: "bind",
      options: bind,
    },
    // for runtimes that make a machine of the pod
    {
      destination: "/etc/resolv.conf",
      source: join(input.stateDir, POD_FILES.resolvConf),
      type: "bind",
      options: bind,
    },
  ];

  if (input.labels.processLabel !== "") process.selinuxLabel = input.labels.processLabel;
  if (input.labels.mountLabel !== "") linux.mountLabel = input.labels.mountLabel;
  linux.sysctl = podSysctls(config, { settings, host, hostNetwork, hostIpc, userns: userns !== undefined });
  resourcesOf(spec).cpu = { shares: SANDBOX_SHARES };
  process.oomScoreAdj = oomScore(SANDBOX_OOM_SCORE, host, settings);
  const seccomp = profileOf(
    context?.seccomp,
    context?.seccompProfilePath || settings.unsetSeccompProfile,
    "seccomp",
  );
  withSeccomp(spec, await loadSeccomp(seccomp, context?.privileged === true, host.seccomp));
  spec.annotations = Object.fromEntries(annotations(input));
  withLowestVersion(spec, handler.features.ociVersionMax);
  return spec;
}

function annotations(input: SandboxSpecInput): [string, string][] {
  const { config } = input;
  const resources = config.linux?.resources;
  const sizes: [string, string][] =
    resources === undefined
      ? []
      : [
          [ANNOTATION.sandboxCpuPeriod, resources.cpuPeriod.toString()],
          [ANNOTATION.sandboxCpuQuota, resources.cpuQuota.toString()],
          [ANNOTATION.sandboxCpuShares, resources.cpuShares.toString()],
          [ANNOTATION.sandboxMemory, resources.memoryLimitInBytes.toString()],
        ];
  return [
    ...sizes,
    ...passedAnnotations(config.annotations, input.handler.podAnnotations),
    // last: a request cannot replace these
    ...podAnnotations(input.id, config),
    [ANNOTATION.sandboxLogDir, config.logDirectory],
    [ANNOTATION.sandboxImage, input.imageName],
    [ANNOTATION.containerType, "sandbox"],
  ];
}
