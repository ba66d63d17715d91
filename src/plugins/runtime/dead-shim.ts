/** How the end of a container is known whose shim died. */
import type { Exit } from "../../core/tasks/tasks.ts";
import { sleep } from "../../lib/retry.ts";
import { runsProgram } from "../../platform/process/proc.ts";
import { toTimestamp } from "../../rpc/convert/basic.ts";
import type { Bundle } from "./bundle.ts";

/** 128 + SIGKILL: how a container, or a sandbox, ended whose shim was killed and told nothing. */
export const KILLED = 137;

/** Between two looks at a process that was killed. Milliseconds. */
const LOOK_MS = 10;

/**
 * Waits until a process of a container ends, but no longer than `cleaning` takes. One that waits for others to be reaped counts:
 * it runs nothing any more, and who is to reap them (the machine's first process, when their shim is gone) may take seconds.
 * @returns true when it ran at the beginning, so that nobody can have recorded how it ended, and has ended first
 */
export async function endsBefore(pid: number, cleaning: Promise<unknown>): Promise<boolean> {
  if (!runsProgram(pid)) return false;
  let over = false;
  const end = (): void => {
    over = true;
  };
  cleaning.then(end, end);
  while (!over) {
    await sleep(LOOK_MS);
    if (!runsProgram(pid)) return true;
  }
  return false;
}

/** What events of an end say. */
export function factsOf(bundle: Bundle, exit: Exit) {
  return {
    containerId: bundle.id,
    pid: exit.pid,
    exitStatus: exit.status,
    exitedAt: toTimestamp(exit.exitedAt),
  };
}
