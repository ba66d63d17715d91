/** Callers with the same key at the same time share one run of the work; nothing is kept afterwards. */
export class SingleFlight<K, T> {
  readonly #running = new Map<K, Promise<T>>();

  /** Number of keys with a run under way. */
  get size(): number {
    return this.#running.size;
  }

  /** Joins the run for `key`, or starts `work`. A failure reaches every caller that shared the run. */
  run(key: K, work: () => Promise<T>): Promise<T> {
    const shared = this.#running.get(key);
    if (shared !== undefined) return shared;
    // The extra hop keeps a synchronous throw of `work` inside the promise.
    const started = Promise.resolve()
      .then(work)
      .finally(() => this.#running.delete(key));
    this.#running.set(key, started);
    return started;
  }
}
