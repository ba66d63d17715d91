/** The `ctr` mode: containerd's command line client. */
import { GantryError, messageOf } from "../../core/errors.ts";
import { quickDeclarations } from "./declarations.ts";
import { quickParse } from "./quick-parse.ts";

/** @returns the exit code */
export async function main(args: string[]): Promise<number> {
  try {
    const quick = quickParse(args, await quickDeclarations(args), process.env);
    if (quick !== undefined) {
      const [action, { GlobalOptions }] = await Promise.all([quick.load(), import("./context.ts")]);
      return (await action(new GlobalOptions(quick.globals), quick.args, quick.options)) ?? 0;
    }
    const { buildProgram } = await import("./program.ts");
    const program = await buildProgram(args);
    await program.command.parseAsync(args, { from: "user" });
    return program.exitCode();
  } catch (err) {
    return report(err);
  }
}

/** One clear line, and what to do next. */
function report(err: unknown): number {
  if (isCommanderExit(err)) return err.exitCode;
  const text = err instanceof GantryError ? err.wireMessage : messageOf(err);
  process.stderr.write(`ctr: ${text}\n`);
  if (err instanceof GantryError && err.hint !== undefined) process.stderr.write(`     ${err.hint}\n`);
  return 1;
}

/** Commander throws this after it printed help, a version or a usage error. */
function isCommanderExit(err: unknown): err is { exitCode: number } {
  return (
    err instanceof Error &&
    "code" in err &&
    typeof err.code === "string" &&
    err.code.startsWith("commander.") &&
    "exitCode" in err
  );
}
