/** The spec of a container in a pod. */
import { defaultSpec } from "../../oci/spec/default.ts";
import { linuxOf, processOf, resourcesOf } from "../../oci/spec/options.ts";
import type { Spec } from "../../oci/spec/types.ts";
import { passedAnnotations, podAnnotations } from "./annotations.ts";
import { hostAppArmor } from "./apparmor.ts";
import { cgroupsPath } from "./cgroup-path.ts";
import { withClasses } from "./classes.ts";
import { ANNOTATION, NAMESPACE_MODE } from "./constants.ts";
import { withCdiDevices, withDevices } from "./devices.ts";
import type { ContainerSpecInput } from "./input.ts";
import { hostLook, podMounts, requestedMounts, withMounts } from "./mounts.ts";
import { bindSysfs, withNewNamespace, withPodNamespaces } from "./namespaces.ts";
import { commandOf, environmentOf, folderOf } from "./process.ts";
import { loadSeccomp, profileOf, withAppArmor, withSeccomp } from "./profiles.ts";
import { applyResources, oomScore } from "./resources.ts";
import { lookIntoRootfs } from "./rootfs.ts";
import { withCapabilities, withPaths, withPrivilege } from "./security.ts";
import { containerLabels, relabel } from "./selinux.ts";
import { needsDatabase, userOf, userText } from "./user.ts";
import { withLowestVersion } from "./version.ts";
import { volumeMounts } from "./volumes.ts";

/**
 * Builds the spec of a container. Makes the folders of the image's volumes below `input.rootDir` and missing sources of bind
 * mounts; whoever fails later removes `rootDir`.
 * @throws invalid-argument, failed-precondition, not-found
 */
export async function buildContainerSpec(input: ContainerSpecInput): Promise<Spec> {
  const { config, image, pod, handler, host, settings } = input;
  const warn = input.warn ?? (() => {});
  const context = config.linux?.securityContext;
  const podContext = pod.config.linux?.securityContext;
  const privileged = context?.privileged === true;
  const spec = startSpec(input);
  const process = processOf(spec);
  const linux = linuxOf(spec);

  spec.root = { path: "rootfs", ...(context?.readonlyRootfs === true ? { readonly: true } : {}) };
  process.args = commandOf(config, image);
  process.cwd = folderOf(config, image);
  if (config.tty) process.terminal = true;
  const hostname = pod.config.hostname === "" ? host.hostname : pod.config.hostname;
  process.env = environmentOf(config, image, hostname);

  // On v1, and for privileged containers, the cgroup tree is seen as the node sees it.
  if (host.cgroupV2 && !privileged) withNewNamespace(spec, "cgroup");
  withPaths(spec, context, settings.disableProcMount);
  await withDevices(spec, config, settings.deviceOwnershipFromSecurityContext);
  withCapabilities(spec, context, host.capabilities);
  const labels = await containerLabels(context?.selinuxOptions, pod, settings, host);
  const volumes = volumeMounts(input);
  const db = await lookIntoRootfs(input.rootfs, {
    database: needsDatabase(context, image.user),
    lenient: /^\d*$/.test(userText(context, image.user)),
    volumes: volumes.map((v) => ({ host: v.hostPath, inside: v.containerPath })),
    signal: input.signal,
  });
  process.user = userOf(context, image.user, db);
  const binds = [
    ...requestedMounts(config.mounts, input.imageMounts),
    ...(await podMounts(input)),
    ...volumes,
  ];
  await withMounts(spec, binds, input, labels.mountLabel, hostLook(relabel, input.signal));
  if (privileged) await withPrivilege(spec, podContext?.privileged === true, handler, host);
  process.noNewPrivileges = context?.noNewPrivs === true;
  if (labels.processLabel !== "") process.selinuxLabel = labels.processLabel;
  if (labels.mountLabel !== "") linux.mountLabel = labels.mountLabel;

  const resources = config.linux?.resources;
  applyResources(resourcesOf(spec), resources, host, settings, warn);
  if (resources !== undefined) process.oomScoreAdj = oomScore(Number(resources.oomScoreAdj), host, settings);
  const parent = pod.config.linux?.cgroupParent ?? "";
  linux.cgroupsPath = cgroupsPath(parent, input.id, input.namespace, handler.systemdCgroup);
  await withClasses(spec, config, pod.config, settings, warn);

  const inUserns = withPodNamespaces(spec, pod, context?.namespaceOptions, input.targetPid);
  const hostNetwork = (podContext?.namespaceOptions?.network as number | undefined) === NAMESPACE_MODE.node;
  if (hostNetwork && inUserns) bindSysfs(spec);

  const apparmor = profileOf(context?.apparmor, context?.apparmorProfile ?? "", "apparmor");
  await withAppArmor(spec, apparmor, privileged, hostAppArmor(host.apparmor && !settings.disableApparmor));
  const seccomp = profileOf(
    context?.seccomp,
    context?.seccompProfilePath || settings.unsetSeccompProfile,
    "seccomp",
  );
  withSeccomp(spec, await loadSeccomp(seccomp, privileged, host.seccomp));
  await withCdiDevices(spec, config, settings, warn);
  spec.annotations = { ...spec.annotations, ...Object.fromEntries(annotations(input)) };
  withLowestVersion(spec, handler.features.ociVersionMax);
  return spec;
}

/** A fresh spec: the administrator's (`base_runtime_spec`), or the default without its rlimits. */
function startSpec(input: ContainerSpecInput): Spec {
  const base = input.handler.baseRuntimeSpec;
  const spec = base === undefined ? defaultSpec(input.namespace, input.id) : structuredClone(base);
  if (base === undefined) delete processOf(spec).rlimits;
  spec.mounts = (spec.mounts ?? []).filter((m) => m.destination !== "/run");
  return spec;
}

function annotations(input: ContainerSpecInput): [string, string][] {
  const { config, pod, handler } = input;
  return [
    ...passedAnnotations(pod.config.annotations, handler.podAnnotations),
    ...passedAnnotations(config.annotations, handler.containerAnnotations),
    // last: a request cannot replace these
    ...podAnnotations(pod.id, pod.config),
    [ANNOTATION.containerName, config.metadata?.name ?? ""],
    [ANNOTATION.imageName, input.imageName],
    [ANNOTATION.containerType, "container"],
  ];
}
