/** Mounts of a container: defaults, the pod's files, volumes, and those of the request. */
import { stat } from "node:fs/promises";
import { join, posix } from "node:path";
import type { IDMapping, Mount } from "../../api/gen/cri/runtime/v1/api_pb.ts";
import { failedPrecondition, invalidArgument } from "../../core/errors.ts";
import { linuxOf } from "../../oci/spec/options.ts";
import type { Spec, SpecMount } from "../../oci/spec/types.ts";
import { type MountInfo, readMountInfo } from "../../platform/mounts/mountinfo.ts";
import { bindSource } from "./bind-source.ts";
import { NAMESPACE_MODE, POD_FILES, PROPAGATION } from "./constants.ts";
import type { ContainerSpecInput } from "./input.ts";
import { mountOf } from "./mount-table.ts";
import { idMappings } from "./userns.ts";

/** A bind mount before its source was looked at. */
export interface BindMount {
  readonly containerPath: string;
  readonly hostPath: string;
  readonly readonly: boolean;
  readonly recursiveReadOnly: boolean;
  readonly propagation: number;
  readonly selinuxRelabel: boolean;
  readonly uidMappings: readonly IDMapping[];
  readonly gidMappings: readonly IDMapping[];
  /** The engine owns the source: it is there, and no link. */
  readonly ours?: boolean | undefined;
}

/** How sources are looked at. */
export interface MountLook {
  /** Mounts of this process, read once when first wanted. */
  readonly mounts: () => readonly MountInfo[];
  /** Sets the SELinux label of a source. */
  readonly relabel: (path: string, label: string) => Promise<void>;
  /** Resolves the source of a bind mount, making a folder when nothing is there. */
  readonly source: (path: string) => Promise<string>;
}

/** Path in the container, without doubled slashes, dots and a slash at the end. */
export function cleanPath(path: string): string {
  const clean = posix.normalize(path.startsWith("/") ? path : `/${path}`);
  return clean.length > 1 && clean.endsWith("/") ? clean.slice(0, -1) : clean;
}

/** Does the request mount something at this place? */
export function isMounted(path: string, mounts: readonly { readonly containerPath: string }[]): boolean {
  return mounts.some((m) => cleanPath(m.containerPath) === cleanPath(path));
}

