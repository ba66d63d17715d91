/** A promise with its settle functions outside, for waits that another call ends. */
export interface Deferred<T> {
  readonly promise: Promise<T>;
  /** True once `resolve` or `reject` was called. */
  readonly settled: boolean;
  resolve(value: T): void;
  reject(reason: unknown): void;
}

/** Makes an unsettled {@link Deferred}. Settling twice is harmless: the first call wins. */
export function createDeferred<T>(): Deferred<T> {
  const { promise, resolve, reject } = Promise.withResolvers<T>();
  let settled = false;
  return {
    promise,
    get settled() {
      return settled;
    },
    resolve(value) {
      settled = true;
      resolve(value);
    },
    reject(reason) {
      settled = true;
      reject(reason);
    },
  };
}
