import assert from "node:assert/strict";
import { test } from "node:test";
import { Call } from "../../core/call.ts";
import { noLog } from "../../core/log.ts";
import { MetricRegistry } from "../../core/metrics/metrics.ts";
import {
  type EndedSpan,
  formatTraceparent,
  parseTraceparent,
  type Resource,
} from "../../core/tracing/span.ts";
import { traced } from "../../core/tracing/traced.ts";
import { createDeferred } from "../../lib/deferred.ts";
import { type Exporter, SpanBatcher } from "./batch.ts";
import { resourceOf } from "./resource.ts";
import { exportSettings, parsePairs, samplerSettings } from "./settings.ts";
import { createTracer } from "./tracer.ts";
import { whyNoTraces } from "./why.ts";

const NO_FILE = { endpoint: "", protocol: "", insecure: false };
const TRACE = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN = "00f067aa0ba902b7";

test("traceparent: read, written, and refused when malformed", () => {
  const text = `00-${TRACE}-${SPAN}-01`;
  const context = parseTraceparent(text, "vendor=1");
  assert.deepEqual(context, { traceId: TRACE, spanId: SPAN, sampled: true, state: "vendor=1" });
  assert.equal(context === undefined ? "" : formatTraceparent(context), text);
  assert.equal(parseTraceparent(`00-${TRACE}-${SPAN}-00`)?.sampled, false);
  // a later version may add fields
  assert.equal(parseTraceparent(`01-${TRACE}-${SPAN}-01-more`)?.traceId, TRACE);
  for (const bad of [
    undefined,
    "",
    `ff-${TRACE}-${SPAN}-01`,
    `00-${TRACE}-${SPAN}-01-more`,
    `00-${"0".repeat(32)}-${SPAN}-01`,
    `00-${TRACE}-${"0".repeat(16)}-01`,
    `00-${TRACE.toUpperCase()}-${SPAN}-01`,
    `00-${TRACE}-${SPAN}`,
  ])
    assert.equal(parseTraceparent(bad), undefined, String(bad));
});

test("endpoint: the one of traces is exact, the others get /v1/traces", () => {
  const endpoint = (env: Record<string, string>, file = NO_FILE): string =>
    exportSettings(env, file).endpoint.href;
  assert.equal(endpoint({ OTEL_EXPORTER_OTLP_ENDPOINT: "http://c:4318" }), "http://c:4318/v1/traces");
  assert.equal(endpoint({ OTEL_EXPORTER_OTLP_ENDPOINT: "http://c:4318/a/" }), "http://c:4318/a/v1/traces");
  assert.equal(
    endpoint({ OTEL_EXPORTER_OTLP_ENDPOINT: "http://x", OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: "http://c/t" }),
    "http://c/t",
  );
  assert.equal(
    endpoint({ OTEL_EXPORTER_OTLP_ENDPOINT: "http://c:4317", OTEL_EXPORTER_OTLP_PROTOCOL: "grpc" }),
    "http://c:4317/",
  );
  assert.equal(endpoint({}, { endpoint: "c:4318", protocol: "", insecure: true }), "http://c:4318/v1/traces");
  assert.equal(
    endpoint({}, { endpoint: "c:4318", protocol: "", insecure: false }),
    "https://c:4318/v1/traces",
  );
  assert.throws(() => endpoint({ OTEL_EXPORTER_OTLP_ENDPOINT: "ftp://c" }), /want http/);
});

test("settings: defaults, what wins, and errors that name the variable but not the secret", () => {
  const plain = exportSettings({ OTEL_EXPORTER_OTLP_ENDPOINT: "http://c" }, NO_FILE);
  assert.equal(plain.protocol, "http/protobuf");
  assert.deepEqual(plain.batch, { queue: 2048, size: 512, delayMs: 5000 });
  assert.equal(plain.timeoutMs, 10_000);
  const own = exportSettings(
    {
      OTEL_EXPORTER_OTLP_ENDPOINT: "http://c",
      OTEL_EXPORTER_OTLP_TIMEOUT: "1",
      OTEL_EXPORTER_OTLP_TRACES_TIMEOUT: "2",
      OTEL_EXPORTER_OTLP_PROTOCOL: "",
      OTEL_BSP_MAX_QUEUE_SIZE: "10",
    },
    NO_FILE,
  );
  assert.equal(own.timeoutMs, 2);
  assert.deepEqual(own.batch, { queue: 10, size: 10, delayMs: 5000 });
  assert.deepEqual(
    [...parsePairs("a=1, b = x%2Cy ,", "V")],
    [
      ["a", "1"],
      ["b", "x,y"],
    ],
  );
  assert.throws(
    () => parsePairs("a=1,secret", "V"),
    (err: Error) => /^V: entry 2/.test(err.message) && !err.message.includes("secret"),
  );
  assert.equal(whyNoTraces({}, ""), "no OpenTelemetry endpoint");
  assert.equal(whyNoTraces({ OTEL_EXPORTER_OTLP_ENDPOINT: "http://c" }, ""), undefined);
  assert.match(
    whyNoTraces({ OTEL_EXPORTER_OTLP_ENDPOINT: "http://c", OTEL_SDK_DISABLED: "TRUE" }, "") ?? "",
    /DISABLED/,
  );
});

