/**
 * Tasks of an earlier daemon that need not be asked for: init runs, and below one of our own shims. What a restarted daemon can
 * see without a word from a shim lets it answer before a hundred of them (which may sleep) have answered it.
 */
import { existsSync } from "node:fs";
import { basename, join } from "node:path";
import { sleep } from "../../lib/retry.ts";
import { Semaphore } from "../../lib/semaphore.ts";
import { commandLineOf, readProcStat } from "../../platform/process/proc.ts";
import { fromStatus } from "../../rpc/convert/tasks.ts";
import { callOptions } from "../../rpc/headers.ts";
import { type Bundle, readPid } from "./bundle.ts";
import { rememberState } from "./known-state.ts";
import type { Task } from "./task.ts";

/** The daemon has better things to do while it starts. Milliseconds. */
const LATER_MS = 200;
/** Shims that are asked at once: one that sleeps needs the processor to wake up. */
const AT_ONCE = 4;

/**
 * Pid of init when it is sure that it runs. A number that was given to another process meanwhile is none: that is no child of a
 * shim, or its shim has written down how the first one ended.
 * @returns undefined when the shim is to be asked
 */
export function runningInit(bundle: Bundle): number | undefined {
  if (existsSync(join(bundle.path, "exit.json"))) return undefined;
  const pid = readPid(bundle);
  const stat = pid > 0 ? readProcStat(pid) : undefined;
  if (stat === undefined || stat.state === "Z" || stat.state === "X") return undefined;
  const words = commandLineOf(stat.parent) ?? [];
  const shim = basename(words[0] ?? "") === "containerd-shim-runc-v2";
  return shim && words[words.indexOf("-namespace") + 1] === bundle.namespace ? pid : undefined;
}

/**
 * Asks the shims after all, a few at a time: for the streams of their tasks, and to hear of their ends by `watch`.
 * @param loadMs longest time of one answer
 */
export async function askLater(
  tasks: readonly Task[],
  loadMs: number,
  watch: (task: Task) => void,
): Promise<void> {
  await sleep(LATER_MS);
  const turns = new Semaphore(AT_ONCE);
  await Promise.all(
    tasks.map(async (task) => {
      using _turn = await turns.acquire();
      // a Delete that is under way may be refused: only one that is over ends it
      if (task.call.signal.aborted || task.exit !== undefined) return;
      // this finds out whether the shim lives
      watch(task);
      const options = callOptions(task.call.within(loadMs));
      const state = await task.api.state({ id: task.bundle.id }, options).catch(() => undefined);
      task.assumed = false;
      if (state === undefined) return;
      const { pid, stdin, stdout, stderr, terminal } = state;
      task.stdio = { stdin, stdout, stderr, terminal };
      const status = fromStatus(state.status);
      if (status === "running")
        rememberState(task, {
          containerId: task.bundle.id,
          execId: "",
          pid,
          status,
          ...task.stdio,
          exitStatus: 0,
        });
    }),
  );
}
