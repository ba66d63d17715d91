/** Settings of CRI: the tables `io.containerd.cri.v1.runtime` and `io.containerd.grpc.v1.cri`, parsed. */
import { invalidArgument } from "../core/errors.ts";
import { parseDuration } from "../lib/human.ts";
import { Table } from "./config-table.ts";

/** One entry of `containerd.runtimes`. */
export interface RuntimeHandler {
  readonly name: string;
  /** Runtime name, such as `io.containerd.runc.v2`. */
  readonly type: string;
  /** Absolute path of a shim instead of the one the type resolves to; "" = none. */
  readonly path: string;
  /** Annotations (globs) that are passed on to the spec. */
  readonly podAnnotations: readonly string[];
  readonly containerAnnotations: readonly string[];
  readonly privilegedWithoutHostDevices: boolean;
  readonly privilegedWithoutHostDevicesAllDevicesAllowed: boolean;
  readonly cgroupWritable: boolean;
  /** Path of a spec (JSON) to start from; "" = the built-in one. */
  readonly baseRuntimeSpec: string;
  /** Own CNI configuration; "" = the common one. */
  readonly cniConfDir: string;
  readonly cniMaxConfNum: number;
  /** "" = that of the image settings. */
  readonly snapshotter: string;
  readonly sandboxer: string;
  readonly disablePauseImagePull: boolean;
  readonly ioType: "" | "fifo" | "streaming";
  /** As written: fields of runc's options, or of runtimeoptions for other types. */
  readonly options: Readonly<Record<string, unknown>>;
  /** True when the runtime puts containers into scopes of systemd. */
  readonly systemdCgroup: boolean;
}

/** Settings of CNI. */
export interface CniConfig {
  readonly binDirs: readonly string[];
  readonly confDir: string;
  /** Files loaded; 0 = all. */
  readonly maxConfNum: number;
  readonly setupSerially: boolean;
  readonly confTemplate: string;
  readonly ipPref: "" | "ipv4" | "ipv6" | "cni";
  readonly useInternalLoopback: boolean;
}

/** The table `io.containerd.cri.v1.runtime`. Times in milliseconds. */
export interface RuntimeConfig {
  readonly enableSelinux: boolean;
  readonly selinuxCategoryRange: number;
  /** Bytes; 0 or less = no limit. */
  readonly maxContainerLogLineSize: number;
  readonly disableApparmor: boolean;
  readonly restrictOomScoreAdj: boolean;
  readonly disableProcMount: boolean;
  readonly unsetSeccompProfile: string;
  readonly tolerateMissingHugetlbController: boolean;
  readonly disableHugetlbController: boolean;
  readonly deviceOwnershipFromSecurityContext: boolean;
  readonly ignoreImageDefinedVolumes: boolean;
  readonly netnsMountsUnderStateDir: boolean;
  readonly enableUnprivilegedPorts: boolean;
  readonly enableUnprivilegedIcmp: boolean;
  readonly enableCdi: boolean;
  readonly cdiSpecDirs: readonly string[];
  readonly drainExecSyncIoTimeout: number;
  readonly ignoreDeprecationWarnings: readonly string[];
  readonly statsCollectPeriod: number;
  readonly statsRetentionPeriod: number;
  readonly enableCriu: boolean;
  /** Ours: pods without a process of their own; their namespaces are pinned. */
  readonly pinPodNamespaces: boolean;
  readonly ignoreBlockioNotEnabledErrors: boolean;
  readonly ignoreRdtNotEnabledErrors: boolean;
  readonly defaultRuntimeName: string;
  readonly handlers: ReadonlyMap<string, RuntimeHandler>;
  readonly cni: CniConfig;
  /** The table with all defaults, for `crictl info`. */
  readonly table: Readonly<Record<string, unknown>>;
}

/** Keys of `io.containerd.cri.v1.runtime` with their defaults. */
export const runtimeDefaults: Readonly<Record<string, unknown>> = {
  enable_selinux: false,
  selinux_category_range: 1024,
  max_container_log_line_size: 16384,
  disable_apparmor: false,
  restrict_oom_score_adj: false,
  disable_proc_mount: false,
  unset_seccomp_profile: "",
  tolerate_missing_hugetlb_controller: true,
  disable_hugetlb_controller: true,
  device_ownership_from_security_context: false,
  ignore_image_defined_volumes: false,
  netns_mounts_under_state_dir: false,
  enable_unprivileged_ports: true,
  enable_unprivileged_icmp: true,
  enable_cdi: true,
  cdi_spec_dirs: ["/etc/cdi", "/var/run/cdi"],
  drain_exec_sync_io_timeout: "0s",
  ignore_deprecation_warnings: [],
  stats_collect_period: "",
  stats_retention_period: "",
  enable_criu: true,
  pin_pod_namespaces: false,
  containerd: {
    default_runtime_name: "runc",
    ignore_blockio_not_enabled_errors: false,
    ignore_rdt_not_enabled_errors: false,
    runtimes: {},
  },
  cni: {
    bin_dir: "",
    bin_dirs: ["/opt/cni/bin"],
    conf_dir: "/etc/cni/net.d",
    max_conf_num: 1,
    setup_serially: false,
    conf_template: "",
    ip_pref: "",
    use_internal_loopback: false,
  },
};

