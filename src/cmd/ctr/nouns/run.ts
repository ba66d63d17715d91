import type { CommandSpec } from "../command.ts";
import { containerFlags } from "./container-flags.ts";

export const run: CommandSpec = {
  name: "run",
  args: "<image-or-rootfs> [id] [command...]",
  about: "run a container",
  passThrough: true,
  flags: [
    { flag: "--rm", about: "remove the container after running, cannot be used with --detach" },
    { flag: "--null-io", about: "send all IO to /dev/null" },
    { flag: "--log-uri <uri>", about: "log uri" },
    {
      flag: "-d, --detach",
      about: "detach from the task after it has started execution, cannot be used with --rm",
    },
    { flag: "--fifo-dir <dir>", about: "directory used for storing IO FIFOs" },
    { flag: "--cgroup <path>", about: 'cgroup path (to disable use of cgroup, set to "" explicitly)' },
    { flag: "--platform <os/arch>", about: "run image for specific platform" },
    { flag: "--cni", about: "enable cni networking for the container" },
    { flag: "--sync-fs", about: "synchronize the underlying filesystem containing files when unpack images" },
    { flag: "--dump-config <path>", about: "write the spec to this file and stop" },
    {
      flag: "--uidmap <spec>",
      about: "run inside a user namespace with the specified UID mapping: container-uid:host-uid:length",
      many: true,
    },
    {
      flag: "--gidmap <spec>",
      about: "run inside a user namespace with the specified GID mapping: container-gid:host-gid:length",
      many: true,
    },
    {
      flag: "--remap-labels",
      about:
        "provide the user namespace ID remapping to the snapshotter via label options; requires snapshotter support",
    },
    {
      flag: "--privileged-without-host-devices",
      about: "don't pass all host devices to privileged container",
    },
    {
      flag: "--restart <policy>",
      about:
        "start the container again when it ends: no, always, on-failure[:COUNT] or unless-stopped; needs --detach (not a flag of containerd's ctr)",
    },
    {
      flag: "--health-cmd <command>",
      about: "check the container by this command (flags of ours, see docs/runtime.md)",
    },
    { flag: "--health-interval <duration>", about: "between two checks (30s)" },
    { flag: "--health-timeout <duration>", about: "longest time of a check (30s)" },
    { flag: "--health-retries <number>", about: "failures in a row that make it unhealthy (3)" },
    {
      flag: "--health-start-period <duration>",
      about: "time after the start in which failures do not count (0s)",
    },
    { flag: "--health-on-failure <what>", about: '"none" or "kill"' },
    { flag: "--cpus <number>", about: "set the CFS cpu quota" },
    { flag: "--cpu-shares <number>", about: "set the cpu shares", fallback: "1024" },
    { flag: "--cpuset-cpus <list>", about: "set the CPUs the container will run in (e.g. 1-2,4)" },
    { flag: "--cpuset-mems <list>", about: "set the memory nodes the container will run in (e.g. 1-2,4)" },
    { flag: "--rlimit-nofile <number>", about: "set RLIMIT_NOFILE" },
    ...containerFlags,
  ],
  examples: [
    "ctr run --rm localhost:5000/busybox:latest hello echo hello",
    "ctr run -d --net-host localhost:5000/nginx:latest web",
    "ctr run --rm -t --mount type=bind,src=/etc,dst=/host-etc,options=rbind:ro localhost:5000/busybox:latest sh1 sh",
  ],
  action: async () => (await import("../verbs/run.ts")).run,
};
