/** What our daemon asks of a container's streams by annotations of Update: no call of the task service is made for it. */
import { failedPrecondition } from "../../src/core/errors.ts";
import type { CriLog } from "../shared/cri-log.ts";

/**
 * `gantry.log.reopen` opens the log files anew, `gantry.attach.stdout` and `gantry.attach.stderr` name FIFOs that get the output from
 * now on.
 * @param logs of stdout first
 * @returns true when one of them was there. @throws failed-precondition, SyscallError
 */
export function askStreams(logs: readonly CriLog[], annotations: ReadonlyMap<string, string>): boolean {
  let found = false;
  for (const [key, value] of annotations) {
    if (key === "gantry.log.reopen") for (const log of logs) log.reopen();
    else if (key === "gantry.attach.stdout") logs.at(0)?.attach("stdout", value);
    else if (key === "gantry.attach.stderr") logs.at(-1)?.attach("stderr", value);
    else continue;
    if (logs.length === 0) throw failedPrecondition("container has no log of ours");
    found = true;
  }
  return found;
}
