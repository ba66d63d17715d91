/** StopContainer: its stop signal once, SIGKILL after the timeout. */
import type { Call, NamespacedCall } from "../../core/call.ts";
import { deadlineExceeded, isNotFound, isUnavailable, wrap } from "../../core/errors.ts";
import { retry } from "../../lib/retry.ts";
import type { Cri } from "../cri.ts";
import type { Container } from "../model.ts";
import { limit } from "../step.ts";
import { signalNumber } from "./signals.ts";

const SIGKILL = 9;
/** How long the end is waited for after SIGKILL. Milliseconds. */
const KILL_MS = 120_000;

/** Stops a container; one that is not running is fine. Callers at the same time share the wait. */
export async function stopContainer(
  cri: Cri,
  call: Call,
  container: Container,
  timeoutMs: number,
): Promise<void> {
  const { id } = container;
  const { store } = cri;
  {
    // not in the middle of a start
    using _lock = await cri.locks.acquire(id, call.signal);
  }
  const running = store.findContainer(id);
  if (running === undefined || (running.state !== "running" && running.state !== "unknown")) return;
  const work = cri.deps.call.until(call.signal).under(call.span);
  if (timeoutMs > 0) {
    await cri.signalled(id, () => signal(cri, work, running, signalNumber(running.stopSignal)));
    using patience = limit(work, timeoutMs);
    if (await ended(cri, patience.call, id)) return await cri.monitor.settled(id);
    call.check();
    cri.deps.log.info("container did not stop in time: killed", { id, seconds: timeoutMs / 1000 });
  }
  using last = limit(work, KILL_MS);
  await signal(cri, last.call, running, SIGKILL);
  if (!(await ended(cri, last.call, id))) {
    call.check();
    throw deadlineExceeded(`stop container "${id}": it did not end within ${KILL_MS} ms of SIGKILL`);
  }
  await cri.monitor.settled(id);
}

/** A signal to the container; being gone is fine. A connection that breaks is tried again. */
async function signal(cri: Cri, call: NamespacedCall, container: Container, number: number): Promise<void> {
  try {
    await retry(() => cri.deps.tasks.kill(call, container.id, "", number, false), {
      attempts: 3,
      retryable: isUnavailable,
      signal: call.signal,
    });
  } catch (err) {
    if (!isNotFound(err)) throw wrap(err, `stop container "${container.id}": signal ${number}`);
  }
}

/** False when the call ended first. */
async function ended(cri: Cri, call: NamespacedCall, id: string): Promise<boolean> {
  try {
    await cri.deps.tasks.wait(call, id, "");
    return true;
  } catch (err) {
    if (isNotFound(err)) {
      // its exit is being written down, or it has no task at all
      await cri.monitor.settled(id);
      if (cri.store.findContainer(id)?.state === "running") await cri.monitor.containerEnded(id, undefined);
      return true;
    }
    if (call.signal.aborted) return false;
    throw err;
  }
}
