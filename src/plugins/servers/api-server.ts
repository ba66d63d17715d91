/** What the gRPC servers of the daemon have in common: every service that started, and what stands around each of their calls. */
import { TRACER } from "../../core/plugin/own-kinds.ts";
import { all, type Deps, one, optional, type PluginHost } from "../../core/plugin/plugin.ts";
import { createGrpcServer, type GrpcServer } from "../../rpc/grpc/server.ts";
import { errorInterceptor } from "../../rpc/interceptors/errors.ts";
import { logInterceptor } from "../../rpc/interceptors/log.ts";
import { GRPC_SERVICE, RPC_METRICS } from "../../rpc/kinds.ts";
import type { ServerOptions } from "../../rpc/types.ts";
import { tracing } from "./tracing.ts";

/** Time running calls get when the daemon stops: short ones end, waits and streams would not. Milliseconds. */
export const GRACE_MS = 1_000;

/** What such a server is made of. */
export const API_PARTS = {
  services: all(GRPC_SERVICE),
  rpc: one(RPC_METRICS),
  tracer: optional(TRACER, "tracing"),
};

/** Makes one; it listens nowhere yet. */
export async function createApiServer(
  { daemon, call }: PluginHost,
  { services, rpc, tracer }: Deps<typeof API_PARTS>,
  limits: ServerOptions["limits"],
): Promise<GrpcServer> {
  const served = [...services.values()].flatMap((service) => [service, ...(service.more ?? [])]);
  rpc.metrics.register(served);
  return createGrpcServer({
    services: served,
    interceptors: [
      ...(await tracing(daemon, "grpc", tracer)),
      logInterceptor,
      rpc.metrics.interceptor,
      errorInterceptor,
    ],
    limits,
    call,
  });
}
