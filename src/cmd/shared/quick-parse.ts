/**
 * Parses plain, correct command lines without the argument library, whose loading takes longer than most commands. What is
 * anything else (help, mistakes, optional values) is left to program.ts, which then also says what is wrong.
 */
import type { Action, CommandSpec, FlagSpec } from "./command.ts";

/** A command line that was understood. */
export interface QuickCommand<C> {
  readonly load: () => Promise<Action<C>>;
  readonly globals: Record<string, unknown>;
  /** Positionals. */
  readonly args: string[];
  /** Flags of the command. */
  readonly options: Record<string, unknown>;
}

/**
 * Parses `args`.
 * @param globalFlags flags before the first word
 * @returns undefined when program.ts must
 */
export function quickParse<C>(
  args: readonly string[],
  globalFlags: readonly FlagSpec[],
  specs: readonly CommandSpec<C>[],
  env: Readonly<Record<string, string | undefined>>,
): QuickCommand<C> | undefined {
  const globals = takeFlags(args, globalFlags, env, "first");
  if (globals === undefined) return undefined;
  let [word, ...left] = globals.args;
  let spec = find(specs, word);
  while (spec?.commands !== undefined && spec.commands.length > 0) {
    // a command of its own, unless a word may be one of its subcommands
    const { commands } = spec;
    if (spec.action !== undefined && !left.some((arg) => find(commands, arg) !== undefined)) break;
    // a group's own flags are rare: not for here
    if ((spec.flags?.length ?? 0) > 0) return undefined;
    [word, ...left] = left;
    spec = find(spec.commands, word);
  }
  if (spec?.action === undefined) return undefined;
  const own = takeFlags(left, spec.flags ?? [], env, spec.passThrough === true ? "first" : "all");
  if (own === undefined || !fits(own.args.length, spec.args ?? "")) return undefined;
  return {
    load: spec.action,
    globals: globals.options,
    args: own.args,
    options: own.options,
  };
}

function find<C>(specs: readonly CommandSpec<C>[], word: string | undefined): CommandSpec<C> | undefined {
  if (word === undefined) return undefined;
  return specs.find((spec) => spec.name === word || spec.aliases?.includes(word) === true);
}

/** True when so many positionals fit a declaration such as `<ref> [target...]`. */
function fits(count: number, declared: string): boolean {
  const words = declared.split(" ").filter((word) => word !== "");
  const least = words.filter((word) => word.startsWith("<")).length;
  return count >= least && (count <= words.length || words.at(-1)?.includes("...") === true);
}

interface Known {
  readonly spec: FlagSpec;
  readonly name: string;
  readonly value: boolean;
  /** `--no-x`: the option x is true without it. */
  readonly negated: boolean;
}

/** What flags look like in a declaration; undefined for forms that are not for here. */
function known(specs: readonly FlagSpec[]): Map<string, Known> | undefined {
  const out = new Map<string, Known>();
  for (const spec of specs) {
    const match = /^(?:(-\w), )?(--[a-z0-9-]+)( <[^>]+>)?$/.exec(spec.flag);
    if (match === null || (spec.many === true && (spec.env ?? spec.fallback) !== undefined)) return undefined;
    const [, short, long = "", value] = match;
    const negated = long.startsWith("--no-");
    const name = long.slice(negated ? 5 : 2).replace(/-(.)/g, (_, letter: string) => letter.toUpperCase());
    const entry = { spec, name, value: value !== undefined, negated };
    if (negated && (entry.value || spec.fallback !== undefined)) return undefined;
    if (spec.env !== undefined && !entry.value) return undefined;
    out.set(long, entry);
    if (short !== undefined) out.set(short, entry);
  }
  // a flag with its opposite has rules of its own
  for (const [long, { negated }] of out) if (negated && out.has(`--${long.slice(5)}`)) return undefined;
  return out;
}

/** @param until whether flags end at the first positional or may follow it */
function takeFlags(
  args: readonly string[],
  specs: readonly FlagSpec[],
  env: Readonly<Record<string, string | undefined>>,
  until: "first" | "all",
): { args: string[]; options: Record<string, unknown> } | undefined {
  const flags = known(specs);
  if (flags === undefined) return undefined;
  const options: Record<string, unknown> = {};
  for (const { spec, name, negated } of flags.values()) {
    if (negated) options[name] = true;
    const fromEnv = spec.env === undefined ? undefined : env[spec.env];
    const start = fromEnv ?? spec.fallback;
    if (start !== undefined) options[name] = start;
  }
  const positionals: string[] = [];
  for (let i = 0; i < args.length; i++) {
    const arg = args[i] ?? "";
    if (!arg.startsWith("-") || arg === "-") {
      if (until === "first") return { args: args.slice(i), options };
      positionals.push(arg);
      continue;
    }
    if (/^-[A-Za-z]{2,}$/.test(arg)) {
      // one dash before a long name is not for here
      if (flags.has(`-${arg}`)) return undefined;
      // bundled: -it
      const bundle = [...arg.slice(1)].map((letter) => flags.get(`-${letter}`));
      if (!bundle.every((flag) => flag !== undefined && !flag.value && !flag.negated)) return undefined;
      for (const flag of bundle) if (flag !== undefined) options[flag.name] = true;
      continue;
    }
    const equals = arg.startsWith("--") ? arg.indexOf("=") : -1;
    const flag = flags.get(equals < 0 ? arg : arg.slice(0, equals));
    if (flag === undefined || (equals >= 0 && !flag.value)) return undefined;
    let value: string | boolean = !flag.negated;
    if (flag.value) {
      const given = equals >= 0 ? arg.slice(equals + 1) : args[++i];
      if (given === undefined) return undefined;
      value = given;
    }
    options[flag.name] =
      flag.spec.many === true ? [...((options[flag.name] as string[] | undefined) ?? []), value] : value;
  }
  return { args: positionals, options };
}
