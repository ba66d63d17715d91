/**
 * `gantry unpack`: the helper the daemon starts for layers (and, with other jobs, for long work on trees). It reads compressed bytes, stores and hashes them, unpacks
 * them, hashes the tar and writes the files. See plugins/diff/helper/protocol.ts for how the daemon talks to it.
 *
 * Everything it needs is imported, and every file opened, before it changes its root: afterwards nothing is looked up by
 * name but the layer's own entries (S5).
 */
import { codeOf, GantryError, messageOf } from "../../core/errors.ts";
import { dieWithParent, umask } from "../../platform/syscalls/raw-process.ts";
import type { CompareInstruction } from "../../plugins/diff/helper/protocol.ts";
import { report } from "../../plugins/diff/helper/report.ts";
import type { TreeJob } from "../../plugins/snapshots/tree-jobs.ts";

/** Runs one helper. Exit code 0 = done, 1 = failed (told on stdout by unpack, on stderr by tree jobs), 2 = wrong use. */
export async function main(args: string[]): Promise<number> {
  dieWithParent();
  const [text] = args;
  if (text === "-") {
    umask(0);
    return reporting(async () => (await import("../../plugins/diff/helper/apply.ts")).serveApply());
  }
  if (text === undefined || !text.startsWith("{")) {
    process.stderr.write("gantry unpack: internal helper, started by the daemon only\n");
    return 2;
  }
  const instruction = JSON.parse(text) as CompareInstruction | TreeJob;
  if (instruction.parent !== process.ppid) return 1; // the daemon is gone already
  umask(0);
  if (instruction.mode !== "compare") return tree(instruction);
  return reporting(async () =>
    (await import("../../plugins/diff/helper/compare.ts")).runCompare(instruction),
  );
}

/** Tells a failure of `work` to the daemon. */
async function reporting(work: () => Promise<void>): Promise<number> {
  try {
    await work();
    return 0;
  } catch (err) {
    const hint = err instanceof GantryError ? err.hint : undefined;
    report({
      type: "error",
      code: codeOf(err),
      message: messageOf(err),
      ...(hint === undefined ? {} : { hint }),
    });
    return 1;
  }
}

async function tree(job: TreeJob): Promise<number> {
  const { runTreeJob } = await import("../../plugins/snapshots/tree-jobs.ts");
  try {
    runTreeJob(job);
    return 0;
  } catch (err) {
    process.stderr.write(`${messageOf(err)}\n`);
    return 1;
  }
}

if (import.meta.main) process.exit(await main(process.argv.slice(2)));
