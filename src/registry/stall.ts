/** Watches a byte stream for progress: a peer that stalls or drips must not hold a pull for ever (R19). */
import { unavailable } from "../core/errors.ts";

/** Floor of progress. */
export interface StallLimits {
  /** Milliseconds of waiting after which the floor is looked at. Default 60 000. */
  readonly windowMs?: number;
  /** Bytes that must have come in the window. Default 4096. */
  readonly floorBytes?: number;
}

/**
 * Passes chunks on. Only time spent waiting for the peer counts, so a slow consumer is no stall.
 * @throws unavailable when fewer than `floorBytes` came within `windowMs` of waiting
 */
export async function* watchStall(
  source: AsyncIterable<Uint8Array>,
  what: string,
  limits: StallLimits = {},
): AsyncGenerator<Uint8Array, void, undefined> {
  const { windowMs = 60_000, floorBytes = 4096 } = limits;
  const iterator = source[Symbol.asyncIterator]();
  let waited = 0;
  let got = 0;
  let ended = false;
  try {
    for (;;) {
      const start = performance.now();
      const next = await race(iterator.next(), Math.max(1, windowMs - waited));
      waited += performance.now() - start;
      if (next !== undefined && next.done === true) {
        ended = true;
        return;
      }
      if (next !== undefined) got += next.value.byteLength;
      if (next === undefined || waited >= windowMs) {
        if (next === undefined || got < floorBytes)
          throw unavailable(`${what}: stalled: ${got} bytes in ${Math.round(waited / 1000)} s`);
        waited = 0;
        got = 0;
      }
      if (next !== undefined) yield next.value;
    }
  } finally {
    // Not awaited: a source that never answers must not hold the caller.
    if (!ended) void Promise.resolve(iterator.return?.()).catch(() => {});
  }
}

async function race<T>(promise: Promise<T>, ms: number): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), ms);
  });
  promise.catch(() => {});
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
