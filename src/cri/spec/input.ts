/** What the builders of specs are told: the request, the pod, the configuration, the machine. */
import type { ContainerConfig, PodSandboxConfig } from "../../api/gen/cri/runtime/v1/api_pb.ts";
import type { Mount } from "../../core/mounts/mount.ts";
import type { ImageRunConfig } from "../../oci/spec/options.ts";
import type { Spec } from "../../oci/spec/types.ts";

/** Keys of the CRI runtime configuration that change specs; named as in the file, in camel case. */
export interface SpecSettings {
  readonly enableSelinux: boolean;
  readonly selinuxCategoryRange: number;
  readonly disableApparmor: boolean;
  readonly restrictOomScoreAdj: boolean;
  readonly disableProcMount: boolean;
  /** Seccomp profile of containers that ask for none: "", "runtime/default", "unconfined" or "localhost/PATH". */
  readonly unsetSeccompProfile: string;
  readonly tolerateMissingHugetlbController: boolean;
  readonly disableHugetlbController: boolean;
  readonly deviceOwnershipFromSecurityContext: boolean;
  readonly ignoreImageDefinedVolumes: boolean;
  readonly enableUnprivilegedPorts: boolean;
  readonly enableUnprivilegedIcmp: boolean;
  readonly enableCdi: boolean;
  readonly cdiSpecDirs: readonly string[];
  readonly ignoreBlockioNotEnabledErrors: boolean;
  readonly ignoreRdtNotEnabledErrors: boolean;
  /** Files of class definitions; "" or undefined = off. See {@link ./classes.ts}. */
  readonly blockioConfigFile?: string | undefined;
  readonly rdtConfigFile?: string | undefined;
}

/** containerd's defaults. */
export const defaultSpecSettings: SpecSettings = {
  enableSelinux: false,
  selinuxCategoryRange: 1024,
  disableApparmor: false,
  restrictOomScoreAdj: false,
  disableProcMount: false,
  unsetSeccompProfile: "",
  tolerateMissingHugetlbController: true,
  disableHugetlbController: true,
  deviceOwnershipFromSecurityContext: false,
  ignoreImageDefinedVolumes: false,
  enableUnprivilegedPorts: true,
  enableUnprivilegedIcmp: true,
  enableCdi: true,
  cdiSpecDirs: ["/etc/cdi", "/var/run/cdi"],
  ignoreBlockioNotEnabledErrors: false,
  ignoreRdtNotEnabledErrors: false,
};

/** The runtime handler of a pod. */
export interface HandlerSettings {
  /** `SystemdCgroup` of its options. */
  readonly systemdCgroup: boolean;
  /** Globs of annotations that are passed on to the OCI runtime. */
  readonly podAnnotations: readonly string[];
  readonly containerAnnotations: readonly string[];
  readonly privilegedWithoutHostDevices: boolean;
  readonly privilegedWithoutHostDevicesAllDevicesAllowed: boolean;
  readonly cgroupWritable: boolean;
  /** The parsed `base_runtime_spec` file; never changed. */
  readonly baseRuntimeSpec?: Spec | undefined;
  readonly features: RuntimeFeatures;
}

/** What the OCI runtime can do (`runc features`). */
export interface RuntimeFeatures {
  /** Highest version of the runtime specification it takes; "" when unknown. */
  readonly ociVersionMax: string;
  /** Recursive read-only mounts: the `rro` mount option and Linux 5.12. */
  readonly recursiveReadOnlyMounts: boolean;
  /** Mounts with id mappings. */
  readonly idmapMounts: boolean;
}

export const noFeatures: RuntimeFeatures = {
  ociVersionMax: "",
  recursiveReadOnlyMounts: false,
  idmapMounts: false,
};

/** containerd's defaults for a handler. */
export const defaultHandlerSettings: HandlerSettings = {
  systemdCgroup: false,
  podAnnotations: [],
  containerAnnotations: [],
  privilegedWithoutHostDevices: false,
  privilegedWithoutHostDevicesAllDevicesAllowed: false,
  cgroupWritable: false,
  features: noFeatures,
};

