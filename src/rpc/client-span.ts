/** Spans of calls this program makes: shims, plugins in other processes. */
import type { DescMessage, DescMethod, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { formatTraceparent, type Span, TRACEPARENT, TRACESTATE } from "../core/tracing/span.ts";
import { toStatus } from "./status.ts";
import type { ClientCallOptions, Transport } from "./types.ts";

/** Makes a unary call as a span below `parent`, and tells the server of it. */
export async function tracedUnary<I extends DescMessage, O extends DescMessage>(
  transport: Transport,
  method: DescMethod & { input: I; output: O },
  request: MessageInitShape<I>,
  options: ClientCallOptions,
  parent: Span,
): Promise<MessageShape<O>> {
  const span = parent.child(`${method.parent.typeName}/${method.name}`, "client", {
    "rpc.system": transport.protocol ?? "grpc",
    "rpc.service": method.parent.typeName,
    "rpc.method": method.name,
  });
  const headers = new Map(options.headers);
  headers.set(TRACEPARENT, [formatTraceparent(span.context)]);
  if (span.context.state !== "") headers.set(TRACESTATE, [span.context.state]);
  try {
    const response = await transport.unary(method, request, { ...options, headers });
    span.set("rpc.grpc.status_code", 0);
    span.end();
    return response;
  } catch (err) {
    const { code, message } = toStatus(err);
    span.set("rpc.grpc.status_code", code);
    span.end(message || "failed");
    throw err;
  }
}
