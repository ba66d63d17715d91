/** Steps of long operations: each has a deadline, and an error or a caller that waited too long names the one that is stuck. */
import type { Call } from "../core/call.ts";
import { abortError } from "../core/call.ts";
import { deadlineExceeded, wrap } from "../core/errors.ts";
import { traced } from "../core/tracing/traced.ts";
import { LONGEST_TIMER_MS } from "../lib/time.ts";
import type { Progress } from "./store/creations.ts";

/** A call with an end of its own; dispose it when the work is done, so that no timer and no listener stays. */
export interface LimitedCall<C extends Call> extends Disposable {
  readonly call: C;
}

/** The same call, ended at the latest after `ms`. For work that is done often: `Call.within` keeps its timer to the end. */
export function limit<C extends Call>(call: C, ms: number): LimitedCall<C> {
  const controller = new AbortController();
  const stop = (): void => controller.abort(call.signal.reason);
  const timer = setTimeout(
    () => controller.abort(deadlineExceeded(`still busy after ${ms} ms`)),
    Math.min(ms, LONGEST_TIMER_MS),
  );
  if (call.signal.aborted) stop();
  else call.signal.addEventListener("abort", stop, { once: true });
  const deadline = Math.min(call.deadline ?? Number.POSITIVE_INFINITY, performance.now() + ms);
  return {
    call: call.with({ deadline, signal: controller.signal }) as C,
    [Symbol.dispose]() {
      clearTimeout(timer);
      call.signal.removeEventListener("abort", stop);
    },
  };
}

/**
 * Runs one step within `ms`. The step is given up at the deadline even when it does not listen to its call.
 * @throws deadline-exceeded naming the step; what the step threw, with the step in front
 */
export async function step<C extends Call, T>(
  call: C,
  progress: Progress,
  name: string,
  ms: number,
  work: (call: C) => Promise<T>,
): Promise<T> {
  progress.step = name;
  using limited = limit(call, ms);
  const { signal } = limited.call;
  let stop = (): void => {};
  try {
    // objects are named in errors; a span has the same name for all
    const running = traced(limited.call, name.replace(/ ".*"$/s, ""), work);
    running.catch(() => {});
    const ended = new Promise<never>((_resolve, reject) => {
      stop = () => reject(abortError(signal));
      signal.addEventListener("abort", stop, { once: true });
      if (signal.aborted) stop();
    });
    return await Promise.race([running, ended]);
  } catch (err) {
    throw wrap(err, name);
  } finally {
    signal.removeEventListener("abort", stop);
  }
}
