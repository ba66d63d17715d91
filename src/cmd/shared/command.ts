/** How the commands of a client are declared: data for the tree in program.ts. `C` is what a client's commands start from. */

/** What a command does. @returns the exit code, 0 unless given */
export type Action<C> = (
  context: C,
  args: string[],
  options: Record<string, unknown>,
) => Promise<number | undefined>;

/** Declares one command. */
export interface CommandSpec<C> {
  readonly name: string;
  readonly aliases?: readonly string[];
  /** Positionals as commander writes them: `<ref> [target]`. */
  readonly args?: string;
  readonly about: string;
  /** Flag, text, default. */
  readonly flags?: readonly FlagSpec[];
  readonly examples?: readonly string[];
  /** Flags stop at the first positional (run, exec). */
  readonly passThrough?: boolean;
  readonly action?: () => Promise<Action<C>>;
  readonly commands?: readonly CommandSpec<C>[];
}

/** Flag as commander writes it (`-q, --quiet`, `--label <key=value>`), help text, and what else it has. */
export interface FlagSpec {
  readonly flag: string;
  readonly about: string;
  readonly fallback?: string | number | boolean;
  /** May be given several times; the option is a list. */
  readonly many?: boolean;
  readonly env?: string;
  readonly hidden?: boolean;
}

/** A client program: everything that is the same for all its commands. */
export interface Tool<C> {
  readonly name: string;
  readonly about: string;
  readonly banner?: string;
  /** What `--version` prints. */
  readonly version: string;
  /** Flags before the command. */
  readonly globals: readonly FlagSpec[];
  /** Makes what actions start from. Lazy: loads what every command needs and help does not. */
  readonly context: (globals: Record<string, unknown>) => Promise<C>;
  /** Commands get the flags before the command among their own options, too. */
  readonly mergeGlobals: boolean;
}

/** Words of every command that does something, with the examples it declares. */
export function leavesOf<C>(
  before: string,
  specs: readonly CommandSpec<C>[],
): { readonly path: string; readonly examples: readonly string[] | undefined }[] {
  return specs.flatMap((spec) => {
    const path = `${before} ${spec.name}`;
    const own = spec.action === undefined ? [] : [{ path, examples: spec.examples }];
    return [...own, ...leavesOf(path, spec.commands ?? [])];
  });
}
