/** The `ctr` mode: containerd's command line client. */
import { GantryError, messageOf } from "../../core/errors.ts";
import { quickParse } from "../shared/quick-parse.ts";
import { quickDeclarations } from "./declarations.ts";
import { ctr } from "./tool.ts";

/** @returns the exit code */
export async function main(given: string[]): Promise<number> {
  // containerd's short name, which the argument library has no place for
  const args = given[0] === "h" ? ["help", ...given.slice(1)] : given;
  try {
    const quick = quickParse(args, ctr.globals, await quickDeclarations(args), process.env);
    if (quick !== undefined) {
      const [action, context] = await Promise.all([quick.load(), ctr.context(quick.globals)]);
      return (await action(context, quick.args, { ...quick.options, ...quick.globals })) ?? 0;
    }
    const { buildProgram } = await import("./program.ts");
    const program = await buildProgram(args);
    await program.command.parseAsync(args, { from: "user" });
    return program.exitCode();
  } catch (err) {
    const { isCommanderExit, usageExit } = await import("../shared/program.ts");
    return isCommanderExit(err) ? usageExit(err) : report(err);
  }
}

/** One clear line, and what to do next. */
function report(err: unknown): number {
  const text = err instanceof GantryError ? err.wireMessage : messageOf(err);
  process.stderr.write(`ctr: ${text}\n`);
  if (err instanceof GantryError && err.hint !== undefined) process.stderr.write(`     ${err.hint}\n`);
  return 1;
}
