/** The daemon mode: `containerd`. */
import { GantryError, messageOf } from "../../core/errors.ts";
import { revision, version } from "../../lib/version.ts";
import { help, parseFlags } from "./flags.ts";

/** @returns the exit code */
export async function main(args: string[]): Promise<number> {
  try {
    const flags = parseFlags(args);
    if (flags.version) {
      process.stdout.write(`containerd gantry ${version} ${revision}\n`);
      return 0;
    }
    if (flags.help || flags.command[0] === "help") {
      process.stdout.write(help);
      return 0;
    }
    const [command, ...rest] = flags.command;
    if (command === undefined) return await (await import("./serve.ts")).serve(flags);
    if (command === "config") return await (await import("./config/commands.ts")).configCommand(flags, rest);
    if (command === "publish") return await (await import("./publish.ts")).publish(flags, rest);
    process.stderr.write(
      `containerd: unknown command "${command}"\nrun "containerd --help" for the commands\n`,
    );
    return 1;
  } catch (err) {
    process.stderr.write(`containerd: ${messageOf(err)}\n`);
    if (err instanceof GantryError && err.hint !== undefined) process.stderr.write(`${err.hint}\n`);
    return 1;
  }
}
