import type { LogFields } from "../../core/log.ts";
import {
  type Attribute,
  parseTraceparent,
  TRACEPARENT,
  TRACESTATE,
  type Tracer,
} from "../../core/tracing/span.ts";
import { GrpcCode, toStatus } from "../status.ts";
import type { Interceptor } from "../types.ts";

/** Codes that are the server's failure; with the others the client got the answer it asked for. */
const FAILURES: ReadonlySet<number> = new Set([
  GrpcCode.Unknown,
  GrpcCode.DeadlineExceeded,
  GrpcCode.Unimplemented,
  GrpcCode.Internal,
  GrpcCode.Unavailable,
  GrpcCode.DataLoss,
]);

/**
 * Makes each call a span, below the one its client names in `traceparent`; names and attributes are those of Go's gRPC
 * instrumentation. Goes first, so that the other interceptors and the handler run in it.
 * @param logIds write trace and span id into the call's log lines
 */
export function tracingInterceptor(tracer: Tracer, system: "grpc" | "ttrpc", logIds = false): Interceptor {
  return async (method, context, next) => {
    const service = method.parent.typeName;
    const parent = parseTraceparent(context.header(TRACEPARENT), context.header(TRACESTATE));
    const attributes: Record<string, Attribute> = {
      "rpc.system": system,
      "rpc.service": service,
      "rpc.method": method.name,
    };
    if (context.call.namespace !== undefined) attributes["containerd.namespace"] = context.call.namespace;
    const span = tracer.start(`${service}/${method.name}`, "server", parent, attributes);
    const { traceId, spanId } = span.context;
    const fields: LogFields = { trace_id: traceId, span_id: spanId };
    const log = logIds ? { log: context.call.log.child(fields) } : {};
    try {
      await next(context.call.with({ span, ...log }));
      span.set("rpc.grpc.status_code", 0);
      span.end();
    } catch (err) {
      const { code, message } = toStatus(err);
      span.set("rpc.grpc.status_code", code);
      span.end(FAILURES.has(code) ? message || "failed" : undefined);
      throw err;
    }
  };
}
