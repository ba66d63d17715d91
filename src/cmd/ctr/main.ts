/** The `ctr` mode: containerd's command line client. */

import { isCanceled } from "../../core/errors.ts";
import { messageFor, nextStep } from "../shared/explain.ts";
import { interruptStatus } from "../shared/interrupt.ts";
import { guardOutput, toStderr, toStdout } from "../shared/output.ts";
import { quickParse } from "../shared/quick-parse.ts";
import { OutputUnread, UNREAD_STATUS } from "../shared/unread.ts";
import { declarations, quickDeclarations } from "./declarations.ts";
import { ctr } from "./tool.ts";

export { madeStreams } from "../shared/output.ts";

/** @returns the exit code */
export async function main(given: string[]): Promise<number> {
  guardOutput("ctr", false);
  // containerd's short name, which the argument library has no place for
  const args = given[0] === "h" ? ["help", ...given.slice(1)] : given;
  if (args.length === 1 && (args[0] === "--version" || args[0] === "-v")) {
    toStdout(`${ctr.version}\n`);
    return 0;
  }
  try {
    const quick = quickParse(args, ctr.globals, await quickDeclarations(args), process.env);
    if (quick !== undefined) {
      const [action, context] = await Promise.all([quick.load(), ctr.context(quick.globals)]);
      return (await action(context, quick.args, { ...quick.options, ...quick.globals })) ?? 0;
    }
    const [{ buildProgram }, { goFlags }] = await Promise.all([
      import("./program.ts"),
      import("../shared/go-flags.ts"),
    ]);
    const plain = goFlags(args, ctr.globals, await declarations(args));
    const program = await buildProgram(plain);
    await program.command.parseAsync(plain, { from: "user" });
    return program.exitCode();
  } catch (err) {
    const { isCommanderExit, usageExit } = await import("../shared/program.ts");
    return isCommanderExit(err) ? usageExit(err) : report(err);
  }
}

/** One clear line, and what to do next. */
function report(err: unknown): number {
  if (err instanceof OutputUnread) return UNREAD_STATUS;
  const status = interruptStatus();
  if (status !== undefined && isCanceled(err)) {
    toStderr("ctr: interrupted\n");
    return status;
  }
  toStderr(`ctr: ${messageFor(err)}\n`);
  const next = nextStep(err);
  if (next !== undefined) toStderr(`     ${next}\n`);
  return 1;
}
