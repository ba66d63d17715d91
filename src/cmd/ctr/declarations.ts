/** Where commands are declared, found by the first word of a command line. */
import type { CommandSpec } from "./command.ts";

/** Where each first word is declared. Only the one that is asked for is loaded; help and completion load all. */
const NOUNS: Readonly<Record<string, () => Promise<readonly CommandSpec[]>>> = {
  containers: async () => [(await import("./nouns/containers.ts")).containers],
  content: async () => [(await import("./nouns/content.ts")).content],
  images: async () => [(await import("./nouns/images.ts")).images],
  leases: async () => [(await import("./nouns/leases.ts")).leases],
  namespaces: async () => [(await import("./nouns/namespaces.ts")).namespaces],
  registry: async () => [(await import("./nouns/registry.ts")).registry],
  rest: async () => (await import("./nouns/rest.ts")).rest,
  run: async () => [(await import("./nouns/run.ts")).run],
  snapshots: async () => [(await import("./nouns/snapshots.ts")).snapshots],
  tasks: async () => [(await import("./nouns/tasks.ts")).tasks],
};

/** First words that pick one declaration; every other word is looked for in all of them. */
const WORDS: Readonly<Record<string, string>> = {
  containers: "containers",
  container: "containers",
  c: "containers",
  content: "content",
  images: "images",
  image: "images",
  i: "images",
  leases: "leases",
  namespaces: "namespaces",
  namespace: "namespaces",
  ns: "namespaces",
  registry: "registry",
  version: "rest",
  info: "rest",
  plugins: "rest",
  plugin: "rest",
  events: "rest",
  event: "rest",
  oci: "rest",
  run: "run",
  snapshots: "snapshots",
  snapshot: "snapshots",
  tasks: "tasks",
  task: "tasks",
  t: "tasks",
};

/** Flags before the first word that take a value. */
const VALUE_FLAGS = ["-a", "--address", "-n", "--namespace", "--timeout", "--connect-timeout"];

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
  return (await NOUNS[WORDS[firstWord(args) ?? ""] ?? ""]?.()) ?? [];
}

/** Declarations needed to run `args`. */
export async function declarations(args: readonly string[]): Promise<readonly CommandSpec[]> {
  const noun = NOUNS[WORDS[firstWord(args) ?? ""] ?? ""];
  if (noun !== undefined) return await noun();
  if (args.length === 1 && (args[0] === "--version" || args[0] === "-v")) return [];
  return (await Promise.all(Object.values(NOUNS).map((load) => load()))).flat();
}
