/**
 * `gantry unpack`: the helper the daemon starts for one layer. It reads compressed bytes, stores and hashes them, unpacks
 * them, hashes the tar and writes the files. See plugins/diff/helper/protocol.ts for how the daemon talks to it.
 *
 * Everything it needs is imported, and every file opened, before it changes its root: afterwards nothing is looked up by
 * name but the layer's own entries (S5).
 */
import { codeOf, messageOf } from "../../core/errors.ts";
import * as fs from "../../platform/syscalls/raw-fs.ts";
import { report, runApply } from "../../plugins/diff/helper/apply.ts";
import type { UnpackInstruction } from "../../plugins/diff/helper/protocol.ts";

/** Runs one helper. Exit code 0 = done, 1 = failed (an error report was written), 2 = wrong use. */
export async function main(args: string[]): Promise<number> {
  const [text] = args;
  if (text === undefined || !text.startsWith("{")) {
    process.stderr.write("gantry unpack: internal helper, started by the daemon only\n");
    return 2;
  }
  try {
    const instruction = JSON.parse(text) as UnpackInstruction;
    fs.dieWithParent();
    if (instruction.parent !== process.ppid) return 1; // the daemon is gone already
    fs.umask(0);
    await runApply(instruction);
    return 0;
  } catch (err) {
    report({ type: "error", code: codeOf(err), message: messageOf(err) });
    return 1;
  }
}

if (import.meta.main) process.exit(await main(process.argv.slice(2)));
