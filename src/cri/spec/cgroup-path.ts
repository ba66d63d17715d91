/** Where a container's cgroup is. */
import { posix } from "node:path";

/**
 * `cgroupsPath` of a spec: below the pod's parent group, or in the way the systemd driver writes it (`slice:prefix:name`).
 * @param parent `cgroup_parent` of the pod, "" when none is asked for
 */
export function cgroupsPath(parent: string, id: string, namespace: string, systemd: boolean): string {
  const base = posix.basename(parent);
  if (base.endsWith(".slice")) return `${base}:cri-containerd:${id}`;
  // systemd groups live in slices only
  if (systemd) return `system.slice:cri-containerd:${id}`;
  return posix.join("/", parent === "" ? namespace : parent, id);
}
