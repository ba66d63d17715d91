/** `gantry run`, `gantry ps` and the other everyday commands. */
import { version } from "../../lib/version.ts";
import type { GlobalOptions } from "../ctr/context.ts";
import { ctr } from "../ctr/tool.ts";
import type { Tool } from "../shared/command.ts";
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

/** Runs a command with its name first, flags of the whole program before it. @returns the exit code */
export async function main(args: string[]): Promise<number> {
  try {
    const specs = [...declarations];
    if (args.includes("completion")) {
      const { completionCommand } = await import("../shared/completion.ts");
      const program: Program = buildTool(tool, [
        ...specs,
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
