/**
 * What each key of the configuration is for: shown by `config explain`, written over the keys that people edit by
 * `config default`, and turned into docs/configuration.md. Paths are those of version 4, plugin URIs without `plugins.`.
 */

const images = "io.containerd.cri.v1.images";
const runtime = "io.containerd.cri.v1.runtime";
const handler = `${runtime}|containerd|runtimes|runc`;
const cri = "io.containerd.grpc.v1.cri";
const nri = "io.containerd.nri.v1.nri";
const gc = "io.containerd.gc.v1.scheduler";
const transfer = "io.containerd.transfer.v1.local";
const server = "io.containerd.server.v1";
const snapshotter = "io.containerd.snapshotter.v1";

/** Description of a key by its path, parts joined by `|`. A table's own path describes the table. */
export const KEYS: Readonly<Record<string, string>> = {
  version:
    "Version of the file format. Version 3 is what released containerd 2.x writes; 1, 2 and 4 are read too.",
  root: "Images, snapshots and metadata: survives a reboot.",
  state: "Sockets and run-time state: may be lost on reboot.",
  temp: 'Folder for temporary files; "" is the system\'s.',
  disabled_plugins: "Plugins that are not started, by URI.",
  required_plugins: "Plugins without which the daemon does not start, by URI.",
  oom_score: "OOM score of the daemon (-1000 to 1000); its containers have their own.",
  imports: "More files, relative to this one, with patterns; later files win.",
  "debug|level": "trace, debug, info, warn, error, fatal or panic; --log-level wins.",
  "debug|format": "Format of the log: text or json.",
  "debug|log_trace_id": "Write the trace id of a call into its log lines.",
  "cgroup|path":
    "Control group the daemon moves itself into, made when missing; in all controllers of cgroup v1, or in the tree of v2.",
  timeouts: "Longest times of internal steps, by name.",
  "timeouts|io.containerd.timeout.bolt.open": "Time to wait for the metadata database; 0s is for ever.",
  "timeouts|io.containerd.timeout.cri.defercleanup": "Time that the cleanup after a failed pod may take.",
  "timeouts|io.containerd.timeout.metrics.shimstats": "Time that one shim may take to answer for metrics.",
  "timeouts|io.containerd.timeout.shim.cleanup": "Time that the cleanup after a dead shim may take.",
  "timeouts|io.containerd.timeout.shim.load": "Time that a shim may take to answer when the daemon starts.",
  "timeouts|io.containerd.timeout.shim.shutdown": "Time that a shim may take to end.",
  "timeouts|io.containerd.timeout.task.state": "Time that a shim may take to tell a task's state.",
  stream_processors: "Programs that turn one layer media type into another, such as decryption, by name.",
  proxy_plugins:
    "Plugins in other processes, by name: type (snapshot, content, diff, sandbox), address (a unix socket).",

  [`${images}|snapshotter`]: "Snapshotter of pods' containers.",
  [`${images}|disable_snapshot_annotations`]:
    "Do not tell the snapshotter about the image; lazy pulling needs false.",
  [`${images}|discard_unpacked_layers`]:
    "Drop the compressed layer once it is unpacked; it is fetched again on demand.",
  [`${images}|max_concurrent_downloads`]: "Layers of one image fetched at once.",
  [`${images}|concurrent_layer_fetch_buffer`]:
    "Bytes of one range when a large layer is fetched in parallel ranges; 0 lets the engine choose.",
  [`${images}|image_pull_progress_timeout`]: "A pull without any progress for this long is ended.",
  [`${images}|image_pull_with_sync_fs`]:
    "Flush the file system after each layer, beyond what the engine does by itself.",
  [`${images}|stats_collect_period`]: "Seconds between looks at how much space snapshots take.",
  [`${images}|use_local_image_pull`]: "Accepted for compatibility: every pull goes through the one resolver.",
  [`${images}|pinned_images`]: "Images that are never removed by the kubelet's collection, by purpose.",
  [`${images}|pinned_images|sandbox`]:
    "Image of a pod's sandbox. Versions 1 and 2 call this key sandbox_image, which is still accepted.\nThe default is inside the executable: pods start without a registry.",
  [`${images}|registry`]:
    "How registries are reached: config_path, or the older mirrors, configs, auths and headers.",
  [`${images}|registry|config_path`]:
    "Folder of HOST/hosts.toml files (mirrors, CAs, credentials); read again for each pull.",
  [`${images}|image_decryption|key_model`]: "Where keys of encrypted images are: node.",
  [`${images}|runtime_platforms`]: "Platform and snapshotter of images by runtime handler.",

  [`${runtime}|enable_selinux`]: "Give containers SELinux labels where the kernel has SELinux.",
  [`${runtime}|selinux_category_range`]: "Highest category of a label.",
  [`${runtime}|max_container_log_line_size`]: "Bytes after which a log line is split; -1 never splits.",
  [`${runtime}|disable_apparmor`]: "Do not use AppArmor although the kernel has it.",
  [`${runtime}|restrict_oom_score_adj`]:
    "Never ask for a lower OOM score than the daemon's own; done by itself where the kernel refuses.",
  [`${runtime}|disable_proc_mount`]: "Refuse the unmasked proc mount of privileged pods.",
  [`${runtime}|unset_seccomp_profile`]:
    'Profile of containers that name none: "", runtime/default, unconfined or localhost/PATH.',
  [`${runtime}|tolerate_missing_hugetlb_controller`]:
    "Ignore huge page limits where the kernel has no controller for them.",
  [`${runtime}|disable_hugetlb_controller`]: "Never set huge page limits.",
  [`${runtime}|device_ownership_from_security_context`]: "Give devices to the container's user and group.",
  [`${runtime}|ignore_image_defined_volumes`]: "Do not make anonymous volumes for VOLUME of images.",
  [`${runtime}|netns_mounts_under_state_dir`]:
    "Keep network namespaces below the state folder instead of /var/run/netns.",
  [`${runtime}|enable_unprivileged_ports`]: "Containers may bind ports below 1024 without a capability.",
  [`${runtime}|enable_unprivileged_icmp`]: "Containers may ping without a capability.",
  [`${runtime}|enable_cdi`]: "Devices by the Container Device Interface.",
  [`${runtime}|cdi_spec_dirs`]: "Folders of CDI descriptions.",
  [`${runtime}|drain_exec_sync_io_timeout`]:
    "Time to wait for the rest of an exec's output after its end; 0s is for ever.",
  [`${runtime}|ignore_deprecation_warnings`]: "Deprecation warnings that Status does not show.",
  [`${runtime}|stats_collect_period`]: 'Time between samples of CPU use; "" is 1s.',
  [`${runtime}|stats_retention_period`]: 'Time that samples are kept; "" is 2m.',
  [`${runtime}|pin_pod_namespaces`]:
    "Pods have no process of their own: their namespaces are kept by mounts.",
  [`${runtime}|enable_criu`]: "Offer checkpoints where CRIU works.",
  [`${runtime}|containerd|default_runtime_name`]: "Handler of pods that name none.",
  [`${runtime}|containerd|ignore_blockio_not_enabled_errors`]:
    "Start containers with a block I/O class where none are set up.",
  [`${runtime}|containerd|ignore_rdt_not_enabled_errors`]:
    "Start containers with an RDT class where none are set up.",
  [`${runtime}|containerd|runtimes`]: "Runtime handlers by name.",
  [`${handler}|runtime_type`]: "Name of the shim, such as io.containerd.runc.v2.",
  [`${handler}|runtime_path`]: 'Absolute path of the shim; "" looks for it in PATH.',
  [`${handler}|pod_annotations`]: "Patterns of pod annotations that the runtime sees.",
  [`${handler}|container_annotations`]: "Patterns of container annotations that the runtime sees.",
  [`${handler}|privileged_without_host_devices`]: "Privileged containers get no host devices.",
  [`${handler}|privileged_without_host_devices_all_devices_allowed`]:
    "They may use all devices nevertheless.",
  [`${handler}|cgroup_writable`]: "Containers may write their control group (version 2).",
  [`${handler}|base_runtime_spec`]: "File with the OCI runtime spec to start from.",
  [`${handler}|cni_conf_dir`]: "Folder of CNI configuration of this handler.",
  [`${handler}|cni_max_conf_num`]: "Networks used from it; 0 is all.",
  [`${handler}|snapshotter`]: "Snapshotter of this handler.",
  [`${handler}|sandboxer`]: "Controller of its sandboxes: podsandbox, shim, or a proxy plugin's name.",
  [`${handler}|io_type`]: "How streams reach the shim: fifo or streaming.",
  [`${handler}|options`]: "Options of the runtime.",
  [`${handler}|options|BinaryName`]: 'Runtime executable; "" is runc from PATH.',
  [`${handler}|options|CriuImagePath`]: "Folder of checkpoint images.",
  [`${handler}|options|CriuWorkPath`]: "Folder of CRIU's logs.",
  [`${handler}|options|IoGid`]: "Group that owns the stdio pipes.",
  [`${handler}|options|IoUid`]: "User that owns the stdio pipes.",
  [`${handler}|options|NoNewKeyring`]: "Do not make a session keyring for containers.",
  [`${handler}|options|Root`]: "State folder of the runtime.",
  [`${handler}|options|ShimCgroup`]: "Control group of the shim.",
  [`${handler}|options|SystemdCgroup`]:
    "true on hosts whose kubelet uses the systemd cgroup driver (most of them).",
  [`${runtime}|cni|bin_dir`]: "Older form of bin_dirs.",
  [`${runtime}|cni|bin_dirs`]: "Folders of CNI plugins, in order.",
  [`${runtime}|cni|conf_dir`]: "Folder of CNI configuration, watched.",
  [`${runtime}|cni|max_conf_num`]: "Networks used from it; 0 is all.",
  [`${runtime}|cni|setup_serially`]: "Set up a pod's networks one after the other.",
  [`${runtime}|cni|conf_template`]: "Template that is rendered with the node's pod CIDR.",
  [`${runtime}|cni|ip_pref`]: "Address shown as the pod's: ipv4, ipv6 or cni (the order of the result).",
  [`${runtime}|cni|use_internal_loopback`]: "Bring loopback up without the plugin.",

  [`${cri}|disable_tcp_service`]: "Do not serve CRI on TCP.",
  [`${cri}|stream_server_address`]: "Address of the exec, attach and port-forward server.",
  [`${cri}|stream_server_port`]: "Its port; 0 picks one.",
  [`${cri}|stream_idle_timeout`]: "A stream without data for this long is closed.",
  [`${cri}|enable_tls_streaming`]: "Serve streams over TLS.",
  [`${cri}|x509_key_pair_streaming|tls_cert_file`]: 'Certificate; "" makes one.',
  [`${cri}|x509_key_pair_streaming|tls_key_file`]: "Its key.",

  [`${nri}|disable`]: "Do not serve the Node Resource Interface.",
  [`${nri}|socket_path`]: "Socket that NRI plugins connect to.",
  [`${nri}|plugin_path`]: "Folder of NRI plugins that the daemon starts.",
  [`${nri}|plugin_config_path`]: "Folder of their configuration.",
  [`${nri}|plugin_registration_timeout`]: "Time a plugin has to register.",
  [`${nri}|plugin_request_timeout`]: "Time a plugin has to answer; it is closed after that.",
  [`${nri}|disable_connections`]: "Only start plugins, let none connect.",
  [`${nri}|default_validator`]: "What plugins may not change.",
  [`${nri}|default_validator|enable`]: "Check what plugins ask for.",
  [`${nri}|default_validator|reject_oci_hook_adjustment`]: "Refuse OCI hooks from plugins.",
  [`${nri}|default_validator|reject_runtime_default_seccomp_adjustment`]:
    "Refuse changes of the default seccomp profile.",
  [`${nri}|default_validator|reject_unconfined_seccomp_adjustment`]:
    "Refuse changes of a container without a seccomp profile.",
  [`${nri}|default_validator|reject_custom_seccomp_adjustment`]:
    "Refuse changes of a container's own seccomp profile.",
  [`${nri}|default_validator|reject_namespace_adjustment`]: "Refuse changes of namespaces.",
  [`${nri}|default_validator|reject_sysctl_adjustment`]: "Refuse changes of sysctls.",
  [`${nri}|default_validator|required_plugins`]: "Plugins without which no container is made.",
  [`${nri}|default_validator|tolerate_missing_plugins_annotation`]:
    "Annotation of containers that are made without them.",

  [`${gc}|pause_threshold`]: "Share of time that collection may take, at most 0.5.",
  [`${gc}|deletion_threshold`]: "Collect after this many deletions; 0 waits for other reasons.",
  [`${gc}|mutation_threshold`]: "Collect after this many changes when something was deleted.",
  [`${gc}|schedule_delay`]: "Time between the reason and the collection.",
  [`${gc}|startup_delay`]: "Time between start and the first collection.",

  "io.containerd.image-verifier.v1.bindir|bin_dir":
    "Folder of programs that must allow an image before it is stored.",
  "io.containerd.image-verifier.v1.bindir|max_verifiers": "Programs run at most; -1 is all.",
  "io.containerd.image-verifier.v1.bindir|per_verifier_timeout": "Time each program has; none is a refusal.",
  "io.containerd.image-verifier.v1.bindir|verify_client_images":
    "Ask for image records that clients write, too: their own pulls, tags. Not a key of containerd.",
  "io.containerd.internal.v1.image-directory|path":
    "Folder whose image archives are imported and pinned; empty = ROOT/images. Not a key of containerd.",
  "io.containerd.internal.v1.image-directory|namespace": "Namespace of their images.",
  "io.containerd.internal.v1.image-directory|snapshotter":
    "Snapshotter they are unpacked with; empty = the CRI's.",
  "io.containerd.internal.v1.opt|path": "Folder of `ctr install`; its bin is added to PATH.",
  "io.containerd.metadata.v1.bolt|content_sharing_policy":
    "shared: a blob known in one namespace need not be fetched in another; isolated: each proves that it can.",
  "io.containerd.metadata.v1.bolt|no_sync": "Do not flush metadata to disk: faster, and lost in a power cut.",
  "io.containerd.metrics.v1.grpc-prometheus|grpc_histogram": "Also measure how long calls take.",
  "io.containerd.monitor.container.v1.restart|interval":
    "Time between looks at all containers with a restart policy, and the longest wait before a restart. An exit is acted on at once (100 ms; 1 s after a signal, which may be a client's that removes it; twice as long each time it ends within `interval`).",
  "io.containerd.monitor.task.v1.cgroups|no_prometheus": "Do not export metrics of containers.",
  "io.containerd.runtime.v2.task|platforms": "Platforms that tasks may have.",
  "io.containerd.service.v1.diff-service|default": "Differs, tried in order.",
  "io.containerd.service.v1.diff-service|sync_fs": "Flush the file system after each layer.",
  "io.containerd.service.v1.tasks-service|blockio_config_file": "Block I/O classes.",
  "io.containerd.service.v1.tasks-service|rdt_config_file": "RDT classes.",
  "io.containerd.runtime.v2.task|refuse_old_runc":
    "Start nothing with a runc that has known container escapes; otherwise it is warned about once.",
  "io.containerd.shim.v1.manager|env": "Environment of shims, NAME=VALUE.",
  "io.containerd.shim.v1.manager|socket_dir": "Folder of shims' sockets.",
  "io.containerd.shim.v1.manager|spare_shims":
    "Shims started ahead, so that a container starts faster; up to ten for half a minute after a burst that needed more.",
  "io.containerd.shim.v1.manager|share_shims": "Which containers share one shim: pod, namespace or node.",
  "io.containerd.shim.v1.manager|shim_sleep_after":
    "Quiet time after which a shim of ours gives its memory back and sleeps until it is needed; 0 for never.",

  [`${server}.grpc|address`]: "Socket of the API; clients need root or the group below.",
  [`${server}.grpc|uid`]: "Owner of the socket.",
  [`${server}.grpc|gid`]: "Group of the socket.",
  [`${server}.grpc|max_recv_message_size`]: "Largest request in bytes.",
  [`${server}.grpc|max_send_message_size`]: "Largest reply in bytes.",
  [`${server}.grpc-tcp|address`]: 'host:port of the API on TCP; "" is off.',
  [`${server}.grpc-tcp|tls_ca`]: "CA that clients' certificates must come from.",
  [`${server}.grpc-tcp|tls_cert`]: "Certificate of the server.",
  [`${server}.grpc-tcp|tls_key`]: "Its key.",
  [`${server}.grpc-tcp|tls_common_name`]: "Common name that clients' certificates must have.",
  [`${server}.grpc-tcp|max_recv_message_size`]: "Largest request in bytes.",
  [`${server}.grpc-tcp|max_send_message_size`]: "Largest reply in bytes.",
  [`${server}.ttrpc|address`]: "Socket of shims' events; \"\" is the API's address with .ttrpc.",
  [`${server}.ttrpc|uid`]: "Owner of the socket.",
  [`${server}.ttrpc|gid`]: "Group of the socket.",
  [`${server}.debug|address`]: 'Socket of profiles and dumps; "" is off.',
  [`${server}.debug|uid`]: "Owner of the socket.",
  [`${server}.debug|gid`]: "Group of the socket.",
  [`${server}.metrics|address`]: 'host:port of Prometheus metrics, health and the status page; "" is off.',

  [`${snapshotter}.overlayfs|root_path`]: "Folder of the layers instead of the one below root.",
  [`${snapshotter}.overlayfs|upperdir_label`]: "Write the upper folder into a label of the snapshot.",
  [`${snapshotter}.overlayfs|sync_remove`]: "Remove files within the call instead of in the background.",
  [`${snapshotter}.overlayfs|slow_chown`]:
    "Copy and chown layers for user namespaces where the kernel cannot map ids.",
  [`${snapshotter}.overlayfs|mount_options`]: "More mount options.",
  [`${snapshotter}.native|root_path`]: "Folder of the layers instead of the one below root.",
  [`${snapshotter}.btrfs|root_path`]: "Folder of the layers, on btrfs.",
  [`${snapshotter}.erofs|root_path`]: "Folder of the layers' images.",
  [`${snapshotter}.erofs|ovl_mount_options`]: "More options of the overlay mount.",
  [`${snapshotter}.erofs|enable_fsverity`]:
    "Protect layer images with fs-verity: the kernel checks each byte. Fails where kernel or file system have none.",
  [`${snapshotter}.erofs|set_immutable`]: "Make the files of layer images immutable (chattr +i).",
  [`${snapshotter}.erofs|default_size`]:
    'Not offered, any value but the default is refused: Size of a writable layer\'s own file system; "" uses the folder.',
  [`${snapshotter}.erofs|dmverity_mode`]: 'Use of dm-verity: "auto" and "off" do without, "on" is refused.',
  [`${snapshotter}.erofs|layer_content_caches`]:
    "Not offered, any value but the default is refused: Folders of layer images made ahead.",
  "io.containerd.differ.v1.erofs|mkfs_options": "Options of mkfs.erofs, such as compression.",
  "io.containerd.differ.v1.erofs|enable_tar_index":
    "Not offered, any value but the default is refused: Make an index into the tar stream instead of a full image.",
  "io.containerd.differ.v1.erofs|enable_dmverity":
    "Not offered, any value but the default is refused: Add dm-verity data to layer images.",
  [`${snapshotter}.zfs|root_path`]: "Accepted; this snapshotter is not part of the engine.",
  [`${snapshotter}.blockfile|root_path`]: "Folder of the layers' files.",
  [`${snapshotter}.blockfile|scratch_file`]: "File with an empty file system to start from.",
  [`${snapshotter}.blockfile|fs_type`]: "Its file system.",
  [`${snapshotter}.blockfile|mount_options`]: "Mount options.",
  [`${snapshotter}.blockfile|recreate_scratch`]: "Make it anew at each start.",

  [`${transfer}|max_concurrent_downloads`]: "Layers of one image fetched at once.",
  [`${transfer}|concurrent_layer_fetch_buffer`]:
    "Bytes of one range when a large layer is fetched in parallel ranges; 0 lets the engine choose.",
  [`${transfer}|max_concurrent_uploaded_layers`]: "Layers of one image pushed at once.",
  [`${transfer}|max_concurrent_unpacks`]: "Layers unpacked at once.",
  [`${transfer}|discard_unpacked_layers`]:
    "Let layers go once they are unpacked; push, export and convert fetch them again. Not a key of containerd.",
  [`${transfer}|check_platform_supported`]: "Refuse to unpack for a platform this host does not run.",
  [`${transfer}|config_path`]: "Folder of HOST/hosts.toml files; the CRI's registry.config_path when empty.",
  [`${transfer}|unpack_config`]: "Platforms, snapshotters and differs to unpack with.",
};

/** The description of a path, with the one of its plugin handler for handlers of other names. */
export function describeKey(path: readonly string[]): string | undefined {
  const own = KEYS[path.join("|")];
  if (own !== undefined) return own;
  const at = path.indexOf("runtimes");
  return at < 0 ? undefined : KEYS[[...path.slice(0, at + 1), "runc", ...path.slice(at + 2)].join("|")];
}
