/** Makes spans: ids, sampling, times, bounds. */
import { randomFillSync } from "node:crypto";
import type {
  Attribute,
  Attributes,
  Resource,
  Span,
  SpanContext,
  SpanKind,
  SpanProcessor,
  Tracer,
} from "../../core/tracing/span.ts";
import { nowNs } from "../../lib/time.ts";
import type { SamplerSettings } from "./settings.ts";

/** Attributes of one span; more are dropped. The standard's default. */
const MAX_ATTRIBUTES = 128;
/** Characters of one text: an error may hold a runtime's whole output. */
const MAX_TEXT = 4096;

/** Makes a tracer whose ended spans go to every processor. */
export function createTracer(
  sampler: SamplerSettings,
  resource: Resource,
  processors: readonly SpanProcessor[],
): Tracer {
  const ended: Ended = (span) => {
    for (const p of processors) p.ended(span, resource);
  };
  return {
    start(name, kind, parent, attributes) {
      const traceId = parent?.traceId ?? randomHex(16);
      const sampled =
        parent !== undefined && sampler.parentBased ? parent.sampled : withinRatio(traceId, sampler.ratio);
      const context = { traceId, spanId: randomHex(8), sampled, state: parent?.state ?? "" };
      return sampled
        ? new RecordingSpan(ended, context, parent?.spanId ?? "", name, kind, attributes)
        : new SilentSpan(context);
    },
  };
}

type Ended = (span: Parameters<SpanProcessor["ended"]>[0]) => void;

/** The low 7 bytes of the id decide, so that every process of a trace decides alike (the standard's ratio sampler). */
function withinRatio(traceId: string, ratio: number): boolean {
  if (ratio >= 1) return true;
  return BigInt(`0x${traceId.slice(18)}`) < BigInt(Math.floor(ratio * 2 ** 56));
}

class RecordingSpan implements Span {
  readonly context: SpanContext;
  readonly #ended: Ended;
  readonly #parentId: string;
  readonly #name: string;
  readonly #kind: SpanKind;
  readonly #start = nowNs();
  readonly #attributes = new Map<string, Attribute>();
  #done = false;

  constructor(
    ended: Ended,
    context: SpanContext,
    parentId: string,
    name: string,
    kind: SpanKind,
    attributes: Attributes = {},
  ) {
    this.#ended = ended;
    this.context = context;
    this.#parentId = parentId;
    this.#name = name;
    this.#kind = kind;
    for (const [key, value] of Object.entries(attributes)) this.set(key, value);
  }

  child(name: string, kind: SpanKind = "internal", attributes?: Attributes): Span {
    const context = { ...this.context, spanId: randomHex(8) };
    return new RecordingSpan(this.#ended, context, this.context.spanId, name, kind, attributes);
  }

  set(name: string, value: Attribute): void {
    if (this.#attributes.size >= MAX_ATTRIBUTES && !this.#attributes.has(name)) return;
    this.#attributes.set(name, typeof value === "string" ? clip(value) : value);
  }

  end(error?: string): void {
    if (this.#done) return;
    this.#done = true;
    this.#ended({
      context: this.context,
      parentId: this.#parentId,
      name: this.#name,
      kind: this.#kind,
      start: this.#start,
      end: nowNs(),
      attributes: this.#attributes,
      error: error === undefined ? undefined : clip(error),
    });
  }
}

/** Not recorded; hands the decision on, so that nobody below records either. */
class SilentSpan implements Span {
  readonly context: SpanContext;

  constructor(context: SpanContext) {
    this.context = context;
  }

  child(): Span {
    return this;
  }

  set(): void {}

  end(): void {}
}

function clip(text: string): string {
  return text.length > MAX_TEXT ? `${text.slice(0, MAX_TEXT)}...` : text;
}

const pool = Buffer.alloc(4096);
let used = pool.length;

/** Random bytes as hex, never all zero. The kernel is asked once for many ids. */
function randomHex(bytes: number): string {
  if (used + bytes > pool.length) {
    randomFillSync(pool);
    used = 0;
  }
  const text = pool.toString("hex", used, used + bytes);
  used += bytes;
  return /^0+$/.test(text) ? randomHex(bytes) : text;
}
