/** `containerd-shim-runc-v2`: start, delete, -info, -v, and the server process itself. Each loads only what it needs. */
import { readFileSync } from "node:fs";
import { messageOf } from "../../src/core/errors.ts";
import { parseShimArgs } from "../shared/args.ts";

/** @param argv words after the program (and mode). @returns exit code */
export async function main(argv: string[]): Promise<number> {
  try {
    // Called by its own name with the mode in front: our own re-executions do that.
    const args = parseShimArgs(argv[0] === "shim" ? argv.slice(1) : argv);
    if (args.version) {
      const { revision, version } = await import("../../src/lib/version.ts");
      await print(`containerd-shim-runc-v2:\n  Version:  ${version}\n  Revision: ${revision}\n`);
    } else if (args.info) {
      await print(await (await import("./info.ts")).info(stdin()));
    } else if (args.action === "start") {
      await print(await (await import("./start.ts")).start(args, stdin()));
    } else if (args.action === "delete") {
      await print(await (await import("./delete.ts")).cleanUp(args));
    } else if (args.action === "serve") {
      // at once: this program's streams, which nobody wrote to, need not be made to be flushed
      process.exit(await (await import("./serve.ts")).serve());
    } else {
      const woken = args.action === "" ? (await import("../shared/sleep.ts")).wokenFrom() : undefined;
      if (woken !== undefined) process.exit(await (await import("./serve.ts")).wake(woken));
      throw new Error(`unknown action "${args.action}": want start, delete or serve`);
    }
    return 0;
  } catch (error) {
    process.stderr.write(`containerd-shim-runc-v2: ${messageOf(error)}\n`);
    return 1;
  }
}

function stdin(): Uint8Array {
  try {
    return readFileSync(0);
  } catch {
    // Closed, or a terminal nobody typed into.
    return new Uint8Array();
  }
}

function print(output: Uint8Array | string): Promise<void> {
  return new Promise((resolve, reject) => {
    process.stdout.write(output, (error) => (error ? reject(error) : resolve()));
  });
}
