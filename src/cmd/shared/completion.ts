/** `TOOL completion bash|zsh|fish`: a script generated from the tree of commands. The command itself prints it; nothing is asked at completion time. */
import { invalidArgument } from "../../core/errors.ts";
import type { CommandSpec } from "./command.ts";

/** Declares the command; `tree` gives the finished program when the command runs, `fallback` the shell when none is named. */
export function completionCommand<C>(tool: string, tree: () => Tree, fallback = ""): CommandSpec<C> {
  return {
    name: "completion",
    args: "<shell>",
    about: "print a completion script for bash, zsh or fish",
    examples: [
      `source <(${tool} completion bash)`,
      `${tool} completion fish > ~/.config/fish/completions/${tool}.fish`,
    ],
    action: async () => async (_context, args) => {
      process.stdout.write(completionScript(tool, args[0] ?? fallback, nodesOf(tree())));
      return 0;
    },
  };
}

/** The part of commander's Command that completion reads. */
export interface Tree {
  name(): string;
  aliases(): readonly string[];
  description(): string;
  readonly commands: readonly Tree[];
  readonly options: readonly {
    readonly short?: string | undefined;
    readonly long?: string | undefined;
    readonly hidden: boolean;
    readonly description: string;
    readonly required: boolean;
  }[];
}

/** A command as completion sees it. */
export interface Node {
  /** Words from the program's name on: "ctr images pull". */
  readonly path: string;
  readonly commands: readonly { readonly name: string; readonly about: string }[];
  readonly flags: readonly {
    readonly names: readonly string[];
    readonly about: string;
    /** Takes a value. */
    readonly value: boolean;
  }[];
}

/** Flattens a tree; a command with aliases appears once for each name. */
export function nodesOf(tree: Tree, before: readonly string[] = [""]): Node[] {
  const own = [tree.name(), ...tree.aliases()];
  const paths = before.flatMap((b) => own.map((n) => `${b} ${n}`.trim()));
  const commands = tree.commands.map((c) => ({ name: c.name(), about: c.description() }));
  const flags = [
    ...tree.options
      .filter((o) => !o.hidden)
      .map((o) => ({
        names: [o.short, o.long].filter((n): n is string => n !== undefined),
        about: o.description,
        value: o.required,
      })),
    { names: ["-h", "--help"], about: "show help", value: false },
  ];
  return [
    ...paths.map((path) => ({ path, commands, flags })),
    ...tree.commands.flatMap((c) => nodesOf(c, paths)),
  ];
}

/** What there are scripts for. */
const SHELLS = ["bash", "zsh", "fish"] as const;

/** @throws invalid-argument for another shell */
export function completionScript(tool: string, shell: string, nodes: readonly Node[]): string {
  switch (shell) {
    case "bash":
      return bash(tool, nodes);
    case "zsh":
      return `#compdef ${tool}\nautoload -Uz bashcompinit && bashcompinit\n${bash(tool, nodes)}`;
    case "fish":
      return fish(tool, nodes);
    default:
      throw invalidArgument(`shell "${shell}": no completion for it`, { hint: "use bash, zsh or fish" });
  }
}

/**
 * One table: path -> words. The function walks the words typed so far, keeps the longest known path, skips flags and the
 * values of those that take one.
 */
function bash(tool: string, nodes: readonly Node[]): string {
  const rows = nodes.map((n) => {
    const shells = n.path === `${tool} completion` ? SHELLS : [];
    const words = [...n.commands.map((c) => c.name), ...shells, ...n.flags.flatMap((f) => f.names)].join(" ");
    return `    "${n.path}") words="${words}" ;;`;
  });
  const known = nodes.map((n) => `"${n.path}"`).join(" | ");
  const valued = nodes.flatMap((n) =>
    n.flags.filter((f) => f.value).flatMap((f) => f.names.map((name) => `"${n.path} ${name}"`)),
  );
  return `# completion of ${tool}; source it
_gantry_${tool}_known() { case "$1" in ${known}) return 0 ;; *) return 1 ;; esac; }
_gantry_${tool}_valued() { case "$1" in ${valued.join(" | ")}) return 0 ;; *) return 1 ;; esac; }
_gantry_${tool}() {
  local cur="\${COMP_WORDS[COMP_CWORD]}" path="${tool}" words="" i word skip=0
  for ((i = 1; i < COMP_CWORD; i++)); do
    word="\${COMP_WORDS[i]}"
    if ((skip)); then skip=0; continue; fi
    if [[ "$word" == -* ]]; then
      _gantry_${tool}_valued "$path $word" && skip=1
    elif _gantry_${tool}_known "$path $word"; then
      path="$path $word"
    fi
  done
  if ((skip)); then COMPREPLY=($(compgen -f -- "$cur")); return; fi
  case "$path" in
${rows.join("\n")}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
}
complete -o default -F _gantry_${tool} ${tool}
`;
}

function fish(tool: string, nodes: readonly Node[]): string {
  const quote = (text: string): string =>
    `'${text.replace(/\\/g, "\\\\").replace(/'/g, "\\'").replace(/\n/g, " ")}'`;
  const lines = nodes.flatMap((n) => {
    const condition = quote(`__gantry_${tool}_at ${n.path}`);
    const shells = n.path === `${tool} completion` ? SHELLS : [];
    return [
      ...shells.map((shell) => `complete -c ${tool} -n ${condition} -f -a ${shell}`),
      ...n.commands.map((c) => `complete -c ${tool} -n ${condition} -f -a ${c.name} -d ${quote(c.about)}`),
      ...n.flags.map((f) => {
        const names = f.names.map((name) =>
          name.startsWith("--") ? `-l ${name.slice(2)}` : `-s ${name.slice(1)}`,
        );
        return `complete -c ${tool} -n ${condition} ${names.join(" ")}${f.value ? " -r" : ""} -d ${quote(f.about)}`;
      }),
    ];
  });
  // words that name no command (values of flags, references) are passed over, as the bash function does
  return `# completion of ${tool}
set -g __gantry_${tool}_paths ${nodes.map((n) => quote(n.path)).join(" ")}
function __gantry_${tool}_at
  set -l path ${tool}
  for word in (commandline -opc)[2..-1]
    contains -- "$path $word" $__gantry_${tool}_paths; and set path "$path $word"
  end
  test "$path" = "$argv"
end
${lines.join("\n")}
`;
}
