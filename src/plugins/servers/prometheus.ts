/** Prometheus text format (exposition format 0.0.4) of the daemon's counters. */
import type { MetricFamily, MetricLabels, Sample } from "../../core/metrics/metrics.ts";
import { HANDLING_BUCKETS, type RpcMetrics } from "../../rpc/interceptors/metrics.ts";
import { processFamilies } from "./process-families.ts";

/** Renders the gRPC counters, the process's own figures, and what plugins count. */
export function renderMetrics(
  rpc: RpcMetrics,
  histogram: boolean,
  build: { version: string; revision: string },
  more: readonly MetricFamily[] = [],
): string {
  const out: string[] = [];
  const family = (name: string, type: string, help: string, samples: readonly Sample[]): void => {
    if (samples.length === 0) return;
    out.push(`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`);
    for (const s of samples) out.push(`${name}${s.suffix ?? ""}${renderLabels(s.labels)} ${s.value}`);
  };
  const { started, messages, handled, handling } = rpc.snapshot();
  const labels = (c: { service: string; method: string; type: string }): MetricLabels => ({
    grpc_method: c.method,
    grpc_service: c.service,
    grpc_type: c.type,
  });
  family("containerd_build_info_total", "counter", "containerd build information", [
    { labels: { revision: build.revision, version: build.version }, value: 1 },
  ]);
  family(
    "grpc_server_started_total",
    "counter",
    "Total number of RPCs started on the server.",
    started.map((c) => ({ labels: labels(c), value: c.count })),
  );
  family(
    "grpc_server_msg_received_total",
    "counter",
    "Total number of RPC stream messages received on the server.",
    messages.map((c) => ({ labels: labels(c), value: c.received })),
  );
  family(
    "grpc_server_msg_sent_total",
    "counter",
    "Total number of gRPC stream messages sent by the server.",
    messages.map((c) => ({ labels: labels(c), value: c.sent })),
  );
  family(
    "grpc_server_handled_total",
    "counter",
    "Total number of RPCs completed on the server, regardless of success or failure.",
    handled.map((c) => ({ labels: { ...labels(c), grpc_code: c.code }, value: c.count })),
  );
  if (histogram) {
    const samples = handling.flatMap((c) => [
      ...HANDLING_BUCKETS.map((le, i) => ({
        suffix: "_bucket",
        labels: { ...labels(c), le: String(le) },
        value: c.buckets[i] ?? 0,
      })),
      { suffix: "_bucket", labels: { ...labels(c), le: "+Inf" }, value: c.count },
      { suffix: "_sum", labels: labels(c), value: c.seconds },
      { suffix: "_count", labels: labels(c), value: c.count },
    ]);
    family(
      "grpc_server_handling_seconds",
      "histogram",
      "Response latency of RPCs handled by the server, in seconds.",
      samples,
    );
  }
  for (const f of processFamilies()) family(f.name, f.type, f.help, f.samples);
  for (const f of more) family(f.name, f.type, f.help, f.samples);
  return `${out.join("\n")}\n`;
}

function renderLabels(labels: MetricLabels): string {
  const pairs = Object.entries(labels).map(
    ([k, v]) => `${k}="${v.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n")}"`,
  );
  return pairs.length === 0 ? "" : `{${pairs.join(",")}}`;
}
