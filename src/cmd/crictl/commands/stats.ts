/** Commands that measure. */
import type { CommandSpec } from "../command.ts";
import * as flags from "./flags.ts";

const common = [
  flags.label,
  flags.output("json, yaml, table", "table"),
  { flag: "-s, --seconds <n>", about: "seconds over which CPU use is measured (default: 1)" },
  { flag: "-w, --watch", about: "keep measuring" },
];

export const stats: readonly CommandSpec[] = [
  {
    name: "stats",
    args: "[id]",
    about: "show what containers use",
    flags: [
      { flag: "-a, --all", about: "show all containers, not only running ones" },
      { flag: "--id <id>", about: "filter by container" },
      { flag: "-p, --pod <id>", about: "filter by pod" },
      ...common,
    ],
    examples: ["crictl stats", "crictl stats -w --pod POD-ID", "crictl stats -o json ID"],
    action: async () => (await import("../verbs/stats.ts")).stats,
  },
  {
    name: "statsp",
    args: "[id]",
    about: "show what pods use",
    flags: [{ flag: "--id <id>", about: "filter by pod" }, ...common],
    examples: ["crictl statsp", "crictl statsp -o json POD-ID"],
    action: async () => (await import("../verbs/stats.ts")).statsp,
  },
  {
    name: "metricsp",
    about: "show the metrics of pods: what replaces the kubelet's cAdvisor metrics",
    flags: [flags.output("json, yaml", "json"), { flag: "-w, --watch", about: "keep showing" }],
    action: async () => (await import("../verbs/stats.ts")).metricsp,
  },
  {
    name: "metricdescs",
    about: "show which metrics there are",
    flags: [flags.output("json, yaml", "json")],
    action: async () => (await import("../verbs/stats.ts")).metricdescs,
  },
];
