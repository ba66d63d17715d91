import type { FlagSpec } from "../../shared/command.ts";
import type { CommandSpec } from "../command.ts";

const load = () => import("../verbs/shim.ts");

const which: readonly FlagSpec[] = [
  { flag: "--id <id>", about: "container id" },
  {
    flag: "--shim-address <path>",
    about: "address of the shim's socket (default: computed from daemon, namespace and id)",
  },
];
const version: FlagSpec = {
  flag: "--api-version <n>",
  about: "version of the task API: 2 or 3",
  fallback: "3",
};
const debug: FlagSpec = { flag: "--debug <level>", about: "debug level" };
const seconds = (fallback: string): FlagSpec => ({
  flag: "-s, --seconds <duration>",
  about: "duration for collection",
  fallback,
});

const PROFILES: readonly (readonly [
  name: string,
  path: string,
  about: string,
  flags: readonly FlagSpec[],
])[] = [
  ["block", "block", "goroutine blocking profile", [debug]],
  ["goroutines", "goroutine", "dump goroutine stack dump", [{ ...debug, fallback: "2" }]],
  ["heap", "heap", "dump heap profile", [debug]],
  ["profile", "profile", "CPU profile", [seconds("30s"), debug]],
  ["threadcreate", "threadcreate", "goroutine thread creating profile", [debug]],
  ["trace", "trace", "collect execution trace", [seconds("5s"), debug]],
];

export const shim: CommandSpec = {
  name: "shim",
  about: "interact with a shim directly",
  flags: which,
  commands: [
    {
      name: "delete",
      about: "delete a container with the shim",
      flags: which,
      action: async () => (await load()).remove,
    },
    {
      name: "exec",
      args: "<exec-id> [command...]",
      about: "exec a new process in the task's container",
      passThrough: true,
      flags: [
        ...which,
        { flag: "--stdin <path>", about: "specify the path to the stdin fifo" },
        { flag: "--stdout <path>", about: "specify the path to the stdout fifo" },
        { flag: "--stderr <path>", about: "specify the path to the stderr fifo" },
        { flag: "-t, --tty", about: "enable tty support" },
        { flag: "-a, --attach", about: "stay attached to the container and open the fifos" },
        { flag: "-e, --env <key=value>", about: "add environment vars", many: true },
        { flag: "--cwd <dir>", about: "current working directory" },
        { flag: "--spec <path>", about: "runtime spec of the process" },
        version,
      ],
      examples: ["ctr shim --id web exec -a look ls /"],
      action: async () => (await load()).exec,
    },
    {
      name: "start",
      about: "start a container with the shim",
      flags: which,
      action: async () => (await load()).start,
    },
    {
      name: "state",
      about: "get the state of all the processes of the task",
      flags: [
        ...which,
        { flag: "-t, --task-id <id>", about: "task id, when the shim holds several" },
        version,
      ],
      action: async () => (await load()).state,
    },
    {
      name: "shutdown",
      about: "ask a shim without containers to end",
      flags: [...which, version],
      action: async () => (await load()).shutdown,
    },
    {
      name: "pprof",
      about: "profiles of a shim that offers them (Go's)",
      flags: which,
      commands: PROFILES.map(([name, path, about, flags]) => ({
        name,
        about,
        flags: [...which, ...flags],
        action: async () => (await load()).profile(path),
      })),
    },
  ],
};
