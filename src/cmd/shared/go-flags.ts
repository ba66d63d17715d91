/**
 * What the flag library of containerd's and Kubernetes' own clients takes and ours does not: one dash before a long name (`-all`),
 * values of switches (`--all=false`), `h` for help. Rewrites such words; all others stay as they are.
 */
import type { CommandSpec, FlagSpec } from "./command.ts";

const TRUE = /^(1|t|true|T|TRUE|True)$/;
const FALSE = /^(0|f|false|F|FALSE|False)$/;

/** Long names and letters with whether they take a value. */
function table(flags: readonly FlagSpec[]): Map<string, boolean> {
  const out = new Map([["help", false]]);
  for (const { flag } of flags) {
    const value = /[<[]/.test(flag);
    for (const match of flag.matchAll(/(?:^|, )--?([A-Za-z][\w-]*)/g)) out.set(match[1] ?? "", value);
  }
  return out;
}

/** Rewrites the command line of a program with these flags and commands. */
export function goFlags<C>(
  args: readonly string[],
  globals: readonly FlagSpec[],
  specs: readonly CommandSpec<C>[],
): string[] {
  const out: string[] = [];
  let flags = table(globals);
  let commands = specs;
  let passThrough = false;
  for (let i = 0; i < args.length; i++) {
    const arg = args[i] ?? "";
    if (arg === "--") return [...out, ...args.slice(i)];
    if (!arg.startsWith("-") || arg === "-") {
      const next = commands.find((spec) => spec.name === arg || spec.aliases?.includes(arg) === true);
      if (next === undefined && passThrough) return [...out, ...args.slice(i)];
      // every group of theirs has "h", too
      out.push(next === undefined && arg === "h" && commands.length > 0 ? "help" : arg);
      commands = next?.commands ?? [];
      if (next !== undefined) {
        flags = table(next.flags ?? []);
        passThrough = next.passThrough === true;
      }
      continue;
    }
    const [, dashes = "", name = "", value] = /^(--?)([A-Za-z][\w-]*)(?:=(.*))?$/s.exec(arg) ?? [];
    const takes = flags.get(name);
    if (takes === undefined) {
      out.push(arg);
      continue;
    }
    const word = name.length === 1 ? `${dashes}${name}` : `--${name}`;
    if (takes) {
      out.push(value === undefined ? word : `${word}=${value}`);
      const next = args[i + 1];
      if (value === undefined && next !== undefined) {
        out.push(next);
        i++;
      }
    } else if (value === undefined || TRUE.test(value)) out.push(word);
    else if (!FALSE.test(value)) out.push(arg);
  }
  return out;
}
