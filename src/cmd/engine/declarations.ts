/** Every command of the engine tool: data for help, completion and parsing. */

import type { CommandSpec } from "../ctr/command.ts";
import type { FlagSpec } from "../shared/command.ts";

const quiet: FlagSpec = { flag: "-q, --quiet", about: "print ids only" };
const output: FlagSpec = { flag: "-o, --output <format>", about: "table, json or yaml", fallback: "table" };
const time: FlagSpec = { flag: "-t, --time <seconds>", about: "wait so long before killing", fallback: "10" };
const lifecycle = () => import("./lifecycle.ts");
const show = () => import("./show.ts");
const images = () => import("./images.ts");
const stats = () => import("./stats.ts");

const registryFlags: readonly FlagSpec[] = [
  { flag: "--plain-http", about: "allow connections using plain HTTP" },
  { flag: "-k, --skip-verify", about: "skip SSL certificate validation" },
  { flag: "--hosts-dir <dir>", about: "folder of HOST/hosts.toml files" },
  { flag: "--platform <platform>", about: "platform of the image, such as linux/arm64", many: true },
];

const runFlags: readonly FlagSpec[] = [
  { flag: "-d, --detach", about: "run in the background, print the id; output goes to the log" },
  { flag: "-i, --interactive", about: "connect stdin" },
  { flag: "-t, --tty", about: "allocate a terminal" },
  { flag: "--rm", about: "remove the container when it ends" },
  { flag: "--name <name>", about: "name of the container" },
  { flag: "-p, --publish <port>", about: "publish a port: [IP:]HOST:CONTAINER[/udp]", many: true },
  {
    flag: "-v, --volume <volume>",
    about: "mount a folder or a named volume: SOURCE:TARGET[:ro]",
    many: true,
  },
  { flag: "--mount <spec>", about: "mount: type=bind,src=/h,dst=/c,options=rbind:ro", many: true },
  { flag: "-e, --env <key=value>", about: "environment variable", many: true },
  { flag: "--env-file <path>", about: "file of environment variables, one per line" },
  { flag: "-w, --workdir <dir>", about: "working directory" },
  { flag: "-u, --user <user>", about: "user and group: <name|uid>[:<group|gid>]" },
  { flag: "--entrypoint <program>", about: "replace the image's entrypoint" },
  { flag: "--restart <policy>", about: "no, always, on-failure[:COUNT] or unless-stopped" },
  {
    flag: "--network <name>",
    about: "bridge, host, none, or a network of /etc/cni/net.d",
    fallback: "bridge",
  },
  { flag: "--hostname <name>", about: "host name; the container's name unless given" },
  { flag: "--dns <address>", about: "name server instead of the host's", many: true },
  { flag: "--add-host <name:address>", about: "line for /etc/hosts", many: true },
  { flag: "-m, --memory <bytes>", about: "memory limit, with suffix k, m or g" },
  { flag: "--cpus <number>", about: "number of CPU cores" },
  { flag: "--privileged", about: "all capabilities and devices" },
  { flag: "--cap-add <name>", about: "add a capability", many: true },
  { flag: "--cap-drop <name>", about: "drop a capability", many: true },
  { flag: "--device <path>", about: "host device", many: true },
  { flag: "--gpus <id>", about: "GPU, by the Container Device Interface", many: true },
  { flag: "--read-only", about: "read-only root file system" },
  { flag: "-l, --label <key=value>", about: "label", many: true },
  { flag: "--pull <when>", about: "missing, always or never", fallback: "missing" },
  { flag: "--log-size <bytes>", about: "log file size before it is rotated", fallback: "10m" },
  { flag: "--log-files <number>", about: "log files kept", fallback: "3" },
  { flag: "--runtime <name>", about: "runtime", fallback: "io.containerd.runc.v2" },
  ...registryFlags,
];