/**
 * Keys that a reload takes: looked at when a pod or a container is made or started. Not what running pods depend on (handlers,
 * networks, SELinux' ranges), nor what is read once.
 */
export const runtimeLive: readonly string[] = [
  "max_container_log_line_size",
  "disable_apparmor",
  "restrict_oom_score_adj",
  "disable_proc_mount",
  "unset_seccomp_profile",
  "tolerate_missing_hugetlb_controller",
  "disable_hugetlb_controller",
  "device_ownership_from_security_context",
  "ignore_image_defined_volumes",
  "enable_unprivileged_ports",
  "enable_unprivileged_icmp",
  "enable_cdi",
  "cdi_spec_dirs",
  "ignore_deprecation_warnings",
  "enable_criu",
  "pin_pod_namespaces",
];

/** Keys of one handler with their defaults. */
export const handlerDefaults: Readonly<Record<string, unknown>> = {
  runtime_type: "io.containerd.runc.v2",
  runtime_path: "",
  pod_annotations: [],
  container_annotations: [],
  privileged_without_host_devices: false,
  privileged_without_host_devices_all_devices_allowed: false,
  cgroup_writable: false,
  base_runtime_spec: "",
  cni_conf_dir: "",
  cni_max_conf_num: 0,
  snapshotter: "",
  sandboxer: "podsandbox",
  disable_pause_image_pull: false,
  io_type: "",
  options: {},
};

/** Parses the table. @throws invalid-argument naming the key */
export function parseRuntimeConfig(given: Readonly<Record<string, unknown>>): RuntimeConfig {
  const t = new Table(given, runtimeDefaults);
  const containerd = t.table("containerd", runtimeDefaults["containerd"]);
  const runtimes = containerd.tables("runtimes");
  const handlers = new Map([...runtimes].map(([name, table]) => [name, parseHandler(name, table)]));
  const defaultRuntimeName = containerd.text("default_runtime_name");
  if (handlers.size === 0) handlers.set("runc", parseHandler("runc", {}));
  if (!handlers.has(defaultRuntimeName))
    throw invalidArgument(
      `containerd.default_runtime_name "${defaultRuntimeName}": no such entry in containerd.runtimes`,
    );
  const unset = t.text("unset_seccomp_profile");
  const cni = t.table("cni", runtimeDefaults["cni"]);
  const oldBin = cni.text("bin_dir");
  const ipPref = cni.oneOf("ip_pref", ["", "ipv4", "ipv6", "cni"] as const);
  return {
    enableSelinux: t.flag("enable_selinux"),
    selinuxCategoryRange: t.whole("selinux_category_range"),
    maxContainerLogLineSize: t.whole("max_container_log_line_size", Number.MIN_SAFE_INTEGER),
    disableApparmor: t.flag("disable_apparmor"),
    restrictOomScoreAdj: t.flag("restrict_oom_score_adj"),
    disableProcMount: t.flag("disable_proc_mount"),
    unsetSeccompProfile: unset,
    tolerateMissingHugetlbController: t.flag("tolerate_missing_hugetlb_controller"),
    disableHugetlbController: t.flag("disable_hugetlb_controller"),
    deviceOwnershipFromSecurityContext: t.flag("device_ownership_from_security_context"),
    ignoreImageDefinedVolumes: t.flag("ignore_image_defined_volumes"),
    netnsMountsUnderStateDir: t.flag("netns_mounts_under_state_dir"),
    enableUnprivilegedPorts: t.flag("enable_unprivileged_ports"),
    enableUnprivilegedIcmp: t.flag("enable_unprivileged_icmp"),
    enableCdi: t.flag("enable_cdi"),
    cdiSpecDirs: t.texts("cdi_spec_dirs"),
    drainExecSyncIoTimeout: duration(t, "drain_exec_sync_io_timeout", 0),
    ignoreDeprecationWarnings: t.texts("ignore_deprecation_warnings"),
    statsCollectPeriod: duration(t, "stats_collect_period", 1_000),
    statsRetentionPeriod: duration(t, "stats_retention_period", 120_000),
    enableCriu: t.flag("enable_criu"),
    pinPodNamespaces: t.flag("pin_pod_namespaces"),
    ignoreBlockioNotEnabledErrors: containerd.flag("ignore_blockio_not_enabled_errors"),
    ignoreRdtNotEnabledErrors: containerd.flag("ignore_rdt_not_enabled_errors"),
    defaultRuntimeName,
    handlers,
    cni: {
      binDirs: oldBin === "" ? cni.texts("bin_dirs") : [oldBin],
      confDir: cni.text("conf_dir"),
      maxConfNum: cni.whole("max_conf_num"),
      setupSerially: cni.flag("setup_serially"),
      confTemplate: cni.text("conf_template"),
      ipPref,
      useInternalLoopback: cni.flag("use_internal_loopback"),
    },
    table: { ...t.merged, containerd: containerd.merged, cni: cni.merged },
  };
}

