/**
 * The tree of commands: names, aliases, flags. Only what help needs is here; what a command does is loaded when it runs,
 * so that `ctr version` starts in milliseconds.
 */
import { Command, Option } from "commander";
import { version } from "../../lib/version.ts";
import type { CommandSpec, FlagSpec } from "./command.ts";

/** Where each first word is declared. Only the one that is asked for is loaded; help and completion load all. */
const NOUNS: Readonly<Record<string, () => Promise<readonly CommandSpec[]>>> = {
  containers: async () => [(await import("./nouns/containers.ts")).containers],
  content: async () => [(await import("./nouns/content.ts")).content],
  images: async () => [(await import("./nouns/images.ts")).images],
  leases: async () => [(await import("./nouns/leases.ts")).leases],
  namespaces: async () => [(await import("./nouns/namespaces.ts")).namespaces],
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

/** Declarations needed to run `args`. */
async function declarations(args: readonly string[]): Promise<readonly CommandSpec[]> {
  const noun = NOUNS[WORDS[firstWord(args) ?? ""] ?? ""];
  if (noun !== undefined) return await noun();
  if (args.length === 1 && (args[0] === "--version" || args[0] === "-v")) return [];
  return (await Promise.all(Object.values(NOUNS).map((load) => load()))).flat();
}

const BANNER = `
   ________    ____
  / ___/ _ \\  / __/___
 / /__/ // / _\\ \\/ _  \\
 \\___/____/ /___/ .__/
                /_/   gantry ctr
`;

/** Builds the part of the program that `args` need. */
export async function buildProgram(
  args: readonly string[],
): Promise<{ command: Command; exitCode: () => number }> {
  let code = 0;
  const root = new Command("ctr")
    .description(
      "An unsupported debug and administrative client of the engine: it speaks containerd's API, and its\ncommands, flags and output may change from one release to the next.",
    )
    .addHelpText("before", BANNER)
    .version(`ctr gantry ${version}`, "-v, --version", "print the version")
    .helpOption("-h, --help", "show help")
    .enablePositionalOptions()
    .showSuggestionAfterError()
    .exitOverride()
    .option("--debug", "enable debug output in logs")
    .addOption(
      new Option("-a, --address <path>", "address of containerd's API socket")
        .default("/run/containerd/containerd.sock")
        .env("CONTAINERD_ADDRESS"),
    )
    .option("--timeout <duration>", "total timeout for ctr commands", "0s")
    .option("--connect-timeout <duration>", "timeout for connecting to containerd", "0s")
    .addOption(
      new Option("-n, --namespace <name>", "namespace to use with commands")
        .default("default")
        .env("CONTAINERD_NAMESPACE"),
    );
  root.configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, "ctr: ")) });
  const add = (parent: Command, spec: CommandSpec): void => {
    const command = new Command(spec.name)
      .description(spec.about)
      .helpOption("-h, --help", "show help")
      .enablePositionalOptions()
      .exitOverride();
    command.configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, "ctr: ")) });
    if (spec.aliases !== undefined) command.aliases([...spec.aliases]);
    if (spec.args !== undefined) command.arguments(spec.args);
    for (const flag of spec.flags ?? []) command.addOption(toOption(flag));
    if (spec.passThrough === true) command.passThroughOptions();
    if (spec.examples !== undefined)
      command.addHelpText("after", `\nExamples:\n${spec.examples.map((e) => `  ${e}`).join("\n")}`);
    const load = spec.action;
    if (load !== undefined) {
      command.action(async () => {
        const [action, { GlobalOptions }] = await Promise.all([load(), import("./context.ts")]);
        code = (await action(new GlobalOptions(root.opts()), command.args, command.optsWithGlobals())) ?? 0;
      });
    }
    for (const child of spec.commands ?? []) add(command, child);
    parent.addCommand(command);
  };
  const specs = await declarations(args);
  for (const spec of specs) add(root, spec);
  if (specs.length > 1)
    add(
      root,
      (await import("./completion.ts")).completionCommand(() => root),
    );
  return { command: root, exitCode: () => code };
}

function toOption(spec: FlagSpec): Option {
  const option = new Option(spec.flag, spec.about);
  if (spec.fallback !== undefined) option.default(spec.fallback);
  if (spec.many === true)
    option.argParser((value: string, old: string[] | undefined) => [...(old ?? []), value]);
  if (spec.env !== undefined) option.env(spec.env);
  if (spec.hidden === true) option.hideHelp();
  return option;
}