/** Facts of the machine; {@link ./host.ts} finds them. */
export interface HostFacts {
  /** Unified cgroups (v2) at /sys/fs/cgroup. */
  readonly cgroupV2: boolean;
  readonly swapController: boolean;
  readonly hugetlbController: boolean;
  readonly seccomp: boolean;
  readonly apparmor: boolean;
  readonly selinux: boolean;
  /** The daemon itself runs in a user namespace. */
  readonly inUserNamespace: boolean;
  /** What the daemon can give at most. */
  readonly capabilities: readonly string[];
  /** The daemon's own oom_score_adj, and whether the kernel lets it go below. */
  readonly oomScoreAdj: number;
  readonly canLowerOomScore: boolean;
  readonly hostname: string;
}

/** What of an image matters to a spec. */
export interface SpecImage extends ImageRunConfig {
  /** Folders that get a volume of their own. */
  readonly volumes: readonly string[];
}

/** SELinux labels; both "" where the kernel has none. */
export interface SelinuxLabels {
  readonly processLabel: string;
  readonly mountLabel: string;
}

/** What {@link buildSandboxSpec} needs. */
export interface SandboxSpecInput {
  /** containerd namespace, `k8s.io`. */
  readonly namespace: string;
  readonly id: string;
  readonly config: PodSandboxConfig;
  /** Pause image. */
  readonly image: ImageRunConfig;
  readonly imageName: string;
  /** Path of the pod's network namespace; "" = the runtime makes one. Not used on the host's network. */
  readonly netnsPath: string;
  /** Path of a pinned user namespace; undefined = the runtime makes one (when the pod asks for one). */
  readonly usernsPath?: string | undefined;
  /** Directory with `resolv.conf` and `shm`. */
  readonly stateDir: string;
  readonly labels: SelinuxLabels;
  readonly settings: SpecSettings;
  readonly handler: HandlerSettings;
  readonly host: HostFacts;
}

/** The pod as its containers see it. */
export interface SpecPod extends SelinuxLabels {
  readonly id: string;
  readonly config: PodSandboxConfig;
  /** Process whose namespaces are shared. */
  readonly pid: number;
  /** Paths of pinned namespaces (`network`, `ipc`, `uts`, `pid`, `user`) that are used instead of /proc/PID/ns. */
  readonly namespacePaths?: Readonly<Record<string, string>> | undefined;
  /** Directory with `hostname`, `hosts`, `resolv.conf`, `shm`; files that are not there are not mounted. */
  readonly stateDir: string;
}

/** What {@link buildContainerSpec} needs. */
export interface ContainerSpecInput {
  /** containerd namespace, `k8s.io`. */
  readonly namespace: string;
  readonly id: string;
  readonly config: ContainerConfig;
  readonly pod: SpecPod;
  readonly image: SpecImage;
  /** Reference as the user gave it, for the annotation. */
  readonly imageName: string;
  /** Mounts of the container's snapshot: looked into (user database, volumes), never written. */
  readonly rootfs: readonly Mount[];
  /** The container's own directory in the engine's root; volumes of the image are made in `volumes/` there. */
  readonly rootDir: string;
  /** Process of the container whose PID namespace is joined (mode TARGET); checked by the caller. */
  readonly targetPid?: number | undefined;
  /** Host folders of CRI image mounts, by position in `config.mounts`; prepared by {@link ../images/mounts.ts}. */
  readonly imageMounts?: ReadonlyMap<number, string> | undefined;
  readonly settings: SpecSettings;
  readonly handler: HandlerSettings;
  readonly host: HostFacts;
  /** Ends slow looks at volumes. */
  readonly signal?: AbortSignal | undefined;
  readonly warn?: ((message: string) => void) | undefined;
}
