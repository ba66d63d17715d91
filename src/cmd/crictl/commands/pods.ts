/** Commands about pods that exist. */
import type { CommandSpec } from "../command.ts";
import * as flags from "./flags.ts";

const filters = [
  { flag: "--name <regexp>", about: "filter by pod name" },
  flags.podNamespace,
  { flag: "-s, --state <state>", about: "filter by state: ready or notready" },
  flags.label,
  flags.latest,
  flags.last,
];

export const pods: readonly CommandSpec[] = [
  {
    name: "pods",
    about: "list pods",
    flags: [
      { flag: "--id <id>", about: "filter by id" },
      ...filters,
      flags.noTrunc,
      flags.output("json, yaml, table", "table"),
      { flag: "-q, --quiet", about: "only ids" },
      { flag: "-v, --verbose", about: "show everything" },
    ],
    examples: ["crictl pods", "crictl pods --state ready -q", "crictl pods --label app=web -o yaml"],
    action: async () => (await import("../verbs/pods.ts")).pods,
  },
  {
    name: "inspectp",
    args: "[ids...]",
    about: "display the status of pods",
    flags: [
      ...filters,
      flags.output("json, yaml, go-template, table", "json"),
      { flag: "-q, --quiet", about: "without verbose information" },
      flags.template,
    ],
    examples: ["crictl inspectp ID", "crictl inspectp -o go-template --template '{{.status.network.ip}}' ID"],
    action: async () => (await import("../verbs/inspect.ts")).inspectp,
  },
  {
    name: "stopp",
    args: "[ids...]",
    about: "stop running pods",
    examples: ["crictl stopp POD-ID"],
    action: async () => (await import("../verbs/pods.ts")).stopp,
  },
  {
    name: "rmp",
    args: "[ids...]",
    about: "remove pods",
    flags: [
      { flag: "-a, --all", about: "remove all pods" },
      { flag: "-f, --force", about: "stop running ones first" },
    ],
    examples: ["crictl rmp POD-ID", "crictl rmp -af"],
    action: async () => (await import("../verbs/pods.ts")).rmp,
  },
];
