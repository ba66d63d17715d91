/**
 * `gantry unpack`: the helper the daemon starts for one layer (and, with other jobs, for long work on trees). It reads compressed bytes, stores and hashes them, unpacks
 * them, hashes the tar and writes the files. See plugins/diff/helper/protocol.ts for how the daemon talks to it.
 *
 * Everything it needs is imported, and every file opened, before it changes its root: afterwards nothing is looked up by
 * name but the layer's own entries (S5).
 */
import { codeOf, messageOf } from "../../core/errors.ts";
import * as fs from "../../platform/syscalls/raw-fs.ts";
import type { CompareInstruction, UnpackInstruction } from "../../plugins/diff/helper/protocol.ts";
import { report } from "../../plugins/diff/helper/report.ts";
import type { TreeJob } from "../../plugins/snapshots/tree-jobs.ts";

/** Runs one helper. Exit code 0 = done, 1 = failed (told on stdout by unpack, on stderr by tree jobs), 2 = wrong use. */
export async function main(args: string[]): Promise<number> {
  fs.dieWithParent();
  const text = args[0] === "-" ? await awaitInstruction() : args[0];
  if (text === undefined || !text.startsWith("{")) {
    process.stderr.write("gantry unpack: internal helper, started by the daemon only\n");
    return 2;
  }
  const instruction = JSON.parse(text) as UnpackInstruction | CompareInstruction | TreeJob;
  if (instruction.parent !== process.ppid) return 1; // the daemon is gone already
  fs.umask(0);
  return instruction.mode === "apply" || instruction.mode === "compare"
    ? layer(instruction)
    : tree(instruction);
}

/** Loads what a layer needs and blocks until the instruction is there. Undefined when stdin ended: nobody needs us. */
async function awaitInstruction(): Promise<string | undefined> {
  await import("../../plugins/diff/helper/apply.ts");
  const length = readExactly(4);
  if (length === undefined) return undefined;
  const body = readExactly(length.readUInt32LE(0));
  return body?.toString("utf8");
}

function readExactly(length: number): Buffer | undefined {
  const bytes = Buffer.alloc(length);
  for (let at = 0; at < length; ) {
    const n = fs.read(0, bytes.subarray(at));
    if (n <= 0) return undefined;
    at += n;
  }
  return bytes;
}

async function layer(instruction: UnpackInstruction | CompareInstruction): Promise<number> {
  try {
    if (instruction.mode === "apply") {
      const { runApply } = await import("../../plugins/diff/helper/apply.ts");
      await runApply(instruction);
    } else {
      const { runCompare } = await import("../../plugins/diff/helper/compare.ts");
      await runCompare(instruction);
    }
    return 0;
  } catch (err) {
    report({ type: "error", code: codeOf(err), message: messageOf(err) });
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
