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
    if (command === "oci-hook") return await (await import("./oci-hook.ts")).ociHook(rest);
    const { nearest } = await import("../shared/suggest.ts");
    const meant = nearest(command, ["config", "oci-hook", "publish"]);
    const next = meant === undefined ? 'run "containerd --help" for the commands' : `did you mean ${meant}?`;
    process.stderr.write(`containerd: unknown command "${command}"\n${next}\n`);
    return 1;
  } catch (err) {
    process.stderr.write(`containerd: ${messageOf(err)}\n`);
    const hint = err instanceof GantryError ? err.hint : rightsHint(err);
    if (hint !== undefined) process.stderr.write(`${hint}\n`);
    return 1;
  }
}

function rightsHint(err: unknown): string | undefined {
  const denied = err instanceof Error && "code" in err && (err.code === "EPERM" || err.code === "EACCES");
  return denied && process.geteuid?.() !== 0
    ? "the engine runs as root: sudo systemctl start containerd"
    : undefined;
}
