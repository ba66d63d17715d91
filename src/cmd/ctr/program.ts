/**
 * The tree of commands: names, aliases, flags. Only what help needs is here; what a command does is loaded when it runs,
 * so that `ctr version` starts in milliseconds.
 */
import { Command, Option } from "commander";
import { version } from "../../lib/version.ts";
import type { CommandSpec, FlagSpec } from "./command.ts";
import { completionCommand } from "./completion.ts";
import { GlobalOptions } from "./context.ts";
import { containers } from "./nouns/containers.ts";
import { content } from "./nouns/content.ts";
import { images } from "./nouns/images.ts";
import { leases } from "./nouns/leases.ts";
import { namespaces } from "./nouns/namespaces.ts";
import { rest } from "./nouns/rest.ts";
import { run } from "./nouns/run.ts";
import { snapshots } from "./nouns/snapshots.ts";
import { tasks } from "./nouns/tasks.ts";

const BANNER = `
   ________    ____
  / ___/ _ \\  / __/___
 / /__/ // / _\\ \\/ _  \\
 \\___/____/ /___/ .__/
                /_/   gantry ctr
`;

/** Builds the program. */
export function buildProgram(): { command: Command; exitCode: () => number } {
  let code = 0;
  const root = new Command("ctr")
    .description(
      "ctr is an unsupported debug and administrative client for interacting\nwith the containerd daemon. Because it is unsupported, the commands,\noptions, and operations are not guaranteed to be backward compatible or\nstable from release to release of the containerd project.",
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
        const action = await load();
        code = (await action(new GlobalOptions(root.opts()), command.args, command.optsWithGlobals())) ?? 0;
      });
    }
    for (const child of spec.commands ?? []) add(command, child);
    parent.addCommand(command);
  };
  for (const spec of [
    containers,
    content,
    images,
    leases,
    namespaces,
    ...rest,
    run,
    snapshots,
    tasks,
    completionCommand(() => root),
  ])
    add(root, spec);
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
