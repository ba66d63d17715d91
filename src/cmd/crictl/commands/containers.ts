/** Commands about containers that exist. */
import type { CommandSpec } from "../command.ts";
import * as flags from "./flags.ts";

const filters = [
  { flag: "--name <regexp>", about: "filter by container name" },
  { flag: "-p, --pod <id>", about: "filter by pod" },
  { flag: "--image <image>", about: "filter by image" },
  { flag: "-s, --state <state>", about: "filter by state: created, running, exited or unknown" },
  flags.podNamespace,
  flags.label,
  flags.latest,
  flags.last,
];

export const containers: readonly CommandSpec[] = [
  {
    name: "ps",
    about: "list containers",
    flags: [
      { flag: "-a, --all", about: "show all containers, not only running ones" },
      { flag: "--id <id>", about: "filter by id" },
      ...filters,
      flags.noTrunc,
      flags.output("json, yaml, table", "table"),
      { flag: "-q, --quiet", about: "only ids" },
      { flag: "-r, --resolve-image-path", about: "show the image's name instead of its id" },
      { flag: "-v, --verbose", about: "show everything" },
    ],
    examples: ["crictl ps -a", "crictl ps --name '^web' -o json", "crictl ps -q --label app=web"],
    action: async () => (await import("../verbs/ps.ts")).ps,
  },
  {
    name: "inspect",
    args: "[ids...]",
    about: "display the status of containers",
    flags: [
      { flag: "-a, --all", about: "all containers" },
      ...filters,
      flags.output("json, yaml, go-template, table", "json"),
      flags.template,
      { flag: "-q, --quiet", about: "without verbose information" },
    ],
    examples: [
      "crictl inspect ID",
      "crictl inspect -o go-template --template '{{.info.pid}}' ID",
      "crictl inspect --name web -o yaml",
    ],
    action: async () => (await import("../verbs/inspect.ts")).inspect,
  },
  {
    name: "logs",
    args: "[id]",
    about: "show the logs of a container",
    flags: [
      { flag: "-f, --follow", about: "keep showing what is added" },
      { flag: "-p, --previous", about: "the logs of the container's previous instance" },
      { flag: "-r, --reopen", about: "let the engine open the log file anew first" },
      { flag: "--tail <n>", about: "only the last n lines" },
      { flag: "--limit-bytes <n>", about: "at most so many bytes" },
      {
        flag: "--since <time>",
        about: "only what is newer: 42m, 2026-01-02T13:23:37, or seconds since 1970",
      },
      { flag: "-s, --stream <name>", about: "only stdout or only stderr" },
      { flag: "-t, --timestamps", about: "show times" },
    ],
    examples: [
      "crictl logs -f ID",
      "crictl logs --tail 20 -t ID",
      "crictl logs --since 5m --stream stderr ID",
    ],
    action: async () => (await import("../verbs/logs.ts")).logs,
  },
  {
    name: "start",
    args: "[ids...]",
    about: "start created containers",
    examples: ["crictl start ID"],
    action: async () => (await import("../verbs/lifecycle.ts")).start,
  },
  {
    name: "stop",
    args: "[ids...]",
    about: "stop running containers",
    flags: [
      { flag: "-a, --all", about: "stop all running containers" },
      { flag: "-t, --timeout <seconds>", about: "seconds between the stop signal and KILL (default: 0)" },
    ],
    examples: ["crictl stop -t 10 ID", "crictl stop -a"],
    action: async () => (await import("../verbs/lifecycle.ts")).stop,
  },
  {
    name: "rm",
    args: "[ids...]",
    about: "remove containers",
    flags: [
      { flag: "-a, --all", about: "remove all containers" },
      { flag: "-f, --force", about: "stop running ones first" },
      { flag: "-k, --keep-logs", about: "leave the log files" },
    ],
    examples: ["crictl rm ID", "crictl rm -af"],
    action: async () => (await import("../verbs/lifecycle.ts")).rm,
  },
  {
    name: "update",
    args: "[ids...]",
    about: "change the resources of containers",
    flags: [
      { flag: "--cpu-count <n>", about: "(Windows) CPUs of the container" },
      { flag: "--cpu-maximum <n>", about: "(Windows) share of CPU cycles, percent times 100" },
      { flag: "--cpu-period <us>", about: "CFS period in microseconds" },
      { flag: "--cpu-quota <us>", about: "CPU time in a period, microseconds" },
      { flag: "--cpu-share <n>", about: "CPU shares" },
      { flag: "--cpuset-cpus <list>", about: "CPUs to use" },
      { flag: "--cpuset-mems <list>", about: "memory nodes to use" },
      { flag: "--memory <bytes>", about: "memory limit" },
      { flag: "--oom-score-adj <n>", about: "score for the OOM killer" },
    ],
    examples: ["crictl update --cpu-quota 50000 --memory 134217728 ID"],
    action: async () => (await import("../verbs/lifecycle.ts")).update,
  },
  {
    name: "checkpoint",
    args: "[ids...]",
    about: "checkpoint running containers",
    flags: [{ flag: "-e, --export <file>", about: "archive to write" }],
    examples: ["crictl checkpoint --export=/tmp/checkpoint.tar ID"],
    action: async () => (await import("../verbs/lifecycle.ts")).checkpoint,
  },
];
