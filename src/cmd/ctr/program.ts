/** ctr as the argument library sees it. */
import { buildTool, type Program } from "../shared/program.ts";
import { declarations } from "./declarations.ts";
import { examples } from "./examples.ts";
import { ctr } from "./tool.ts";

/** Builds the part of the program that `args` need; the whole one has the command `completion`. */
export async function buildProgram(args: readonly string[]): Promise<Program> {
  const specs = await declarations(args);
  if (specs.length <= 1) return buildTool(ctr, specs, examples);
  const { completionCommand } = await import("../shared/completion.ts");
  const program: Program = buildTool(
    ctr,
    [...specs, completionCommand("ctr", () => program.command)],
    examples,
  );
  return program;
}
