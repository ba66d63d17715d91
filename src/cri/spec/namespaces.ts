/** Namespaces of a container: the pod's, its own, the node's, or another container's. */
import type { NamespaceOption } from "../../api/gen/cri/runtime/v1/api_pb.ts";
import { invalidArgument } from "../../core/errors.ts";
import { linuxOf, withNamespace } from "../../oci/spec/options.ts";
import type { Spec } from "../../oci/spec/types.ts";
import { NAMESPACE_MODE } from "./constants.ts";
import type { SpecPod } from "./input.ts";
import { sameMappings, userMappings } from "./userns.ts";

/** Removes a namespace: the node's is used. */
export function withoutNamespace(spec: Spec, type: string): void {
  const linux = linuxOf(spec);
  linux.namespaces = (linux.namespaces ?? []).filter((n) => n.type !== type);
}

/** Adds a fresh namespace. */
export function withNewNamespace(spec: Spec, type: string): void {
  const linux = linuxOf(spec);
  linux.namespaces = [...(linux.namespaces ?? []).filter((n) => n.type !== type), { type }];
}

/**
 * Joins the namespaces of the pod.
 * @param targetPid process of mode TARGET
 * @returns whether the container is in a user namespace
 * @throws invalid-argument when the user namespace is not the pod's, or the target is missing
 */
export function withPodNamespaces(
  spec: Spec,
  pod: SpecPod,
  options: NamespaceOption | undefined,
  targetPid: number | undefined,
): boolean {
  const path = (type: string, file: string, pid = pod.pid): string =>
    (pid === pod.pid ? pod.namespacePaths?.[type] : undefined) ?? `/proc/${pid}/ns/${file}`;
  withNamespace(spec, "network", path("network", "net"));
  withNamespace(spec, "ipc", path("ipc", "ipc"));
  withNamespace(spec, "uts", path("uts", "uts"));
  const mode: number = options?.pid ?? NAMESPACE_MODE.pod;
  if (mode === NAMESPACE_MODE.target && targetPid === undefined)
    throw invalidArgument("pid namespace mode TARGET: the target container has no process");
  if (mode !== NAMESPACE_MODE.container)
    withNamespace(spec, "pid", path("pid", "pid", mode === NAMESPACE_MODE.target ? targetPid : pod.pid));
  const own = userMappings(options?.usernsOptions);
  const pods = userMappings(pod.config.linux?.securityContext?.namespaceOptions?.usernsOptions);
  if (!sameMappings(own, pods))
    throw invalidArgument("user namespace config for sandbox is different from container");
  if (own === undefined) return false;
  withNamespace(spec, "user", path("user", "user"));
  const linux = linuxOf(spec);
  linux.uidMappings = own.uids;
  linux.gidMappings = own.gids;
  return true;
}

/**
 * On the node's network sysfs cannot be mounted in a user namespace: the node's is bound in its place, read-only all the
 * way down.
 */
export function bindSysfs(spec: Spec): void {
  const options = ["rbind", "rro", "nosuid", "nodev", "noexec"];
  spec.mounts = (spec.mounts ?? []).map((mount) =>
    mount.destination === "/sys" && mount.type === "sysfs"
      ? { destination: "/sys", source: "/sys", type: "bind", options }
      : mount,
  );
}
