import type { CommandSpec } from "../command.ts";

const load = () => import("../verbs/tasks.ts");

export const tasks: CommandSpec = {
  name: "tasks",
  aliases: ["t", "task"],
  about: "manage tasks",
  commands: [
    {
      name: "attach",
      args: "<container>",
      about: "attach to the IO of a running container",
      action: async () => (await import("../verbs/task-io.ts")).attach,
    },
    {
      name: "checkpoint",
      args: "<container>",
      about: "checkpoint a container",
      flags: [
        { flag: "--exit", about: "stop the container after the checkpoint" },
        { flag: "--image-path <dir>", about: "path to criu image files" },
        { flag: "--work-path <dir>", about: "path to criu work files and logs" },
      ],
      action: async () => (await load()).checkpoint,
    },
    {
      name: "delete",
      aliases: ["del", "remove", "rm"],
      args: "<containers...>",
      about: "delete one or more tasks",
      flags: [
        { flag: "-f, --force", about: "force delete task process" },
        { flag: "--exec-id <id>", about: "process ID to delete" },
      ],
      action: async () => (await load()).remove,
    },
    {
      name: "exec",
      args: "<container> <command...>",
      about: "execute additional processes in an existing container",
      passThrough: true,
      flags: [
        { flag: "--cwd <dir>", about: "working directory of the new process" },
        { flag: "-t, --tty", about: "allocate a TTY for the container" },
        { flag: "-d, --detach", about: "detach from the task after it has started execution" },
        { flag: "--exec-id <id>", about: "exec specific id for the process" },
        { flag: "--fifo-dir <dir>", about: "directory used for storing IO FIFOs" },
        { flag: "--log-uri <uri>", about: "log uri for custom shim logging" },
        { flag: "--user <user>", about: "user id or name" },
      ],
      examples: ["ctr tasks exec --exec-id check web ls /", "ctr tasks exec -t --exec-id sh1 web sh"],
      action: async () => (await import("../verbs/task-io.ts")).exec,
    },
    {
      name: "list",
      aliases: ["ls"],
      about: "list tasks",
      flags: [{ flag: "-q, --quiet", about: "print only the task id" }],
      action: async () => (await load()).list,
    },
    {
      name: "kill",
      args: "<container>",
      about: "signal a container (default: SIGTERM)",
      flags: [
        { flag: "-s, --signal <signal>", about: "signal to send to the container: a name or a number" },
        { flag: "--exec-id <id>", about: "process ID to kill" },
        { flag: "-a, --all", about: "send signal to all processes inside the container" },
      ],
      action: async () => (await load()).kill,
    },
    {
      name: "metrics",
      aliases: ["metric"],
      args: "<container>",
      about: "get a single data point of metrics for a task with the built-in Linux runtime",
      flags: [{ flag: "--format <format>", about: '"table" or "json"', fallback: "table" }],
      action: async () => (await load()).metrics,
    },
    {
      name: "pause",
      args: "<container>",
      about: "pause an existing container",
      action: async () => (await load()).pause,
    },
    {
      name: "ps",
      args: "<container>",
      about: "list processes for container",
      action: async () => (await load()).ps,
    },
    {
      name: "resume",
      args: "<container>",
      about: "resume a paused container",
      action: async () => (await load()).resume,
    },
    {
      name: "start",
      args: "<container>",
      about: "start a container that has been created",
      flags: [
        { flag: "--no-pivot", about: "disable use of pivot-root" },
        { flag: "--null-io", about: "send all IO to /dev/null" },
        { flag: "--log-uri <uri>", about: "log uri" },
        { flag: "--fifo-dir <dir>", about: "directory used for storing IO FIFOs" },
        { flag: "--pid-file <path>", about: "file path to write the task's pid" },
        { flag: "-d, --detach", about: "detach from the task after it has started execution" },
      ],
      action: async () => (await import("../verbs/task-io.ts")).start,
    },
  ],
};
