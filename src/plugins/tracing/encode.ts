/** Ended spans as OTLP messages, in protobuf's form and in the JSON form (ids in hex, enums as numbers, 64 bit as text). */
import { create } from "@bufbuild/protobuf";
import {
  type AnyValue,
  type ExportTraceServiceRequest,
  ExportTraceServiceRequestSchema,
  SpanKind,
  StatusCode,
} from "../../api/gen/opentelemetry/v1/trace_pb.ts";
import type { Attribute, EndedSpan, Resource } from "../../core/tracing/span.ts";

/** What made the spans. */
export interface Scope {
  readonly name: string;
  readonly version: string;
}

const KINDS: Readonly<Record<EndedSpan["kind"], SpanKind>> = {
  internal: SpanKind.INTERNAL,
  server: SpanKind.SERVER,
  client: SpanKind.CLIENT,
};

/** One request with all of the spans. */
export function toRequest(
  spans: readonly EndedSpan[],
  resource: Resource,
  scope: Scope,
): ExportTraceServiceRequest {
  return create(ExportTraceServiceRequestSchema, {
    resourceSpans: [
      { resource: { attributes: pairs(resource) }, scopeSpans: [{ scope, spans: spans.map(toSpan) }] },
    ],
  });
}

function toSpan(span: EndedSpan) {
  return {
    traceId: Buffer.from(span.context.traceId, "hex"),
    spanId: Buffer.from(span.context.spanId, "hex"),
    traceState: span.context.state,
    parentSpanId: Buffer.from(span.parentId, "hex"),
    name: span.name,
    kind: KINDS[span.kind],
    startTimeUnixNano: span.start,
    endTimeUnixNano: span.end,
    attributes: pairs(span.attributes),
    status: statusOf(span),
    flags: 1,
  };
}

function statusOf({ error }: EndedSpan): { code: StatusCode; message: string } {
  return error === undefined
    ? { code: StatusCode.UNSET, message: "" }
    : { code: StatusCode.ERROR, message: error };
}

function pairs(attributes: ReadonlyMap<string, Attribute>) {
  return [...attributes].map(([key, value]) => ({ key, value: { value: anyValue(value) } }));
}

function anyValue(value: Attribute): AnyValue["value"] {
  if (typeof value === "string") return { case: "stringValue", value };
  if (typeof value === "boolean") return { case: "boolValue", value };
  if (typeof value === "bigint") return { case: "intValue", value };
  return Number.isSafeInteger(value)
    ? { case: "intValue", value: BigInt(value) }
    : { case: "doubleValue", value };
}

/** The same as JSON. */
export function toJson(spans: readonly EndedSpan[], resource: Resource, scope: Scope): string {
  return JSON.stringify({
    resourceSpans: [
      {
        resource: { attributes: jsonPairs(resource) },
        scopeSpans: [{ scope, spans: spans.map(jsonSpan) }],
      },
    ],
  });
}

function jsonSpan(span: EndedSpan): Record<string, unknown> {
  const { traceId, spanId, state } = span.context;
  return {
    traceId,
    spanId,
    ...(state === "" ? {} : { traceState: state }),
    ...(span.parentId === "" ? {} : { parentSpanId: span.parentId }),
    name: span.name,
    kind: KINDS[span.kind],
    startTimeUnixNano: String(span.start),
    endTimeUnixNano: String(span.end),
    attributes: jsonPairs(span.attributes),
    status: statusOf(span),
    flags: 1,
  };
}

function jsonPairs(attributes: ReadonlyMap<string, Attribute>): unknown[] {
  return [...attributes].map(([key, attribute]) => {
    const { case: name, value } = anyValue(attribute);
    return { key, value: { [name ?? "stringValue"]: typeof value === "bigint" ? String(value) : value } };
  });
}
