import type { Call } from "../../core/call.ts";
import { abortError } from "../../core/call.ts";
import { diskFull, internal } from "../../core/errors.ts";
import { run } from "../../platform/process/spawn.ts";
import { reExec } from "../../platform/runtime.ts";
import type { TreeJob } from "./tree-jobs.ts";

/** A job without what this module adds. */
type JobOf<T> = T extends TreeJob ? Omit<T, "parent"> : never;

/**
 * Runs a job in a helper process, so that a large tree or a hung disk does not stop the daemon's loop. The end of `call`
 * kills it.
 * @throws internal, resource-exhausted (disk full), canceled, deadline-exceeded
 */
export async function runJob(call: Call, job: JobOf<TreeJob>): Promise<void> {
  call.check();
  const instruction = JSON.stringify({ ...job, parent: process.pid });
  const { command, args, argv0 } = reExec(["unpack", instruction], "gantry-tree");
  const ended = await run(command, args, {
    env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin" },
    signal: call.signal,
    maxOutput: 8192,
    ...(argv0 === undefined ? {} : { argv0 }),
  }).catch((err: unknown) => {
    if (call.signal.aborted) throw abortError(call.signal);
    throw err;
  });
  if (ended.code === 0) return;
  const said = new TextDecoder().decode(ended.stderr).trim();
  const message = said === "" ? `helper ended with code ${ended.code}` : said;
  throw /ENOSPC|EDQUOT|no space left/i.test(message) ? diskFull(message, "ENOSPC") : internal(message);
}
