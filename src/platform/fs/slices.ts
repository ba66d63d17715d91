/**
 * Runs a generator of synchronous work in slices of a few milliseconds, so that the event loop goes on.
 * @throws the signal's reason when it aborts between slices
 */
export async function runInSlices<T>(
  work: Generator<void, T, void>,
  signal?: AbortSignal,
  sliceMs = 4,
): Promise<T> {
  for (;;) {
    signal?.throwIfAborted();
    const end = performance.now() + sliceMs;
    do {
      const step = work.next();
      if (step.done === true) return step.value;
    } while (performance.now() < end);
    await new Promise((resolve) => setImmediate(resolve));
  }
}
