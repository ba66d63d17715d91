/**
 * Traces: what the engine tells a collector about how long the parts of a call took. A {@link Span} is one part; the call
 * that runs carries the span it runs in (`Call.span`), and `traced` makes the next one below it. Without a tracer no call
 * has a span and nothing is made.
 */

/** Identity of a span, as W3C Trace Context sends it. */
export interface SpanContext {
  /** 32 hex digits. */
  readonly traceId: string;
  /** 16 hex digits. */
  readonly spanId: string;
  /** The trace is recorded. */
  readonly sampled: boolean;
  /** `tracestate` of the caller, handed on as it came; "" when none. */
  readonly state: string;
}

/** Value of an attribute. Whole numbers and bigints are exported as 64-bit integers. */
export type Attribute = string | number | bigint | boolean;

/** Attributes by name. */
export type Attributes = Readonly<Record<string, Attribute>>;

/** Which side of a call a span is. */
export type SpanKind = "internal" | "server" | "client";

/** One part of a trace. Ended once; what comes later is dropped. */
export interface Span {
  readonly context: SpanContext;
  child(name: string, kind?: SpanKind, attributes?: Attributes): Span;
  set(name: string, value: Attribute): void;
  /** @param error the reason when the part failed */
  end(error?: string): void;
}

/** Makes the first span of a process's part of a trace. */
export interface Tracer {
  /** @param parent the caller's span, when it told it */
  start(name: string, kind: SpanKind, parent: SpanContext | undefined, attributes?: Attributes): Span;
}

/** A span that ended, as processors get it. Times are nanoseconds since the epoch. */
export interface EndedSpan {
  readonly context: SpanContext;
  /** Span id of the parent; "" for the root of a trace. */
  readonly parentId: string;
  readonly name: string;
  readonly kind: SpanKind;
  readonly start: bigint;
  readonly end: bigint;
  readonly attributes: ReadonlyMap<string, Attribute>;
  /** Undefined when it did not fail. */
  readonly error: string | undefined;
}

/** What every span of this process is about: `service.name` and the like. */
export type Resource = ReadonlyMap<string, Attribute>;

/** Takes ended spans. Must not block or throw. */
export interface SpanProcessor {
  ended(span: EndedSpan, resource: Resource): void;
}

/** Name of the header that carries the caller's span. */
export const TRACEPARENT = "traceparent";
/** Name of the header of vendors' data. */
export const TRACESTATE = "tracestate";

/** The span's header value. */
export function formatTraceparent(span: SpanContext): string {
  return `00-${span.traceId}-${span.spanId}-${span.sampled ? "01" : "00"}`;
}

/** Longest `tracestate` handed on. */
const MAX_STATE = 512;

/**
 * Reads W3C Trace Context headers. @returns undefined for anything malformed: a bad header begins a new trace and is no
 * error of the call
 */
export function parseTraceparent(parent: string | undefined, state?: string): SpanContext | undefined {
  const match = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/.exec(parent ?? "");
  const [, version = "", traceId = "", spanId = "", flags = "", more] = match ?? [];
  if (match === null || version === "ff" || (version === "00" && more !== undefined)) return undefined;
  if (/^0+$/.test(traceId) || /^0+$/.test(spanId)) return undefined;
  const kept = state !== undefined && state.length <= MAX_STATE ? state : "";
  return { traceId, spanId, sampled: (Number.parseInt(flags, 16) & 1) === 1, state: kept };
}