/** The commands. */
export const declarations: readonly CommandSpec[] = [
  {
    name: "run",
    args: "<image> [command...]",
    about: "run a container: the image is pulled when it is missing",
    passThrough: true,
    flags: runFlags,
    examples: [
      "gantry run --rm -it busybox sh",
      "gantry run -d --name web -p 8080:80 --restart always nginx",
      "gantry run -d -v data:/var/lib/data -e MODE=fast -m 512m app:1.2",
    ],
    action: async () => (await import("./run.ts")).run,
  },
  {
    name: "ps",
    about: "list containers that run; -a lists all",
    flags: [{ flag: "-a, --all", about: "also those that ended" }, quiet, output],
    examples: ["gantry ps -a", "gantry -n k8s.io ps"],
    action: async () => (await show()).ps,
  },
  {
    name: "logs",
    args: "<container>",
    about: "print a container's log",
    flags: [
      { flag: "-f, --follow", about: "go on until the container ends" },
      { flag: "--tail <lines>", about: "only so many lines from the end" },
      { flag: "--since <time>", about: "only what came after: 10m, or 2026-01-02T03:04:05Z" },
      { flag: "-t, --timestamps", about: "print the time of each line" },
    ],
    examples: ["gantry logs -f --tail 100 web"],
    action: async () => (await show()).logs,
  },
  {
    name: "exec",
    args: "<container> <command...>",
    about: "run one more process in a container",
    passThrough: true,
    flags: [
      { flag: "-i, --interactive", about: "connect stdin" },
      { flag: "-t, --tty", about: "allocate a terminal" },
      { flag: "-d, --detach", about: "do not wait for its end" },
      { flag: "-w, --workdir <dir>", about: "working directory" },
      { flag: "-u, --user <uid>", about: "user id, group id optional: UID[:GID]" },
    ],
    examples: ["gantry exec -it web sh"],
    action: async () => (await show()).exec,
  },
  {
    name: "stop",
    args: "<containers...>",
    about: "stop containers: their stop signal, then SIGKILL",
    flags: [time],
    examples: ["gantry stop web", "gantry stop -t 60 db cache"],
    action: async () => (await lifecycle()).stop,
  },
  {
    name: "start",
    args: "<containers...>",
    about: "start containers that ended",
    examples: ["gantry start web"],
    action: async () => (await lifecycle()).start,
  },
  {
    name: "restart",
    args: "<containers...>",
    about: "stop and start containers",
    flags: [time],
    examples: ["gantry restart -t 2 web"],
    action: async () => (await lifecycle()).restart,
  },
  {
    name: "kill",
    args: "<containers...>",
    about: "send a signal",
    flags: [{ flag: "-s, --signal <signal>", about: "name or number", fallback: "KILL" }],
    examples: ["gantry kill -s HUP web"],
    action: async () => (await lifecycle()).kill,
  },
  {
    name: "rm",
    args: "<containers...>",
    about: "remove containers with their files and logs; named volumes stay",
    flags: [{ flag: "-f, --force", about: "also those that run" }],
    examples: ["gantry rm web", "gantry rm -f web db"],
    action: async () => (await lifecycle()).remove,
  },
  {
    name: "images",
    about: "list images",
    flags: [quiet, output],
    examples: ["gantry images", "gantry images -o json"],
    action: async () => (await images()).list,
  },
  {
    name: "pull",
    args: "<image>",
    about: "pull an image",
    flags: registryFlags,
    examples: ["gantry pull nginx:1.27"],
    action: async () => (await images()).pull,
  },
  {
    name: "rmi",
    args: "<images...>",
    about: "remove images",
    examples: ["gantry rmi nginx:1.27"],
    action: async () => (await images()).remove,
  },
  {
    name: "inspect",
    args: "<containers...>",
    about: "everything about containers",
    flags: [{ flag: "-o, --output <format>", about: "json or yaml", fallback: "json" }],
    examples: ["gantry inspect web", "gantry inspect -o yaml web"],
    action: async () => (await show()).inspect,
  },
  {
    name: "stats",
    args: "[containers...]",
    about: "CPU and memory of containers, live on a terminal",
    flags: [{ flag: "--no-stream", about: "print once" }, output],
    examples: ["gantry stats", "gantry stats --no-stream -o json web"],
    action: async () => (await stats()).stats,
  },
];

/** Names of the commands: the modes of the executable that come here. */
export const COMMANDS: readonly string[] = declarations.map((d) => d.name);