function parseHandler(name: string, given: Readonly<Record<string, unknown>>): RuntimeHandler {
  const t = new Table(given, handlerDefaults, `containerd.runtimes.${name}.`);
  const options = t.merged["options"];
  const table =
    typeof options === "object" && options !== null ? (options as Readonly<Record<string, unknown>>) : {};
  return {
    name,
    type: t.text("runtime_type"),
    path: t.text("runtime_path"),
    podAnnotations: t.texts("pod_annotations"),
    containerAnnotations: t.texts("container_annotations"),
    privilegedWithoutHostDevices: t.flag("privileged_without_host_devices"),
    privilegedWithoutHostDevicesAllDevicesAllowed: t.flag(
      "privileged_without_host_devices_all_devices_allowed",
    ),
    cgroupWritable: t.flag("cgroup_writable"),
    baseRuntimeSpec: t.text("base_runtime_spec"),
    cniConfDir: t.text("cni_conf_dir"),
    cniMaxConfNum: t.whole("cni_max_conf_num"),
    snapshotter: t.text("snapshotter"),
    sandboxer: t.text("sandboxer"),
    disablePauseImagePull: t.flag("disable_pause_image_pull"),
    ioType: t.oneOf("io_type", ["", "fifo", "streaming"] as const),
    options: table,
    systemdCgroup: table["SystemdCgroup"] === true,
  };
}

/** The table `io.containerd.grpc.v1.cri`. */
export interface ServerConfig {
  readonly disableTcpService: boolean;
  readonly streamServerAddress: string;
  readonly streamServerPort: number;
  /** Milliseconds. */
  readonly streamIdleTimeout: number;
  readonly enableTlsStreaming: boolean;
  readonly tlsCertFile: string;
  readonly tlsKeyFile: string;
}

/** Keys of `io.containerd.grpc.v1.cri` with their defaults. */
export const serverDefaults: Readonly<Record<string, unknown>> = {
  disable_tcp_service: true,
  stream_server_address: "127.0.0.1",
  stream_server_port: "0",
  stream_idle_timeout: "4h0m0s",
  enable_tls_streaming: false,
  x509_key_pair_streaming: { tls_cert_file: "", tls_key_file: "" },
};

/** Parses the table. @throws invalid-argument naming the key */
export function parseServerConfig(given: Readonly<Record<string, unknown>>): ServerConfig {
  const t = new Table(given, serverDefaults);
  const pair = t.table("x509_key_pair_streaming", serverDefaults["x509_key_pair_streaming"]);
  const port = Number(t.text("stream_server_port"));
  if (!Number.isInteger(port) || port < 0 || port > 65535)
    throw invalidArgument(`stream_server_port "${t.text("stream_server_port")}": not a port`);
  return {
    disableTcpService: t.flag("disable_tcp_service"),
    streamServerAddress: t.text("stream_server_address"),
    streamServerPort: port,
    streamIdleTimeout: duration(t, "stream_idle_timeout", 4 * 3_600_000),
    enableTlsStreaming: t.flag("enable_tls_streaming"),
    tlsCertFile: pair.text("tls_cert_file"),
    tlsKeyFile: pair.text("tls_key_file"),
  };
}

function duration(t: Table, key: string, fallbackMs: number): number {
  const text = t.text(key);
  if (text === "") return fallbackMs;
  try {
    return Number(parseDuration(text) / 1_000_000n);
  } catch {
    throw invalidArgument(`${key} "${text}": want a duration such as "10s"`);
  }
}
