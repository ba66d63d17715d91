import type { Call } from "./call.ts";

/** Waits for work that others wait for too, until the call ends. The work goes on. @throws canceled, deadline-exceeded */
export function untilEnded<T>(call: Call, work: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const stopped = (): void => {
      try {
        call.check();
      } catch (err) {
        reject(err);
      }
    };
    call.signal.addEventListener("abort", stopped, { once: true });
    work.then(resolve, reject).finally(() => call.signal.removeEventListener("abort", stopped));
    if (call.signal.aborted) stopped();
  });
}
