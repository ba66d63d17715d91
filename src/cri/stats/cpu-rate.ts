/** Processor use as a rate, from samples of the total. Times are nanoseconds of the monotonic clock. */
interface Track {
  at: bigint;
  ns: bigint;
  rate: bigint | undefined;
}

/** Samples closer than this say too little. */
const SHORTEST_NS = 100_000_000n;
const SECOND_NS = 1_000_000_000n;

/** See the file's comment. */
export class CpuRates {
  readonly #tracks = new Map<string, Track>();

  /** Adds a sample. @returns cores in use since the sample before, in billionths; undefined until there are two */
  sample(id: string, ns: bigint, at: bigint = process.hrtime.bigint()): bigint | undefined {
    const track = this.#tracks.get(id);
    // less than before: another process took the id (a restart)
    if (track === undefined || ns < track.ns) {
      this.#tracks.set(id, { at, ns, rate: undefined });
      return undefined;
    }
    const passed = at - track.at;
    if (passed < SHORTEST_NS) return track.rate;
    track.rate = ((ns - track.ns) * SECOND_NS) / passed;
    track.at = at;
    track.ns = ns;
    return track.rate;
  }

  /** The newest rate without a new sample. */
  rate(id: string): bigint | undefined {
    return this.#tracks.get(id)?.rate;
  }

  /** Forgets everything that is not in `ids`. */
  keep(ids: ReadonlySet<string>): void {
    for (const id of this.#tracks.keys()) if (!ids.has(id)) this.#tracks.delete(id);
  }

  clear(): void {
    this.#tracks.clear();
  }
}
