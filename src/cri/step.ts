/** Steps of long operations: each has a deadline, and an error or a caller that waited too long names the one that is stuck. */
import type { Call } from "../core/call.ts";
import { abortError } from "../core/call.ts";
import { deadlineExceeded, wrap } from "../core/errors.ts";
import type { Progress } from "./store/creations.ts";

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
  const limited = call.within(ms);
  const running = work(limited);
  running.catch(() => {});
  let stop = (): void => {};
  const ended = new Promise<never>((_resolve, reject) => {
    stop = () => {
      const err = abortError(limited.signal);
      reject(err.code === "deadline-exceeded" ? deadlineExceeded(`still busy after ${ms} ms`) : err);
    };
    limited.signal.addEventListener("abort", stop, { once: true });
  });
  try {
    return await Promise.race([running, ended]);
  } catch (err) {
    throw wrap(err, name);
  } finally {
    limited.signal.removeEventListener("abort", stop);
  }
}
