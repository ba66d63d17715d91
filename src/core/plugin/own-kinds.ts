/** Kinds of the engine's own: containerd has no type for them, or no interface that is one of the core's. */
import type { Introspection } from "../introspection/introspection.ts";
import type { SpanProcessor, Tracer } from "../tracing/span.ts";
import { defineKind } from "./plugin.ts";

/** What the booted graph tells of itself; provided by the daemon before boot. */
export const INTROSPECTION = defineKind<Introspection>("gantry.introspection");

/** Where ended spans go. */
export const SPAN_PROCESSOR = defineKind<SpanProcessor>("io.containerd.tracing.processor.v1");
/** Makes spans; the id is `tracing`. Other instances of this type are no tracers. */
export const TRACER = defineKind<Tracer>("io.containerd.internal.v1");
