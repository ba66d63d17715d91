/**
 * Gathers ended spans and sends them in batches, one request at a time. Bounded in every direction: what does not fit or
 * cannot be sent is dropped and counted, and a collector that is away costs nothing but the queue's memory.
 */
import { setTimeout as delay } from "node:timers/promises";
import { messageOf } from "../../core/errors.ts";
import type { Logger } from "../../core/log.ts";
import type { Counter, MetricRegistry } from "../../core/metrics/metrics.ts";
import type { EndedSpan, Resource, SpanProcessor } from "../../core/tracing/span.ts";
import type { BatchSettings } from "./settings.ts";

/** Sends a batch. */
export interface Exporter {
  /**
   * @returns how many spans the collector refused
   * @throws {@link RetryError} when the same request may succeed later
   */
  send(spans: readonly EndedSpan[], resource: Resource, signal: AbortSignal): Promise<number>;
  close(): Promise<void>;
}

/** The collector is away or busy. */
export class RetryError extends Error {
  override readonly name = "RetryError";
  /** Milliseconds the collector asked to wait; 0 when it did not say. */
  readonly afterMs: number;

  constructor(message: string, afterMs = 0) {
    super(message);
    this.afterMs = afterMs;
  }
}

/** Tries of one batch, and the pause after the first; it doubles. */
const TRIES = 4;
const PAUSE_MS = 1_000;
/** Longest pause, also when the collector asks for more. */
const MAX_PAUSE_MS = 30_000;

/** See the head of this file. */
export class SpanBatcher implements SpanProcessor {
  readonly #exporter: Exporter;
  readonly #settings: BatchSettings & { readonly timeoutMs: number };
  readonly #log: Logger;
  readonly #sent: Counter;
  readonly #dropped: Counter;
  readonly #stop = new AbortController();
  #queue: EndedSpan[] = [];
  #resource: Resource = new Map();
  #timer: NodeJS.Timeout | undefined;
  #sending: Promise<void> | undefined;
  #failing = false;

  constructor(
    exporter: Exporter,
    settings: BatchSettings & { readonly timeoutMs: number },
    log: Logger,
    metrics: MetricRegistry,
  ) {
    this.#exporter = exporter;
    this.#settings = settings;
    this.#log = log;
    this.#sent = metrics.counter("containerd_trace_spans_sent_total", "Spans the collector took.");
    this.#dropped = metrics.counter(
      "containerd_trace_spans_dropped_total",
      "Spans that were not sent: the queue was full, the collector away, or it refused them.",
      "reason",
    );
  }

  ended(span: EndedSpan, resource: Resource): void {
    if (this.#queue.length >= this.#settings.queue) {
      this.#dropped.add(1, "queue_full");
      return;
    }
    this.#resource = resource;
    this.#queue.push(span);
    if (this.#queue.length >= this.#settings.size) this.#send();
    else this.#arm();
  }

  #arm(): void {
    if (this.#timer !== undefined || this.#sending !== undefined) return;
    this.#timer = setTimeout(() => this.#send(), this.#settings.delayMs);
    this.#timer.unref();
  }

  #send(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#sending ??= this.#drain().finally(() => {
      this.#sending = undefined;
      if (this.#queue.length >= this.#settings.size) this.#send();
      else if (this.#queue.length > 0) this.#arm();
    });
  }

  /** Everything that is queued now, batch by batch. */
  async #drain(): Promise<void> {
    for (let left = this.#queue.length; left > 0; ) {
      const batch = this.#queue.splice(0, this.#settings.size);
      left -= batch.length;
      await this.#deliver(batch);
    }
  }

  async #deliver(batch: readonly EndedSpan[]): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      try {
        const signal = AbortSignal.timeout(this.#settings.timeoutMs);
        const refused = await this.#exporter.send(batch, this.#resource, signal);
        this.#sent.add(batch.length - refused);
        if (refused > 0) this.#dropped.add(refused, "refused");
        if (this.#failing) this.#log.info("traces are exported again");
        this.#failing = false;
        return;
      } catch (err) {
        this.#warn(err);
        const last = attempt >= TRIES || !(err instanceof RetryError) || this.#stop.signal.aborted;
        if (last) {
          this.#dropped.add(batch.length, "export_failed");
          return;
        }
        const pause = Math.min(MAX_PAUSE_MS, Math.max(err.afterMs, PAUSE_MS * 2 ** (attempt - 1)));
        await delay(pause, undefined, { signal: this.#stop.signal, ref: false }).catch(() => {});
      }
    }
  }

  /** Once for each time the collector goes away, not once for each batch. */
  #warn(err: unknown): void {
    if (this.#failing) return;
    this.#failing = true;
    this.#log.warn("export traces: spans are dropped until the collector takes them", {
      err: messageOf(err),
    });
  }

  /** Sends what is queued, for at most `ms`, and ends. */
  async close(ms: number): Promise<void> {
    this.#stop.abort();
    const all = (async () => {
      while (this.#sending !== undefined || this.#queue.length > 0) {
        this.#send();
        await this.#sending;
      }
    })();
    await Promise.race([all, delay(ms, undefined, { ref: false })]);
    clearTimeout(this.#timer);
    await this.#exporter.close();
  }
}
