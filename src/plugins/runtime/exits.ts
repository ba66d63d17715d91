/** How processes end, for those who wait. */
import type { NamespacedCall } from "../../core/call.ts";
import { isUnavailable } from "../../core/errors.ts";
import type { Exit } from "../../core/tasks/tasks.ts";
import { untilEnded } from "../../core/until-ended.ts";
import { fromTimestamp } from "../../rpc/convert/basic.ts";
import { callOptions } from "../../rpc/headers.ts";
import { isListening } from "./shim-manager.ts";
import type { Task } from "./task.ts";

/** The end of a process: of init, which the daemon watches itself, when `execId` is "". */
export async function exitOf(call: NamespacedCall, task: Task, execId: string): Promise<Exit> {
  if (execId === "") return await untilEnded(call, task.ended.promise);
  const known = task.execs.get(execId);
  try {
    const answer = await task.api.wait({ id: task.bundle.id, execId }, callOptions(call));
    const exit = { pid: 0, status: answer.exitStatus, exitedAt: fromTimestamp(answer.exitedAt) };
    if (known !== undefined) known.exit = exit;
    return exit;
  } catch (err) {
    if (!isUnavailable(err) || (task.exit === undefined && isListening(task.address.address))) throw err;
    // the container takes its execs along when its shim is lost, which is being found out
    return await untilEnded(call, task.ended.promise);
  }
}
