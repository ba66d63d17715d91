/** How commands are declared: data for the tree in program.ts. */
import type { GlobalOptions } from "./context.ts";

/** What a command's action gets from commander: positionals, then options. */
export type Action = (
  context: GlobalOptions,
  args: string[],
  options: Record<string, unknown>,
) => Promise<number | undefined>;

/** Declares one command. */
export interface CommandSpec {
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
  readonly action?: () => Promise<Action>;
  readonly commands?: readonly CommandSpec[];
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
