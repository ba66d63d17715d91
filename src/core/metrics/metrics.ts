/**
 * Metrics of the daemon, in the shape of Prometheus. Plugins make their counters at start from `host.metrics`, and add
 * collectors for what is looked up when somebody asks. Nothing here formats or serves.
 */

/** Labels of a sample. */
export type MetricLabels = Readonly<Record<string, string>>;

/** One value. */
export interface Sample {
  /** `_bucket`, `_sum`, `_count` of histograms. */
  readonly suffix?: string;
  readonly labels: MetricLabels;
  readonly value: number;
}

/** All samples of a name. */
export interface MetricFamily {
  readonly name: string;
  readonly type: "counter" | "gauge" | "histogram";
  readonly help: string;
  readonly samples: readonly Sample[];
}

/** Only grows. */
export interface Counter {
  /** `values` are those of the label names, in order. */
  add(amount: number, ...values: readonly string[]): void;
}

/** Goes up and down. */
export interface Gauge {
  set(value: number, ...values: readonly string[]): void;
  add(amount: number, ...values: readonly string[]): void;
}

/** Times of an operation: a histogram of seconds. */
export interface Timer {
  observe(seconds: number, ...values: readonly string[]): void;
  /** Measures `work`, however it ends. */
  time<T>(work: () => Promise<T>, ...values: readonly string[]): Promise<T>;
}

/** Upper bounds of timers in seconds: the standard ones of Prometheus' libraries. */
export const TIMER_BUCKETS: readonly number[] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

interface Series<T> {
  readonly labels: MetricLabels;
  readonly state: T;
}

/** Where plugins make their metrics. Making a name twice gives the same metric. */
export class MetricRegistry {
  readonly #families = new Map<string, { face: unknown; read: () => MetricFamily }>();
  readonly #collectors: (() => readonly MetricFamily[] | Promise<readonly MetricFamily[]>)[] = [];

  counter(name: string, help: string, ...labels: readonly string[]): Counter {
    return this.#scalar(name, help, "counter", labels);
  }

  gauge(name: string, help: string, ...labels: readonly string[]): Gauge {
    return this.#scalar(name, help, "gauge", labels);
  }

  /** `name` without its unit: `_seconds` is added. */
  timer(name: string, help: string, ...labels: readonly string[]): Timer {
    return this.histogram(`${name}_seconds`, help, ...labels);
  }

  /** Of another unit, with the same buckets. */
  histogram(name: string, help: string, ...labels: readonly string[]): Timer {
    return this.#make(name, () => {
      const series = new SeriesMap(labels, () => ({
        sum: 0,
        count: 0,
        buckets: TIMER_BUCKETS.map(() => 0),
      }));
      const observe = (seconds: number, ...values: readonly string[]): void => {
        const state = series.of(values);
        state.sum += seconds;
        state.count++;
        TIMER_BUCKETS.forEach((bound, i) => {
          if (seconds <= bound) state.buckets[i] = (state.buckets[i] ?? 0) + 1;
        });
      };
      const timer: Timer = {
        observe,
        async time(work, ...values) {
          const start = performance.now();
          try {
            return await work();
          } finally {
            observe((performance.now() - start) / 1000, ...values);
          }
        },
      };
      const read = (): MetricFamily => ({
        name,
        type: "histogram",
        help,
        samples: series.all().flatMap(({ labels: l, state }) => [
          ...TIMER_BUCKETS.map((le, i) => ({
            suffix: "_bucket",
            labels: { ...l, le: String(le) },
            value: state.buckets[i] ?? 0,
          })),
          { suffix: "_bucket", labels: { ...l, le: "+Inf" }, value: state.count },
          { suffix: "_sum", labels: l, value: state.sum },
          { suffix: "_count", labels: l, value: state.count },
        ]),
      });
      return { face: timer, read };
    });
  }

  /** Adds families that are looked up at each collection. A rejection leaves only these out. */
  collect(read: () => readonly MetricFamily[] | Promise<readonly MetricFamily[]>): void {
    this.#collectors.push(read);
  }

  /** Everything now. @param failed is told of each collector that failed */
  async families(failed: (err: unknown) => void): Promise<MetricFamily[]> {
    const looked = await Promise.all(
      this.#collectors.map(async (read) => {
        try {
          return await read();
        } catch (err) {
          failed(err);
          return [];
        }
      }),
    );
    return [...[...this.#families.values()].map((f) => f.read()), ...looked.flat()];
  }

  #scalar(name: string, help: string, type: "counter" | "gauge", labels: readonly string[]): Counter & Gauge {
    return this.#make(name, () => {
      const series = new SeriesMap(labels, () => ({ value: 0 }));
      const face: Counter & Gauge = {
        set: (value, ...values) => {
          series.of(values).value = value;
        },
        add: (amount, ...values) => {
          series.of(values).value += amount;
        },
      };
      const read = (): MetricFamily => ({
        name,
        type,
        help,
        samples: series.all().map(({ labels: l, state }) => ({ labels: l, value: state.value })),
      });
      return { face, read };
    });
  }

  #make<T>(name: string, make: () => { face: T; read: () => MetricFamily }): T {
    const old = this.#families.get(name);
    if (old !== undefined) return old.face as T;
    const made = make();
    this.#families.set(name, made);
    return made.face;
  }
}

/** Series of one metric by label values. A metric without labels is there from the start, as zero. */
class SeriesMap<T> {
  readonly #names: readonly string[];
  readonly #fresh: () => T;
  readonly #series = new Map<string, Series<T>>();

  constructor(names: readonly string[], fresh: () => T) {
    this.#names = names;
    this.#fresh = fresh;
    if (names.length === 0) this.of([]);
  }

  of(values: readonly string[]): T {
    const key = values.join("\0");
    const old = this.#series.get(key);
    if (old !== undefined) return old.state;
    const state = this.#fresh();
    const labels = Object.fromEntries(this.#names.map((name, i) => [name, values[i] ?? ""]));
    this.#series.set(key, { labels, state });
    return state;
  }

  all(): Series<T>[] {
    return [...this.#series.values()];
  }
}
