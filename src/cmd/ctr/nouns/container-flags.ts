/** Flags that `containers create` and `run` share. */
import type { FlagSpec } from "../../shared/command.ts";

export const snapshotterFlag: FlagSpec = {
  flag: "--snapshotter <name>",
  about: "snapshotter name; empty value stands for the default value",
  env: "CONTAINERD_SNAPSHOTTER",
};

export const runtimeFlags: readonly FlagSpec[] = [
  {
    flag: "--runtime <name>",
    about: "runtime name or absolute path to runtime binary",
    fallback: "io.containerd.runc.v2",
  },
  { flag: "--runtime-config-path <path>", about: "optional runtime config path" },
  { flag: "--runc-binary <path>", about: "specify runc-compatible binary" },
  { flag: "--runc-root <dir>", about: "specify runc-compatible root" },
  { flag: "--runc-systemd-cgroup", about: "start runc with systemd cgroup manager" },
];

export const containerFlags: readonly FlagSpec[] = [
  ...runtimeFlags,
  snapshotterFlag,
  {
    flag: "--snapshotter-label <key=value>",
    about: "labels added to the new snapshot for this container",
    many: true,
  },
  { flag: "-c, --config <path>", about: "path to the runtime-specific spec config file" },
  { flag: "--cwd <dir>", about: "specify the working directory of the process" },
  { flag: "--env <key=value>", about: "specify additional container environment variables", many: true },
  {
    flag: "--env-file <path>",
    about: "specify additional container environment variables in a file, one per line",
  },
  { flag: "--label <key=value>", about: "specify additional labels", many: true },
  { flag: "--annotation <key=value>", about: "specify additional OCI annotations", many: true },
  {
    flag: "--mount <spec>",
    about: "additional container mount: type=bind,src=/h,dst=/c,options=rbind:ro",
    many: true,
  },
  { flag: "--net-host", about: "enable host networking for the container" },
  { flag: "--privileged", about: "run privileged container" },
  { flag: "--read-only", about: "set the containers filesystem as readonly" },
  { flag: "--sandbox <id>", about: "create the container in the given sandbox" },
  { flag: "-t, --tty", about: "allocate a TTY for the container" },
  {
    flag: "--with-ns <type:path>",
    about: "specify existing Linux namespaces to join at container runtime (format '<nstype>:<path>')",
    many: true,
  },
  { flag: "--pid-file <path>", about: "file path to write the task's pid" },
  { flag: "--gpus <id>", about: "add gpus to the container", many: true },
  { flag: "--allow-new-privs", about: "turn off OCI spec's NoNewPrivileges feature flag" },
  { flag: "--memory-limit <bytes>", about: "memory limit (in bytes; suffixes k, m, g) for the container" },
  {
    flag: "--cap-add <name>",
    about: "add Linux capabilities (set capability names with 'CAP_' prefix)",
    many: true,
  },
  {
    flag: "--cap-drop <name>",
    about: "drop Linux capabilities (set capability names with 'CAP_' prefix)",
    many: true,
  },
  { flag: "--seccomp", about: "enable the default seccomp profile" },
  {
    flag: "--seccomp-profile <path>",
    about: "file path to custom seccomp profile; seccomp must be set to true",
  },
  {
    flag: "--apparmor-default-profile <name>",
    about: "enable AppArmor with the default profile with the specified name",
  },
  { flag: "--apparmor-profile <name>", about: "enable AppArmor with an existing custom profile" },
  { flag: "--blockio-config-file <path>", about: "file path to blockio class definitions" },
  { flag: "--blockio-class <name>", about: "name of the blockio class to associate the container with" },
  { flag: "--rdt-class <name>", about: "name of the RDT class to associate the container with" },
  { flag: "--hostname <name>", about: "set the container's host name" },
  {
    flag: "-u, --user <user>",
    about: "username or user id, group optional (format: <name|uid>[:<group|gid>])",
  },
  { flag: "--rootfs", about: "use custom rootfs that is not managed by containerd snapshotter" },
  { flag: "--no-pivot", about: "disable use of pivot-root (linux only)" },
  { flag: "--cpu-quota <microseconds>", about: "limit CPU CFS quota", fallback: "-1" },
  { flag: "--cpu-period <microseconds>", about: "limit CPU CFS period" },
  { flag: "--rootfs-propagation <mode>", about: "set the propagation of the container rootfs" },
  {
    flag: "--device <path>",
    about: "file path to a device to add to the container; or a path to a directory tree of devices",
    many: true,
  },
];