/** The pod's files that the request does not replace. Those that are not there are left out. */
export async function podMounts(input: ContainerSpecInput): Promise<BindMount[]> {
  const { config, pod } = input;
  const context = config.linux?.securityContext;
  const readonly = context?.readonlyRootfs === true;
  const hostIpc = (context?.namespaceOptions?.ipc as number | undefined) === NAMESPACE_MODE.node;
  const file = (containerPath: string, name: string): BindMount => ({
    containerPath,
    hostPath: join(pod.stateDir, name),
    readonly,
    recursiveReadOnly: false,
    propagation: PROPAGATION.private,
    selinuxRelabel: true,
    // made for this pod: its root owns them as they are, so nothing is shifted
    uidMappings: [],
    gidMappings: [],
    ours: true,
  });
  const all: BindMount[] = [
    file("/etc/hostname", POD_FILES.hostname),
    file("/etc/hosts", POD_FILES.hosts),
    file("/etc/resolv.conf", POD_FILES.resolvConf),
    {
      ...file("/dev/shm", POD_FILES.shm),
      ...(hostIpc ? { hostPath: "/dev/shm", selinuxRelabel: false } : {}),
      readonly: false,
    },
  ];
  const wanted = all.filter((m) => !isMounted(m.containerPath, config.mounts));
  const there = await Promise.all(wanted.map((m) => exists(m.hostPath)));
  return wanted.filter((_m, i) => there[i] === true);
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

/** The mounts of the request; image mounts get the folders that were prepared for them. @throws invalid-argument */
export function requestedMounts(
  mounts: readonly Mount[],
  images: ReadonlyMap<number, string> | undefined,
): BindMount[] {
  return mounts.map((m, i): BindMount => {
    if (m.containerPath === "" || m.containerPath.includes("\0"))
      throw invalidArgument(`mount of "${m.hostPath}": container path "${m.containerPath}" is not usable`);
    const common = {
      containerPath: m.containerPath,
      readonly: m.readonly,
      recursiveReadOnly: m.recursiveReadOnly,
      propagation: m.propagation as number,
      selinuxRelabel: m.selinuxRelabel,
    };
    if (m.image !== undefined) {
      const hostPath = images?.get(i);
      if (hostPath === undefined)
        throw invalidArgument(`image mount at "${m.containerPath}": was not prepared`);
      // owners are shifted below already, by the snapshotter
      return { ...common, hostPath, uidMappings: [], gidMappings: [], ours: true };
    }
    if (m.hostPath === "" || m.hostPath.includes("\0"))
      throw invalidArgument(`mount at "${m.containerPath}": host path "${m.hostPath}" is not usable`);
    return { ...common, hostPath: m.hostPath, uidMappings: m.uidMappings, gidMappings: m.gidMappings };
  });
}

/**
 * Lays `binds` over the default mounts: a default at the same place goes, and with a mount at /dev everything below it. Mounts
 * with fewer path parts come first, so that none hides another.
 * @throws failed-precondition, invalid-argument
 */
export async function withMounts(
  spec: Spec,
  binds: readonly BindMount[],
  input: ContainerSpecInput,
  mountLabel: string,
  look: MountLook,
): Promise<void> {
  const taken = new Set(binds.map((b) => cleanPath(b.containerPath)));
  const defaults = [...(spec.mounts ?? []), cgroupMount(spec, input, look)].filter((m) => {
    const place = cleanPath(m.destination);
    return !taken.has(place) && !(taken.has("/dev") && place.startsWith("/dev/"));
  });
  const parts = (b: BindMount): number => cleanPath(b.containerPath).split("/").length;
  const sorted = binds.toSorted((a, b) => parts(a) - parts(b));
  const linux = linuxOf(spec);
  const made: SpecMount[] = [];
  for (const bind of sorted) {
    const source = bind.ours === true ? bind.hostPath : await look.source(bind.hostPath);
    const options = ["rbind", propagation(bind, source, linux, look), ...access(bind, input)];
    if (bind.selinuxRelabel && mountLabel !== "") await look.relabel(source, mountLabel);
    const uids = idMappings(bind.uidMappings, "UID");
    const gids = idMappings(bind.gidMappings, "GID");
    made.push({
      destination: bind.containerPath,
      source,
      type: "bind",
      options,
      ...(uids.length === 0 ? {} : { uidMappings: uids }),
      ...(gids.length === 0 ? {} : { gidMappings: gids }),
    });
  }
  spec.mounts = [...defaults, ...made];
}

/** Options of the host's cgroup2 mount that a mount in the host's cgroup namespace must repeat, or the host loses them. */
const CGROUP2_OPTIONS = ["nsdelegate", "memory_recursiveprot"];

function cgroupMount(spec: Spec, input: ContainerSpecInput, look: MountLook): SpecMount {
  const own = spec.linux?.namespaces?.some((n) => n.type === "cgroup") === true;
  // the list of all mounts is long on a full node, and only cgroup v2 has these options
  const host =
    own || !input.host.cgroupV2 ? undefined : look.mounts().findLast((m) => m.target === "/sys/fs/cgroup");
  return {
    destination: "/sys/fs/cgroup",
    source: "cgroup",
    type: "cgroup",
    options: [
      "nosuid",
      "noexec",
      "nodev",
      "relatime",
      input.handler.cgroupWritable ? "rw" : "ro",
      ...CGROUP2_OPTIONS.filter((option) => host?.superOptions.includes(option)),
    ],
  };
}

function access(bind: BindMount, input: ContainerSpecInput): string[] {
  const where = `(hostPath="${bind.hostPath}")`;
  if (!bind.readonly) {
    if (bind.recursiveReadOnly)
      throw invalidArgument(`recursive read-only mount conflicts with RW mount ${where}`);
    return ["rw"];
  }
  if (!bind.recursiveReadOnly) return ["ro"];
  if (!input.handler.features.recursiveReadOnlyMounts)
    // the kubelet looks for this word
    throw failedPrecondition(
      `RROUnsupported: runtime handler does not support recursive read-only mounts ${where}`,
    );
  if (bind.propagation !== PROPAGATION.private)
    throw invalidArgument(`recursive read-only mount needs private propagation ${where}`);
  return ["rro"];
}

function propagation(
  bind: BindMount,
  source: string,
  linux: NonNullable<Spec["linux"]>,
  look: MountLook,
): string {
  if (bind.propagation === PROPAGATION.bidirectional) {
    checkPropagation(source, look, ["shared:"], "shared");
    linux.rootfsPropagation = "rshared";
    return "rshared";
  }
  if (bind.propagation === PROPAGATION.hostToContainer) {
    checkPropagation(source, look, ["shared:", "master:"], "shared or slave");
    if (linux.rootfsPropagation !== "rshared") linux.rootfsPropagation = "rslave";
    return "rslave";
  }
  return "rprivate";
}

function checkPropagation(source: string, look: MountLook, wanted: readonly string[], word: string): void {
  const mount = mountOf(source, look.mounts());
  if (mount?.propagation.some((p) => wanted.some((w) => p.startsWith(w))) === true) return;
  throw failedPrecondition(
    `path "${source}" is mounted on "${mount?.target ?? "/"}" but it is not a ${word} mount`,
  );
}

/** The usual {@link MountLook}. */
export function hostLook(relabel: MountLook["relabel"], signal: AbortSignal | undefined): MountLook {
  let cached: readonly MountInfo[] | undefined;
  const mounts = (): readonly MountInfo[] => {
    cached ??= readMountInfo();
    return cached;
  };
  return { mounts, relabel, source: (path) => bindSource(path, mounts(), signal) };
}
