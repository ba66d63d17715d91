/** A shim that was creating a task when its daemon was killed. */
import { messageOf } from "../../core/errors.ts";
import type { Logger } from "../../core/log.ts";
import { sleep } from "../../lib/retry.ts";
import { callOptions } from "../../rpc/headers.ts";
import { isListening } from "./shim-manager.ts";
import type { Task } from "./task.ts";

const SIGKILL = 9;
/** How often, and after how many milliseconds again, it is told to end: as long as an OCI runtime may take to create. */
const TURNS = 15;
const AGAIN_MS = 300;

/**
 * Ends a shim that answers though its task was cleaned up. It knows no task before it has made it, and does not shut down while it
 * makes one: so it is told to remove the task and to end until it is gone. One that holds other tasks stays.
 * @param connect makes a connection to it
 * @param callMs longest time of one call
 */
export async function endLateShim(
  address: string,
  connect: () => Task,
  callMs: number,
  log: Logger,
): Promise<void> {
  for (let turn = 0; turn < TURNS && isListening(address); turn++) {
    if (turn > 0) await sleep(AGAIN_MS);
    const { api, bundle, call, transport } = connect();
    const { id } = bundle;
    const limited = () => callOptions(call.within(callMs));
    try {
      // it says that there is no such task, or that it does not run, most of the time
      await api.kill({ id, signal: SIGKILL, all: true }, limited()).catch(() => {});
      await api.delete({ id }, limited()).catch(() => {});
      await api.shutdown({ id, now: false }, limited());
    } catch (err) {
      log.debug("end a shim without tasks", { id, err: messageOf(err) });
    } finally {
      await transport.close();
    }
  }
}
