/**
 * The shape of the configuration file: its top level here, each plugin's table with the plugin's definition, and the
 * tables of plugins that this build has no code for yet (they are accepted and kept, so that one file serves both).
 * An empty table means: any keys.
 */
import type { Table } from "./migrate.ts";

/** Shapes (defaults) of plugin tables by uri. */
export type KnownTables = Readonly<Record<string, Table>>;

/** Default folders and addresses, and the shape of everything outside of `plugins`. */
export const topLevel: Table = {
  version: 4,
  root: "/var/lib/containerd",
  state: "/run/containerd",
  temp: "",
  disabled_plugins: [],
  required_plugins: [],
  oom_score: 0,
  imports: ["/etc/containerd/conf.d/*.toml"],
  debug: { level: "", format: "", log_trace_id: false },
  plugins: {},
  cgroup: { path: "" },
  timeouts: {},
  stream_processors: {},
  proxy_plugins: {},
};

/** Timeouts of the file with their defaults. */
export const timeouts: Readonly<Record<string, string>> = {
  "io.containerd.timeout.bolt.open": "0s",
  "io.containerd.timeout.cri.defercleanup": "1m0s",
  "io.containerd.timeout.metrics.shimstats": "2s",
  "io.containerd.timeout.shim.cleanup": "5s",
  "io.containerd.timeout.shim.load": "5s",
  "io.containerd.timeout.shim.shutdown": "3s",
  "io.containerd.timeout.task.state": "2s",
};

const runcHandler: Table = {
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
  io_type: "",
  options: {
    BinaryName: "",
    CriuImagePath: "",
    CriuWorkPath: "",
    IoGid: 0,
    IoUid: 0,
    NoNewKeyring: false,
    Root: "",
    ShimCgroup: "",
    SystemdCgroup: false,
  },
};

/** Values that `config default` writes where the accepted shape is open (any keys). */
export const openDefaults: KnownTables = {
  "io.containerd.server.v1.grpc": { address: "/run/containerd/containerd.sock" },
  "io.containerd.cri.v1.runtime": { containerd: { runtimes: { runc: runcHandler } } },
  "io.containerd.cri.v1.images": {
    pinned_images: { sandbox: "gantry.local/pause:latest" },
    registry: { config_path: "" },
  },
};

/** Tables accepted although no plugin of this build reads them. */
export const reserved: KnownTables = {
  "io.containerd.cri.v1.images": {
    snapshotter: "overlayfs",
    disable_snapshot_annotations: true,
    discard_unpacked_layers: false,
    max_concurrent_downloads: 3,
    concurrent_layer_fetch_buffer: 0,
    image_pull_progress_timeout: "5m0s",
    image_pull_with_sync_fs: false,
    stats_collect_period: 10,
    use_local_image_pull: false,
    pinned_images: {},
    registry: {},
    image_decryption: { key_model: "node" },
    runtime_platforms: {},
  },
  "io.containerd.cri.v1.runtime": {
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
  },
  "io.containerd.grpc.v1.cri": {
    disable_tcp_service: true,
    stream_server_address: "127.0.0.1",
    stream_server_port: "0",
    stream_idle_timeout: "4h0m0s",
    enable_tls_streaming: false,
    x509_key_pair_streaming: { tls_cert_file: "", tls_key_file: "" },
  },
  "io.containerd.nri.v1.nri": {
    disable: false,
    socket_path: "/var/run/nri/nri.sock",
    plugin_path: "/opt/nri/plugins",
    plugin_config_path: "/etc/nri/conf.d",
    plugin_registration_timeout: "5s",
    plugin_request_timeout: "2s",
    disable_connections: false,
    default_validator: {},
  },
  "io.containerd.internal.v1.opt": { path: "/opt/containerd" },
  "io.containerd.internal.v1.tracing": {},
  "io.containerd.tracing.processor.v1.otlp": {},
  "io.containerd.monitor.container.v1.restart": { interval: "10s" },
  "io.containerd.monitor.task.v1.cgroups": { no_prometheus: false },
  "io.containerd.image-verifier.v1.bindir": {
    bin_dir: "/opt/containerd/image-verifier/bin",
    max_verifiers: 10,
    per_verifier_timeout: "10s",
  },
  "io.containerd.service.v1.tasks-service": { blockio_config_file: "", rdt_config_file: "" },
  "io.containerd.shim.v1.manager": { env: [], socket_dir: "" },
  "io.containerd.server.v1.debug": { address: "", uid: 0, gid: 0 },
  "io.containerd.server.v1.grpc-tcp": {
    address: "",
    tls_ca: "",
    tls_cert: "",
    tls_key: "",
    tls_common_name: "",
    max_recv_message_size: 16777216,
    max_send_message_size: 16777216,
  },
  "io.containerd.snapshotter.v1.blockfile": {
    root_path: "",
    scratch_file: "",
    fs_type: "",
    mount_options: [],
    recreate_scratch: false,
  },
  "io.containerd.snapshotter.v1.btrfs": { root_path: "" },
  "io.containerd.snapshotter.v1.devmapper": {},
  "io.containerd.snapshotter.v1.zfs": { root_path: "" },
  "io.containerd.snapshotter.v1.erofs": {},
  "io.containerd.differ.v1.erofs": {},
  "io.containerd.mount-handler.v1.erofs": {},
};
