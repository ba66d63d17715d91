/** Where a shim listens. The rule is containerd's, so that shims started by either side find each other (grouping). */
import { createHash } from "node:crypto";
import { posix } from "node:path";

/** Folder of the sockets when the daemon does not name one: containerd's own. */
export const DEFAULT_SOCKET_DIR = "/run/containerd/s";

/** Path of the socket of group `group` in a namespace of the daemon at `grpcAddress`. */
export function socketPath(socketDir: string, grpcAddress: string, namespace: string, group: string): string {
  const name = createHash("sha256")
    .update(posix.join(grpcAddress, namespace, group))
    .digest("hex");
  return posix.join(socketDir === "" ? DEFAULT_SOCKET_DIR : socketDir, name);
}

/** Containers with the same value of one of these annotations share a shim; the first that is set counts. */
const GROUP_ANNOTATIONS = ["io.containerd.runc.v2.group", "io.kubernetes.cri.sandbox-id"];

/** Group of a container by the annotations of its spec; its id when it has none. */
export function groupOf(id: string, annotations: Readonly<Record<string, unknown>> | undefined): string {
  for (const name of GROUP_ANNOTATIONS) {
    const value = annotations?.[name];
    if (typeof value === "string" && value !== "") return value;
  }
  return id;
}

/** Group of all containers of a namespace, and of all containers of the daemon (in namespace ""). */
export const SHARED_GROUP = "gantry-shared-shim";
