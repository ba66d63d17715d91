/**
 * The tree of commands: names, aliases, flags. Only what help needs is here; what a command does is loaded when it runs,
 * so that `ctr version` starts in milliseconds.
 */
import { Command, Option } from "commander";
import { version } from "../../lib/version.ts";
import type { CommandSpec, FlagSpec } from "./command.ts";
import { declarations } from "./declarations.ts";

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
