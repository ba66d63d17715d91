import type { DaemonFacts } from "../../core/plugin/plugin.ts";
import type { Tracer } from "../../core/tracing/span.ts";
import type { Interceptor } from "../../rpc/types.ts";

/** The interceptor that makes calls spans; none, and nothing loaded, without a tracer. */
export async function tracing(
  daemon: DaemonFacts,
  system: "grpc" | "ttrpc",
  tracer: Tracer | undefined,
): Promise<readonly Interceptor[]> {
  if (tracer === undefined) return [];
  const { tracingInterceptor } = await import("../../rpc/interceptors/tracing.ts");
  const debug = daemon.settings["debug"];
  const logIds =
    typeof debug === "object" && debug !== null && "log_trace_id" in debug && debug.log_trace_id === true;
  return [tracingInterceptor(tracer, system, logIds)];
}
