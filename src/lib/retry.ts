/** How often and how long {@link retry} tries. Times are milliseconds. */
export interface RetryOptions {
  /** Tries in all, the first included. Default 5. */
  readonly attempts?: number;
  /** Wait before the second try; doubles each time. Default 100. */
  readonly initialDelayMs?: number;
  /** Longest wait between tries. Default 10 000. */
  readonly maxDelayMs?: number;
  /** Share of each wait that is random, 0 to 1, so that many clients do not come back together. Default 0.5. */
  readonly jitter?: number;
  readonly signal?: AbortSignal;
  /** Says whether `error` is worth another try. Default: always. */
  readonly retryable?: (error: unknown, attempt: number) => boolean;
  /** A wait in milliseconds that the error asks for (Retry-After), taken instead of the backoff. */
  readonly delayFor?: (error: unknown) => number | undefined;
  /** Random source in [0, 1), for tests. */
  readonly random?: () => number;
}

/** The wait before try number `attempt + 1` (attempt counts from 1), in milliseconds. */
export function backoffDelay(attempt: number, options: RetryOptions = {}): number {
  const { initialDelayMs = 100, maxDelayMs = 10_000, jitter = 0.5, random = Math.random } = options;
  const full = Math.min(maxDelayMs, initialDelayMs * 2 ** (attempt - 1));
  return full * (1 - jitter) + full * jitter * random();
}

/**
 * Runs `body` until it succeeds, tries are used up, or the error is not retryable.
 * @throws the last error, or the signal's reason
 */
export async function retry<T>(
  body: (attempt: number) => Promise<T> | T,
  options: RetryOptions = {},
): Promise<T> {
  const { attempts = 5, signal, retryable = () => true } = options;
  for (let attempt = 1; ; attempt++) {
    signal?.throwIfAborted();
    try {
      return await body(attempt);
    } catch (error) {
      if (signal?.aborted || attempt >= attempts || !retryable(error, attempt)) throw error;
      await sleep(options.delayFor?.(error) ?? backoffDelay(attempt, options), signal);
    }
  }
}

/**
 * Waits `ms` milliseconds.
 * @throws the signal's reason when it aborts first
 */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(signal.reason);
      return;
    }
    const onAbort = (): void => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", onAbort);
      resolve();
    }, ms);
    signal?.addEventListener("abort", onAbort, { once: true });
  });
}