test("resource: the service's name by its own variable wins", () => {
  const env = { OTEL_RESOURCE_ATTRIBUTES: "service.name=a,zone=z" };
  assert.equal(resourceOf({}, "", "1").get("service.name"), "containerd");
  assert.equal(resourceOf(env, "", "1").get("service.name"), "a");
  assert.equal(resourceOf({ ...env, OTEL_SERVICE_NAME: "b" }, "", "1").get("service.name"), "b");
  assert.equal(resourceOf(env, "", "1").get("zone"), "z");
});

test("sampling: by ratio of the trace id, by the parent, off", () => {
  const count = (sampler: string, arg: string, parent?: boolean): number => {
    const ended: EndedSpan[] = [];
    const settings = samplerSettings(
      { OTEL_TRACES_SAMPLER: sampler, OTEL_TRACES_SAMPLER_ARG: arg },
      undefined,
    );
    const tracer = createTracer(settings, new Map(), [{ ended: (s) => ended.push(s) }]);
    const context =
      parent === undefined ? undefined : { traceId: TRACE, spanId: SPAN, sampled: parent, state: "" };
    for (let i = 0; i < 1000; i++) tracer.start("x", "server", context).end();
    return ended.length;
  };
  assert.equal(count("always_on", ""), 1000);
  assert.equal(count("always_off", ""), 0);
  assert.equal(count("always_off", "", true), 0);
  assert.equal(count("parentbased_always_off", "", true), 1000);
  assert.equal(count("parentbased_always_on", "", false), 0);
  assert.equal(count("traceidratio", "1"), 1000);
  assert.equal(count("traceidratio", "0"), 0);
  const half = count("traceidratio", "0.5");
  assert.ok(half > 300 && half < 700, String(half));
  assert.throws(() => samplerSettings({ OTEL_TRACES_SAMPLER: "jaeger" }, undefined), /jaeger/);
  assert.throws(
    () => samplerSettings({ OTEL_TRACES_SAMPLER: "traceidratio", OTEL_TRACES_SAMPLER_ARG: "2" }, undefined),
    /0 to 1/,
  );
});

test("traced: children, errors, and nothing without a span", async () => {
  const ended: EndedSpan[] = [];
  const tracer = createTracer({ parentBased: true, ratio: 1 }, new Map(), [{ ended: (s) => ended.push(s) }]);
  const root = tracer.start("root", "server", undefined, { n: 1 });
  const call = new Call({ span: root });
  await traced(call, "outer", (c) => traced(c, "inner", async () => 1));
  await assert.rejects(traced(call, "bad", () => Promise.reject(new Error("broken"))));
  root.end();
  root.end("twice");
  const [inner, outer, bad, last] = ended;
  assert.equal(ended.length, 4);
  assert.equal(inner?.parentId, outer?.context.spanId);
  assert.equal(outer?.parentId, root.context.spanId);
  assert.equal(bad?.error, "broken");
  assert.equal(last?.error, undefined);
  assert.equal(await traced(new Call(), "none", async (c) => c.span), undefined);
});

/** An exporter that answers when told. */
function slowExporter() {
  const batches: { readonly spans: readonly EndedSpan[]; readonly answer: (refused: number) => void }[] = [];
  let came = createDeferred<void>();
  const exporter: Exporter = {
    send: (spans) =>
      new Promise((answer) => {
        batches.push({ spans, answer });
        came.resolve();
        came = createDeferred<void>();
      }),
    close: async () => {},
  };
  return { exporter, batches, next: () => came.promise };
}

const RESOURCE: Resource = new Map();

function endedSpan(name: string): EndedSpan {
  return {
    context: { traceId: TRACE, spanId: SPAN, sampled: true, state: "" },
    parentId: "",
    name,
    kind: "internal",
    start: 1n,
    end: 2n,
    attributes: new Map(),
    error: undefined,
  };
}

test("the queue is bounded: what does not fit is dropped and counted, what is refused too", async () => {
  const { exporter, batches, next } = slowExporter();
  const metrics = new MetricRegistry();
  const batcher = new SpanBatcher(
    exporter,
    { queue: 4, size: 2, delayMs: 60_000, timeoutMs: 1000 },
    noLog,
    metrics,
  );
  const first = next();
  for (const name of ["a", "b", "c", "d", "e", "f", "g"]) batcher.ended(endedSpan(name), RESOURCE);
  await first;
  // a and b are on their way, four wait
  assert.deepEqual(
    batches.map((b) => b.spans.map((s) => s.name)),
    [["a", "b"]],
  );
  const second = next();
  batches[0]?.answer(1);
  await second;
  const done = batcher.close(60_000);
  const third = next();
  batches[1]?.answer(0);
  await third;
  batches[2]?.answer(0);
  await done;
  assert.deepEqual(
    batches.map((b) => b.spans.map((s) => s.name)),
    [
      ["a", "b"],
      ["c", "d"],
      ["e", "f"],
    ],
  );
  const families = await metrics.families((err) => {
    throw err;
  });
  const value = (name: string, reason?: string): number | undefined =>
    families
      .find((f) => f.name === name)
      ?.samples.find((s) => reason === undefined || s.labels["reason"] === reason)?.value;
  assert.equal(value("containerd_trace_spans_sent_total"), 5);
  assert.equal(value("containerd_trace_spans_dropped_total", "queue_full"), 1);
  assert.equal(value("containerd_trace_spans_dropped_total", "refused"), 1);
});
