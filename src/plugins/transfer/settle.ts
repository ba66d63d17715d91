import { isCanceled } from "../../core/errors.ts";

/**
 * Waits for tasks of which the first that fails stops the others.
 * @returns the failure that was not a consequence of another; undefined when all went well
 */
export async function settle(tasks: readonly Promise<unknown>[]): Promise<unknown> {
  const results = await Promise.allSettled(tasks);
  const failures = results.filter((r) => r.status === "rejected").map((r) => r.reason as unknown);
  return failures.find((e) => !isCanceled(e)) ?? failures[0];
}
