/** `gantry run`, `gantry ps` and the other everyday commands. */
import { version } from "../../lib/version.ts";
import type { GlobalOptions } from "../ctr/context.ts";
import { ctr } from "../ctr/tool.ts";
import type { CommandSpec, Tool } from "../shared/command.ts";
import { guardOutput } from "../shared/output.ts";
import { buildTool, isCommanderExit, type Program, usageExit } from "../shared/program.ts";
import { declarations } from "./declarations.ts";
import { report } from "./report.ts";

const tool: Tool<GlobalOptions> = {
  name: "gantry",
  about: "Containers on this machine: run, look at, stop and remove them.",
  version: `gantry ${version}`,
  globals: ctr.globals,
  context: ctr.context,
  mergeGlobals: true,
};

/** Parts of the engine with arguments of their own, for completion only: src/main.ts starts them. */
const PARTS: readonly CommandSpec<GlobalOptions>[] = [
  { name: "status", about: "the engine at a glance" },
  {
    name: "doctor",
    about: "find and explain what is wrong on this host",
    flags: [{ flag: "--repair", about: "mend leftovers" }],
  },
  {
    name: "check",
    about: "find damaged blobs and snapshots",
    flags: [{ flag: "--repair", about: "let the next pull heal them" }],
  },
  {
    name: "system",
    about: "the disk",
    commands: [{ name: "df", about: "what uses the disk, and what could be freed" }],
  },
  {
    name: "gc",
    about: "garbage collection",
    commands: [{ name: "explain", args: "<ref>", about: "what keeps it" }],
  },
  {
    name: "cni",
    about: "attach namespaces to CNI networks by hand",
    commands: ["add", "check", "del", "status", "gc", "version"].map((name) => ({ name, about: "" })),
  },
  { name: "builtin-image", about: "write an image that is part of this executable", args: "<name>" },
];

/** Runs a command with its name first, flags of the whole program before it. @returns the exit code */
export async function main(args: string[]): Promise<number> {
  guardOutput("gantry", true);
  try {
    const specs = [...declarations];
    if (args.includes("completion")) {
      const { completionCommand } = await import("../shared/completion.ts");
      const program: Program = buildTool(tool, [
        ...specs,
        ...PARTS,
        completionCommand("gantry", () => program.command),
      ]);
      await program.command.parseAsync(args, { from: "user" });
      return program.exitCode();
    }
    const program = buildTool(tool, specs);
    await program.command.parseAsync(args, { from: "user" });
    return program.exitCode();
  } catch (err) {
    if (isCommanderExit(err)) return usageExit(err);
    return report(err);
  }
}
