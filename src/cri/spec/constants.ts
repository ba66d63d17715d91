/** Numbers of CRI's enumerations (the generated module is used for its types only) and words that runtimes read. */

export const NAMESPACE_MODE = { pod: 0, container: 1, node: 2, target: 3 } as const;
export const PROFILE = { runtimeDefault: 0, unconfined: 1, localhost: 2 } as const;
export const PROPAGATION = { private: 0, hostToContainer: 1, bidirectional: 2 } as const;
export const GROUPS_POLICY = { merge: 0, strict: 1 } as const;

/** Annotations that OCI runtimes (VM based ones above all) and NRI plugins read in a spec. */
export const ANNOTATION = {
  containerType: "io.kubernetes.cri.container-type",
  sandboxId: "io.kubernetes.cri.sandbox-id",
  sandboxName: "io.kubernetes.cri.sandbox-name",
  sandboxNamespace: "io.kubernetes.cri.sandbox-namespace",
  sandboxUid: "io.kubernetes.cri.sandbox-uid",
  sandboxLogDir: "io.kubernetes.cri.sandbox-log-directory",
  sandboxImage: "io.kubernetes.cri.podsandbox.image-name",
  sandboxCpuPeriod: "io.kubernetes.cri.sandbox-cpu-period",
  sandboxCpuQuota: "io.kubernetes.cri.sandbox-cpu-quota",
  sandboxCpuShares: "io.kubernetes.cri.sandbox-cpu-shares",
  sandboxMemory: "io.kubernetes.cri.sandbox-memory",
  containerName: "io.kubernetes.cri.container-name",
  imageName: "io.kubernetes.cri.image-name",
} as const;

/** Name of the AppArmor profile of containers that ask for the runtime's default. */
export const APPARMOR_DEFAULT = "cri-containerd.apparmor.d";

/** oom_score_adj of the pod's own process: it goes last. */
export const SANDBOX_OOM_SCORE = -998;

/** Files of a pod's state directory; bind-mounted into its containers. */
export const POD_FILES = {
  hostname: "hostname",
  hosts: "hosts",
  resolvConf: "resolv.conf",
  shm: "shm",
} as const;
