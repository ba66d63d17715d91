/**
 * Builds a client's tree of commands for the argument library. Only what help needs is here; what a command does is loaded
 * when it runs, so that a client starts in milliseconds.
 */
import { Command, Option } from "commander";
import type { CommandSpec, FlagSpec, Tool } from "./command.ts";
import { toStderr, toStdout } from "./output.ts";

/** A finished program. */
export interface Program {
  readonly command: Command;
  /** What the command that ran returned. */
  exitCode(): number;
}

const WRITERS = { writeOut: toStdout, writeErr: toStderr };

/**
 * Builds a program with the given commands.
 * @param examples of commands that declare none, by their words: `ctr images rm`
 */
export function buildTool<C>(
  tool: Tool<C>,
  specs: readonly CommandSpec<C>[],
  examples: Readonly<Record<string, readonly string[]>> = {},
): Program {
  let code = 0;
  const indent = " ".repeat(tool.name.length + 2);
  /** One line on what is wrong, one on what to do. */
  const outputError =
    (command: Command) =>
    (text: string, write: (text: string) => void): void => {
      const said = text
        .replace(/^error: /, `${tool.name}: `)
        .replace(/^\(Did you mean (.*)\?\)$/m, `${indent}did you mean $1?`);
      const path = pathOf(command);
      const next = /did you mean/.test(said)
        ? ""
        : /missing required argument|too many arguments/.test(said)
          ? `${indent}usage: ${path} ${command.usage()}; ${path} --help says more\n`
          : `${indent}${path} --help lists ${/unknown command/.test(said) ? "the commands" : "the options"}\n`;
      write(`${said}${next}`);
    };
  const root = new Command(tool.name)
    .description(tool.about)
    .version(tool.version, "-v, --version", "print the version")
    .helpOption("-h, --help", "show help")
    .enablePositionalOptions()
    .showSuggestionAfterError()
    .exitOverride();
  if (tool.banner !== undefined) root.addHelpText("before", tool.banner);
  const finish = (command: Command, shown: readonly string[] | undefined): void => {
    if (shown !== undefined)
      command.addHelpText("after", `\nExamples:\n${shown.map((e) => `  ${e}`).join("\n")}`);
    command.configureHelp({ subcommandTerm: termOf });
    // a group without a command shows its help: that is an answer, not a mistake
    const help = command.help.bind(command);
    command.help = () => help();
  };
  finish(root, examples[tool.name]);
  for (const flag of tool.globals) root.addOption(toOption(flag));
  root.configureOutput({ ...WRITERS, outputError: outputError(root) });
  const add = (parent: Command, spec: CommandSpec<C>): void => {
    const command = new Command(spec.name)
      .description(spec.about)
      .summary(spec.about.split("\n", 1)[0] ?? "")
      .helpOption("-h, --help", "show help")
      .enablePositionalOptions()
      .exitOverride();
    command.configureOutput({ ...WRITERS, outputError: outputError(command) });
    if (spec.aliases !== undefined) command.aliases([...spec.aliases]);
    if (spec.args !== undefined) command.arguments(spec.args);
    for (const flag of spec.flags ?? []) command.addOption(toOption(flag));
    if (spec.passThrough === true) command.passThroughOptions();
    finish(command, spec.examples ?? examples[`${pathOf(parent)} ${spec.name}`]);
    const load = spec.action;
    if (load !== undefined) {
      command.action(async () => {
        const [action, context] = await Promise.all([load(), tool.context(root.opts())]);
        const options = tool.mergeGlobals ? command.optsWithGlobals() : command.opts();
        code = (await action(context, command.args, options)) ?? 0;
      });
    }
    parent.addCommand(command);
    for (const child of spec.commands ?? []) add(command, child);
  };
  for (const spec of specs) add(root, spec);
  return { command: root, exitCode: () => code };
}

/** A command in the list of its group: every name it has, and its arguments. */
function termOf(command: Command): string {
  const args = command
    .usage()
    .replace(/^\[options\] ?|\[command\] ?/g, "")
    .trim();
  return `${[command.name(), ...command.aliases()].join(", ")}${args === "" ? "" : ` ${args}`}`;
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

/** A command with those above it: `ctr images pull`. */
function pathOf(command: Command): string {
  return command.parent === null ? command.name() : `${pathOf(command.parent)} ${command.name()}`;
}

/** Exit code after help or a usage error, as containerd's and Kubernetes' clients have it: 3 for a command there is not. */
export function usageExit(err: { exitCode: number }): number {
  const code = "code" in err ? err.code : "";
  if (code === "commander.unknownCommand") return 3;
  return code === "commander.help" ? 0 : err.exitCode;
}

/** Commander throws this after it printed help, a version or a usage error. */
export function isCommanderExit(err: unknown): err is { exitCode: number } {
  return (
    err instanceof Error &&
    "code" in err &&
    typeof err.code === "string" &&
    err.code.startsWith("commander.") &&
    "exitCode" in err
  );
}
