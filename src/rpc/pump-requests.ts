/**
 * Sends everything `requests` gives until it ends or `stop` aborts; then the iterable is told to clean up.
 * Rejects with what the iterable or `send` throws.
 */
export async function pumpRequests<T>(
  requests: AsyncIterable<T>,
  stop: AbortSignal,
  send: (value: T) => Promise<void> | undefined,
): Promise<void> {
  const iterator = requests[Symbol.asyncIterator]();
  // A generator that waits runs its cleanup when the wait is over: nobody waits for it here.
  const leave = (): void => void iterator.return?.()?.catch(() => {});
  stop.addEventListener("abort", leave, { once: true });
  try {
    for (;;) {
      const item = await iterator.next();
      if (item.done === true || stop.aborted) return;
      const wait = send(item.value);
      if (wait !== undefined) await wait;
    }
  } catch (err) {
    leave();
    throw err;
  } finally {
    stop.removeEventListener("abort", leave);
  }
}
