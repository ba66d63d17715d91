/** Counters of the gRPC server, under the names Go's gRPC Prometheus library gives them. */
import { invalidArgument } from "../../core/errors.ts";
import { definePlugin } from "../../core/plugin/plugin.ts";
import { createRpcMetrics } from "../../rpc/interceptors/metrics.ts";
import { RPC_METRICS } from "../../rpc/kinds.ts";

export default definePlugin({
  kind: RPC_METRICS,
  id: "grpc-prometheus",
  requires: {},
  config: {
    defaults: { grpc_histogram: false },
    parse(table) {
      const histogram = table["grpc_histogram"];
      if (typeof histogram !== "boolean") throw invalidArgument("grpc_histogram: must be true or false");
      return { histogram };
    },
  },
  onFailure: "fatal",
  init: (_host, _deps, config) => ({ metrics: createRpcMetrics(), histogram: config.histogram }),
});
