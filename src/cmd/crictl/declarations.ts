/** Where commands are declared, found by the first word of a command line. */
import type { CommandSpec } from "./command.ts";

const GROUPS: Readonly<Record<string, () => Promise<readonly CommandSpec[]>>> = {
  containers: async () => (await import("./commands/containers.ts")).containers,
  create: async () => (await import("./commands/create.ts")).create,
  images: async () => (await import("./commands/images.ts")).images,
  pods: async () => (await import("./commands/pods.ts")).pods,
  runtime: async () => (await import("./commands/runtime.ts")).runtime,
  stats: async () => (await import("./commands/stats.ts")).stats,
  streaming: async () => (await import("./commands/streaming.ts")).streaming,
};

/** First words, with the group that declares them. */
export const WORDS: Readonly<Record<string, string>> = {
  attach: "streaming",
  exec: "streaming",
  "port-forward": "streaming",
  checkpoint: "containers",
  inspect: "containers",
  logs: "containers",
  ps: "containers",
  rm: "containers",
  start: "containers",
  stop: "containers",
  update: "containers",
  create: "create",
  run: "create",
  runp: "create",
  imagefsinfo: "images",
  images: "images",
  image: "images",
  img: "images",
  inspecti: "images",
  pull: "images",
  rmi: "images",
  inspectp: "pods",
  pods: "pods",
  rmp: "pods",
  stopp: "pods",
  metricdescs: "stats",
  metricsp: "stats",
  stats: "stats",
  statsp: "stats",
  config: "runtime",
  event: "runtime",
  events: "runtime",
  info: "runtime",
  "runtime-config": "runtime",
  "update-runtime-config": "runtime",
  version: "runtime",
};

/** Flags before the first word that take a value. */
const VALUE_FLAGS = [
  ...[
    "-c",
    "--config",
    "-r",
    "--runtime-endpoint",
    "-i",
    "--image-endpoint",
    "-t",
    "--timeout",
    "--max-retries",
  ],
  ...["--tracing-endpoint", "--tracing-sampling-rate-per-million", "--profile-cpu", "--profile-mem"],
];

/** The first word of a command line: what follows the global flags. */
export function firstWord(args: readonly string[]): string | undefined {
  for (let i = 0; i < args.length; i++) {
    const arg = args[i] ?? "";
    if (!arg.startsWith("-")) return arg;
    if (VALUE_FLAGS.includes(arg)) i++;
  }
  return undefined;
}

/** Declarations of the first word alone; none when it does not pick one. */
export async function quickDeclarations(args: readonly string[]): Promise<readonly CommandSpec[]> {
  return (await GROUPS[WORDS[firstWord(args) ?? ""] ?? ""]?.()) ?? [];
}

/** Declarations needed to run `args`: all when the first word does not pick a group. */
export async function declarations(args: readonly string[]): Promise<readonly CommandSpec[]> {
  const picked = await quickDeclarations(args);
  if (picked.length > 0) return picked;
  const all = (await Promise.all(Object.values(GROUPS).map((load) => load()))).flat();
  return all.sort((a, b) => (a.name < b.name ? -1 : 1));
}
