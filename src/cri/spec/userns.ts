/** User namespaces of pods: checks of the mappings that CRI gives. */
import type { IDMapping, UserNamespace } from "../../api/gen/cri/runtime/v1/api_pb.ts";
import type { Labels } from "../../core/any.ts";
import { invalidArgument } from "../../core/errors.ts";
import type { IdMapping } from "../../oci/spec/types.ts";
import { NAMESPACE_MODE } from "./constants.ts";

/** Mappings of a pod with a user namespace of its own. */
export interface UserMappings {
  readonly uids: IdMapping[];
  readonly gids: IdMapping[];
}

/** @returns undefined when the host's user namespace is used. @throws invalid-argument */
export function userMappings(userns: UserNamespace | undefined): UserMappings | undefined {
  if (userns === undefined) return undefined;
  const uids = idMappings(userns.uids, "UID");
  const gids = idMappings(userns.gids, "GID");
  const mode: number = userns.mode;
  if (mode === NAMESPACE_MODE.node) {
    if (uids.length > 0 || gids.length > 0)
      throw invalidArgument("user namespace configuration: mode NODE cannot have mappings");
    return undefined;
  }
  if (mode !== NAMESPACE_MODE.pod)
    throw invalidArgument(`user namespace configuration: unsupported user namespace mode ${mode}`);
  if (uids.length === 0 || gids.length === 0)
    throw invalidArgument("user namespace configuration: mode POD needs UID and GID mappings");
  return { uids, gids };
}

/** One line at most: snapshots are shifted by one offset. @throws invalid-argument */
export function idMappings(list: readonly IDMapping[], what: string): IdMapping[] {
  if (list.length > 1)
    throw invalidArgument(
      `user namespace configuration: only one mapping line supported, got ${list.length} ${what} mapping lines`,
    );
  return list.map(({ hostId, containerId, length }) => {
    if (length < 1) throw invalidArgument(`user namespace configuration: invalid mapping length ${length}`);
    if (hostId + length > 2 ** 32 || containerId + length > 2 ** 32)
      throw invalidArgument(`user namespace configuration: ${what} mapping leaves the range of ids`);
    return { hostID: hostId, containerID: containerId, size: length };
  });
}

/** The same mappings? Members of a pod must have the pod's. */
export function sameMappings(a: UserMappings | undefined, b: UserMappings | undefined): boolean {
  return JSON.stringify(a ?? null) === JSON.stringify(b ?? null);
}

/** Labels that make a snapshotter shift the owners of a container's files; none without a user namespace. */
export function snapshotLabels(userns: UserNamespace | undefined): Labels {
  const maps = userMappings(userns);
  if (maps === undefined) return new Map();
  const line = (list: readonly IdMapping[]): string =>
    list.map((m) => `${m.containerID}:${m.hostID}:${m.size}`).join(",");
  return new Map([
    ["containerd.io/snapshot/uidmapping", line(maps.uids)],
    ["containerd.io/snapshot/gidmapping", line(maps.gids)],
  ]);
}
