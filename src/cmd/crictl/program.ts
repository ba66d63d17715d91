/** crictl as the argument library sees it. */
import { completionCommand } from "../shared/completion.ts";
import { buildTool, type Program } from "../shared/program.ts";
import type { CommandSpec } from "./command.ts";
import { examples } from "./examples.ts";
import { crictl } from "./tool.ts";

/** Builds a program of the given commands; `completion` is added. */
export function buildProgram(specs: readonly CommandSpec[]): Program {
  const completion = { ...completionCommand("crictl", () => program.command, "bash"), args: "[shell]" };
  const program: Program = buildTool(crictl, [...specs, completion], examples);
  return program;
}
