/** The `crictl` mode: the client of the Container Runtime Interface, for this engine or another. */
import { GantryError, isCanceled, messageOf } from "../../core/errors.ts";
import { messageFor } from "../shared/explain.ts";
import { interruptStatus } from "../shared/interrupt.ts";
import { guardOutput } from "../shared/output.ts";
import { quickParse } from "../shared/quick-parse.ts";
import { OutputUnread, UNREAD_STATUS } from "../shared/unread.ts";
import { declarations, quickDeclarations } from "./declarations.ts";
import { crictl } from "./tool.ts";

/** @returns the exit code */
export async function main(args: string[]): Promise<number> {
  guardOutput("crictl", true);
  if (args.length === 1 && (args[0] === "-v" || args[0] === "--version")) {
    process.stdout.write(`${crictl.version}\n`);
    return 0;
  }
  try {
    const quick = quickParse(args, crictl.globals, await quickDeclarations(args), process.env);
    if (quick !== undefined) {
      const [action, context] = await Promise.all([quick.load(), crictl.context(quick.globals)]);
      return (await action(context, quick.args, quick.options)) ?? 0;
    }
    const [{ buildProgram }, { goFlags }] = await Promise.all([
      import("./program.ts"),
      import("../shared/go-flags.ts"),
    ]);
    const specs = await declarations(args);
    const program = buildProgram(specs);
    await program.command.parseAsync(goFlags(args, crictl.globals, specs), { from: "user" });
    return program.exitCode();
  } catch (err) {
    return await report(err);
  }
}

/** One clear line, and what to do next. */
async function report(err: unknown): Promise<number> {
  if (err instanceof OutputUnread) return UNREAD_STATUS;
  const { isCommanderExit, usageExit } = await import("../shared/program.ts");
  if (isCommanderExit(err)) return usageExit(err);
  if (err instanceof Error && err.name === "AbortError") {
    process.stderr.write("crictl: interrupted\n");
    return interruptStatus() ?? 1;
  }
  const text =
    err instanceof GantryError && isEnd(err)
      ? err.wireMessage
      : err instanceof GantryError
        ? messageOf(err)
        : messageFor(err);
  process.stderr.write(`crictl: ${text}\n`);
  const hint = err instanceof GantryError ? (err.hint ?? hintFor(err)) : undefined;
  if (hint !== undefined) process.stderr.write(`        ${hint}\n`);
  return (isCanceled(err) ? interruptStatus() : undefined) ?? 1;
}

/** Errors whose message may be empty: the class says what happened. */
const isEnd = (err: GantryError): boolean => err.code === "deadline-exceeded" || err.code === "canceled";

function hintFor(err: GantryError): string | undefined {
  if (err.code === "deadline-exceeded")
    return "the engine needed longer than the timeout: give more with --timeout 30s, or timeout: 30 in /etc/crictl.yaml";
  const missing =
    err.code === "not-found" ? /try to find (container|sandbox) "/.exec(err.message)?.[1] : undefined;
  if (missing !== undefined)
    return missing === "container" ? "crictl ps -a lists what there is" : "crictl pods lists what there is";
  const holder = /is reserved for "([^"]+)"/.exec(err.message)?.[1];
  if (holder !== undefined) {
    const pod = /sandbox name/.test(err.message);
    return `${pod ? "crictl rmp -f" : "crictl rm -f"} ${holder.slice(0, 13)} removes the one that has this name; or change metadata.${pod ? "uid" : "name"} or metadata.attempt`;
  }
  if (err.code === "not-implemented" && /runtime\.v1\.|unknown service/i.test(err.message))
    return 'the engine at this endpoint does not serve CRI: see "disabled_plugins" in its configuration';
  return undefined;
}
