/** Plugin kinds of RPC services: the servers serve every instance that started. */
import { defineKind } from "../core/plugin/plugin.ts";
import type { RpcMetrics } from "./interceptors/metrics.ts";
import type { ServiceBinding } from "./types.ts";

/** A service of the gRPC sockets. */
export const GRPC_SERVICE = defineKind<ServiceBinding>("io.containerd.grpc.v1");
/** A service of the ttrpc socket. */
export const TTRPC_SERVICE = defineKind<ServiceBinding>("io.containerd.ttrpc.v1");
/** Counters of the gRPC server. */
export const RPC_METRICS = defineKind<{ readonly metrics: RpcMetrics; readonly histogram: boolean }>(
  "io.containerd.metrics.v1",
);
