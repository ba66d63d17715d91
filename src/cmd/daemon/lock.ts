/** The lock of a root folder: one daemon per root, for a second one would corrupt what the first writes. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { failedPrecondition } from "../../core/errors.ts";
import { sleep } from "../../lib/retry.ts";
import { lockFile } from "../../platform/fs/lock.ts";
import { runsProgram } from "../../platform/process/proc.ts";

/** A child of a daemon that was killed runs its program by then, and has let go of the lock. Milliseconds. */
const LATE_MS = 2000;
const LOOK_MS = 10;

/**
 * Takes the lock. One of a daemon that has ended is waited for: it was killed while it started a program, which holds the lock from its fork to
 * its exec.
 * @throws failed-precondition when another daemon runs
 */
export async function lockRoot(root: string): Promise<Disposable> {
  const path = join(root, "gantry.lock");
  const late = performance.now() + LATE_MS;
  for (;;) {
    const lock = lockFile(path);
    if (lock !== undefined) return lock;
    if (holderRuns(path) || performance.now() > late)
      throw failedPrecondition(`lock "${root}": another daemon uses this root`, {
        hint: "stop the other daemon, or give this one its own --root, --state and --address",
      });
    await sleep(LOOK_MS);
  }
}

/** Whether the process that says to hold it runs. */
function holderRuns(path: string): boolean {
  const pid = Number.parseInt(readFileSync(path, "utf8"), 10);
  return pid > 0 && runsProgram(pid);
}
