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
